"""How long filters, the inspector and plots keep the window busy with ten thousand droplets.

    python benchmarks/views.py

Prints milliseconds of the window's own thread, which other programs do not lengthen:
of the change, and of drawing it.
Needs a screen with OpenGL; without one: xvfb-run -s "-screen 0 1600x1000x24" python benchmarks/views.py
"""

import argparse
import time

import napari
import numpy as np
from napari.layers import Layer
from qtpy.QtWidgets import QApplication

from napari_droplets.droplets import Droplets
from napari_droplets.images.region import checked_region
from napari_droplets.plugin.layers import to_layers
from napari_droplets.plugin.layers.place import place_of

SHAPE = (2000, 3000)


def many(n, seed=0):
    """Droplets (n) with all that a fit tells of them."""
    rng = np.random.default_rng(seed)
    labels = {"misfit": rng.uniform(0.8, 3, n), "class": rng.integers(0, 3, n), "class_p": rng.uniform(0.5, 1, n)}
    return Droplets(
        rng.uniform(0, SHAPE[1], n),
        rng.uniform(0, SHAPE[0], n),
        rng.uniform(3, 9, n),
        *rng.uniform(0, 0.3, (3, n)),
        p_present=rng.uniform(0, 1, n),
        composition=rng.dirichlet([1, 1, 1], n),
        labels=labels,
    )


def live(seconds):
    """Let the window live."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def main():
    """Time each change once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--droplets", type=int, default=10_000)
    args = parser.parse_args()
    viewer = napari.Viewer(show_welcome_screen=False)
    image = viewer.add_image(np.random.default_rng(1).uniform(size=(*SHAPE, 3)).astype(np.float32), rgb=True)
    _, widget = viewer.window.add_plugin_dock_widget("napari-droplets")
    viewer.add_layer(Layer.create(*to_layers(many(args.droplets), place=place_of(image))[0]))
    session, views, tabs = widget.session, widget.views, widget._panel.tabs
    inside = np.zeros(SHAPE, bool)
    inside[500:1500, 500:2500] = True
    mask = checked_region(inside)
    live(1)

    def timed(name, change):
        begin = time.thread_time()
        change()
        changed = time.thread_time()
        QApplication.processEvents()
        print(f"{name:24s} {1e3 * (changed - begin):5.0f} ms, drawn in {1e3 * (time.thread_time() - changed):4.0f} ms")
        live(0.3)

    tabs.setCurrentIndex(1)
    live(1)
    for name, filters in {
        "diameter": {"min_diameter": 8.0},
        "probability": {"min_probability": 0.7},
        "class": {"hidden_classes": ("1",)},
        "misfit": {"max_misfit": 2.0},
        "border": {"cut_by_border": False},
        "region, a box": {"region": (0, 0, 1500, 1500)},
        "region, a mask": {"region": mask},
    }.items():
        timed(name, lambda filters=filters: session.set_filters(**filters))
    timed("show all", views.filters.take_off)
    session.set_filters(min_probability=None)
    tabs.setCurrentIndex(2)
    live(1)
    timed("next doubtful", views.inspector.next)
    tabs.setCurrentIndex(3)
    live(2)
    for i in range(views.plots.kind.count()):
        views.plots.kind.setCurrentIndex(i)
        live(1)
        timed(f"plot: {views.plots.kind.currentText()}", views.plots.draw)
    timed("select 3,000", lambda: session.select(range(3000)))
    viewer.close()


if __name__ == "__main__":
    main()
