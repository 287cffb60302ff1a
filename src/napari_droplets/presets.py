"""Presets: settings to begin with for a kind of image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Preset(NamedTuple):
    """Settings for a kind of image."""

    about: str
    settings: Mapping[str, Any]
    """Of `Settings`; what is not named stays as it is by default."""


PRESETS: dict[str, Preset] = {
    "aerosol": Preset("Colored droplets sprayed onto a plate, lit from the side or below: the default settings", {}),
    "emulsion": Preset(
        "Droplets in another liquid, all of one kind, seen by how they bend the light: one component, one class",
        {"types": 1, "classes": 1},
    ),
    "microfluidics": Preset(
        "Droplets of about one size, side by side, with contents of different strength: one component; none lies over "
        "another",
        {"types": 1, "renderer": "nearest"},
    ),
    "fluorescence": Preset(
        "Bright droplets on dark ground: one component, how bright they are; the ground is even",
        {"types": 1, "background": "uniform"},
    ),
    "foam": Preset(
        "Bubbles that crowd, with bright or dark walls between them: one component, one class; none lies over another",
        {"types": 1, "classes": 1, "renderer": "nearest"},
    ),
}
"""By name. Starting points: what each assumes is said in `about`."""
KEYS = tuple(dict.fromkeys(name for preset in PRESETS.values() for name in preset.settings))
"""All settings that a preset decides; another preset sets them back."""


def preset_settings(name: str) -> dict[str, Any]:
    """Settings to begin with for a kind of image; those that other presets decide are at their defaults.

    Parameters
    ----------
    name : {'aerosol', 'emulsion', 'microfluidics', 'fluorescence', 'foam'}

    Returns
    -------
    dict
        Of `Settings`, for `fit` and its like: ``nd.fit(image, **nd.preset_settings("foam"))``.

    Raises
    ------
    InputError
        There is none of that name.

    Examples
    --------
    >>> preset_settings("emulsion")
    {'types': 1, 'classes': 1, 'renderer': 'layered', 'background': 'smooth'}
    """
    from .errors import InputError
    from .settings import Settings

    if name not in PRESETS:
        raise InputError(f"preset={name!r}: must be {' or '.join(map(repr, PRESETS))}")
    usual = Settings()
    return {key: PRESETS[name].settings.get(key, getattr(usual, key)) for key in KEYS}
