"""Make the picture of the window that the README shows: the sample, fitted by the plugin.

    python scripts/screenshot.py docs/images/window.png

Needs a screen with OpenGL; without one: xvfb-run -s "-screen 0 1600x1000x24" python scripts/screenshot.py ...
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

WINDOW = (1400, 760)
LONGEST = 600  # seconds for the fit


def keep_apart():
    """Keep the user's own sessions out of the picture."""
    os.environ["NAPARI_DROPLETS_DATA"] = tempfile.mkdtemp(prefix="droplets-pictures-")


def wait_until(condition, seconds):
    """Let the window live until something has happened."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not done after {seconds} s")
        QApplication.processEvents()
        time.sleep(0.01)


def wait(seconds):
    """Let the window live for a while."""
    begin = time.monotonic()
    wait_until(lambda: time.monotonic() > begin + seconds, seconds + 10)


def main():
    """Open the sample and the widget, run a fit, save the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("png", type=Path)
    parser.add_argument("--steps", type=int, help="of the fit; the plugin's default otherwise")
    args = parser.parse_args()

    keep_apart()
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*WINDOW)
    [image] = viewer.open_sample("napari-droplets", "sample")
    _, widget = viewer.window.add_plugin_dock_widget("napari-droplets")
    if args.steps:
        widget.form.set(steps=args.steps)
    wait(1)
    widget.run()
    wait_until(lambda: not widget.busy, LONGEST)
    if widget.result is None:
        raise SystemExit(widget.message)

    viewer.layers.selection.active = viewer.layers[f"{image.name} droplets"]
    viewer.fit_to_view(margin=0.03)
    wait(1)
    args.png.parent.mkdir(parents=True, exist_ok=True)
    viewer.window.screenshot(str(args.png), canvas_only=False, flash=False)
    viewer.close()
    print(args.png)


if __name__ == "__main__":
    main()
