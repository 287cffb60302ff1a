"""Fit every image of a folder with napari's layers, without a window: python headless_folder.py IMAGES OUT.

What a script sees is what the window shows: each image as an image layer, its droplets as points, whose features are
the table. Here the points are written as napari itself would save them, and as a table of ours.
"""

import sys
from pathlib import Path

from napari.components import ViewerModel

import napari_droplets as nd
from napari_droplets.plugin.layers import fit_layer


def main(folder: str, out: str) -> None:
    Path(out).mkdir(parents=True, exist_ok=True)
    optics = None
    for path in sorted(Path(folder).glob("*.tif")):
        viewer = ViewerModel()  # layers without a window; napari.Viewer(show=False) works as well, where there is Qt
        pixels = nd.read_image(path).pixels
        gray = pixels.shape[-1] == 1
        layer = viewer.add_image(pixels[..., 0] if gray else pixels, name=path.stem, rgb=not gray)
        fit = fit_layer(viewer, layer, optics=optics, learn_optics=optics is None)
        optics = optics or fit.optics  # one optics for the series
        points = viewer.layers[f"{path.stem} droplets"]
        points.features.to_csv(Path(out) / f"{path.stem}.csv", index=False)
        print(f"{path.name}: {len(points.data)} droplets")


if __name__ == "__main__":
    main(*sys.argv[1:])
