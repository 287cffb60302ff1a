"""What a user prefers in every session: the page of this plugin in napari's preferences (since napari 0.9)."""

from __future__ import annotations

from typing import NamedTuple

PLUGIN = "napari-droplets"


class Preferences(NamedTuple):
    """As the manifest names them under `configurations`."""

    preset: str = "aerosol"
    """The kind of image that the panel starts with."""
    color_by: str = "composition"
    """What the colors of rings tell at first."""
    uncertain_rings: bool = False
    """Whether rings are as wide as their rim is uncertain."""


def preferences() -> Preferences:
    """What the user has chosen; the defaults where napari has no such page, or where it cannot be read."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # napari before 0.9
        return Preferences()
    try:
        panel = get_plugin_settings(PLUGIN).panel
        return Preferences(**{name: getattr(panel, name) for name in Preferences._fields})
    except (KeyError, AttributeError, TypeError):  # napari has not read this manifest
        return Preferences()
