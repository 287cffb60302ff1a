"""Commands for napari's menus and its command palette: what the buttons of the panel do, which is opened for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari


def panel_of(viewer: napari.viewer.Viewer) -> Any:
    """The panel in a viewer's window, opened if it is not yet."""
    return viewer.window.add_plugin_dock_widget("napari-droplets")[1]


def detect(napari_viewer: napari.viewer.Viewer) -> None:
    """Find the droplets of the active image without fitting."""
    panel_of(napari_viewer).detect()


def run(napari_viewer: napari.viewer.Viewer) -> None:
    """Find the droplets of the active image and fit them."""
    panel_of(napari_viewer).run()


def refit(napari_viewer: napari.viewer.Viewer) -> None:
    """Fit again from the points as they are now."""
    panel_of(napari_viewer).refit()


def follow(napari_viewer: napari.viewer.Viewer) -> None:
    """Fit all frames of a movie and follow its droplets."""
    panel_of(napari_viewer).follow()


def save(napari_viewer: napari.viewer.Viewer) -> None:
    """Save the points shown as a table; asks for the file."""
    panel_of(napari_viewer).save()


def next_doubtful(napari_viewer: napari.viewer.Viewer) -> None:
    """Look at the next droplet that deserves it, the worst first."""
    panel_of(napari_viewer).views.next_doubtful()


def calibrate(napari_viewer: napari.viewer.Viewer) -> None:
    """Tell the size of a pixel by a line along a scale bar."""
    panel_of(napari_viewer).views.calibrate()


def batch(napari_viewer: napari.viewer.Viewer) -> None:
    """Show the tab for folders of images."""
    panel_of(napari_viewer).batch.show()


def next_image(napari_viewer: napari.viewer.Viewer) -> None:
    """Save corrections of the image of the batch that is looked at, and look at the next."""
    panel_of(napari_viewer).next_of_batch()


def show_help(napari_viewer: napari.viewer.Viewer) -> None:
    """Show how to find, check, correct and save droplets."""
    panel_of(napari_viewer).views.help()
