"""Make the pictures of the user guide: the sample taken from opening to the final figure, in the real window.

    python scripts/guide_pictures.py docs/images/guide

Needs a screen with OpenGL; without one: xvfb-run -s "-screen 0 1600x1000x24" python scripts/guide_pictures.py ...
"""

import argparse
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from screenshot import LONGEST, keep_apart, wait, wait_until

WINDOW = (1280, 880)
LINE = np.array([[150, 0], [150, 399]])  # across the sample, which the guide says is 200 µm wide
LENGTH_UM = 200.0
QUALITY = 85  # of the JPEG files: letters stay sharp, at a third of the bytes
ACID, BASE = "acid", "base"


def main():
    """Take one picture after each step of the guide."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, help="of the fit; the plugin's default otherwise")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)

    keep_apart()
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window.resize(*WINDOW)
    viewer.open_sample("napari-droplets", "sample")
    _, widget = viewer.window.add_plugin_dock_widget("napari-droplets")
    tabs, views = widget._panel.tabs, widget.views
    if args.steps:
        widget.form.set(steps=args.steps)

    def turn_to(tab):
        tabs.setCurrentIndex([tabs.tabText(i) for i in range(tabs.count())].index(tab))

    def show(name, tab):
        turn_to(tab)
        wait(1.5)
        picture = Image.fromarray(viewer.window.screenshot(canvas_only=False, flash=False)[..., :3])
        picture.save(args.folder / f"{name}.jpg", quality=QUALITY, subsampling=0)  # rings keep their colors

    def whole():
        viewer.fit_to_view(margin=0.03)

    whole()
    show("1_open", "Find")
    widget.views.calibrate()
    views.calibration.layer.add(LINE, shape_type="line")
    views.calibration.length.setValue(LENGTH_UM)
    show("2_calibrate", "Find")
    views.calibration.set()
    widget.run()
    wait_until(lambda: not widget.busy, LONGEST)
    if widget.result is None:
        raise SystemExit(widget.message)
    whole()
    show("3_found", "Find")
    views.next_doubtful()
    show("4_inspect", "Inspect")
    widget.session.select([])
    views.inspector.layer_boxes["residual"].setChecked(True)
    whole()
    show("5_residual", "Inspect")
    views.inspector.layer_boxes["residual"].setChecked(False)
    widget.session.set_filters(min_diameter=8.0, cut_by_border=False)
    widget.color.value = "radius"
    show("6_show", "Show")
    views.filters.take_off()
    widget.color.value = "composition"
    turn_to("Plots")
    wait_until(lambda: views.plots.figure is not None, LONGEST)
    show("7_sizes", "Plots")
    views.plots.kind.setCurrentIndex(views.plots.kind.findData("simplex"))
    widget.session.name_class("0", ACID)
    widget.session.name_class("1", BASE)
    wait(1)
    table = widget.session.sheet.table
    widget.session.select(table.index[table["class"] == 0])
    widget.color.value = "class"
    show("8_composition", "Plots")
    viewer.close()
    print(args.folder)


if __name__ == "__main__":
    main()
