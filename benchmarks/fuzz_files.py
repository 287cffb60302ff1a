"""Small good files of every kind that is read, and what reads them: what `fuzz.py` damages."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SIDES = 24, 32
rng = np.random.default_rng(0)


class Target(NamedTuple):
    """Files of one kind."""

    seeds: dict[str, bytes]
    """Good ones by their names."""
    read: Callable[[Path], Any]
    folder: dict[str, bytes] = {}  # noqa: RUF012 (never changed)
    """What lies beside the one that is damaged."""


def target(kind: str) -> Target:
    """The files of a kind; one at a time, as some take long to make."""
    return KINDS[kind]()


def read_image(path: Path) -> None:
    """As the library, and as the window."""
    from napari_droplets.images import read_images
    from napari_droplets.plugin.files.opening import image_layer_data
    from napari_droplets.plugin.files.readers import get_reader

    get_reader(str(path))
    image_layer_data(str(path))
    for image in read_images(path, frames="all", planes="all"):
        assert image.pixels.dtype == np.float32, "intensities are no float32"
        assert np.isfinite(image.pixels).all(), "intensities that are not finite"
        assert image.pixels.min() >= 0 <= 1 >= image.pixels.max(), "intensities beyond 0 to 1"


def read_zarr(path: Path) -> None:
    """The folder that a damaged file is in."""
    while path.suffix != ".zarr":
        path = path.parent
    read_image(path)


def read_mask(path: Path) -> None:
    """A file that says where droplets are looked for, and one that is in a summary."""
    from napari_droplets.images.region import URI, region_mask

    try:
        region_mask(str(path), SIDES)
    finally:
        region_mask(URI + base64.b64encode(path.read_bytes()).decode(), SIDES)


def read_table(path: Path) -> None:
    """As the library, and as the window."""
    import napari_droplets as nd
    from napari_droplets.plugin.files.readers import get_reader
    from napari_droplets.plugin.files.readers import read_table as shown

    get_reader(str(path))
    found: Any = nd.read(path)
    assert np.isfinite([found.x, found.y, found.radius]).all()
    found.to_dataframe()
    shown(str(path))


def read_folder(path: Path) -> None:
    """The result folder of a damaged file: as the library, the window and the command line."""
    import napari_droplets as nd
    from napari_droplets.cli.results import results
    from napari_droplets.plugin.files.readers import get_reader

    folder = path.parent
    reader = get_reader(str(folder))
    result: Any = nd.read(folder)
    if isinstance(result, nd.Fit):
        assert result.droplets.types in (0, result.optics.types)
        nd.read_optics(folder)
        result.sample(2)
    if reader is not None:
        reader(str(folder))
    for _, droplets, options in results(str(folder), None):
        with suppress(nd.InputError):  # knows no file: the command line names it
            nd.statistics(droplets, **options)


def read_weights(path: Path) -> None:
    """Weights of the network, with what they say of its calibration."""
    from napari_droplets.detection.network import read_weights as read

    params, _ = read(path)
    assert all(np.isfinite(np.asarray(v)).all() for v in _leaves(params)), "weights that are not finite"


def read_checkpoint(path: Path) -> None:
    """The state of a training."""
    from napari_droplets.training.checkpoint import read_checkpoint as read

    read(path, _state())


def _leaves(tree: Any) -> Iterator[Any]:
    for value in tree.values():
        yield from _leaves(value) if isinstance(value, dict) else (value,)


def _image(*shape: int, dtype: str = "u1") -> np.ndarray:
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in "ui" else 1
    return (rng.random(shape) * top).astype(dtype)


def _tiffs() -> Iterator[tuple[str, bytes]]:
    import tifffile

    gray, color, stack = _image(*SIDES), _image(*SIDES, 3), _image(3, *SIDES, dtype="u2")
    ways: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "gray": (gray, {}),
        "float": (_image(*SIDES, dtype="f4"), {}),
        "color": (color, {"photometric": "rgb"}),
        "planar": (np.moveaxis(color, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        "alpha": (_image(*SIDES, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        "stack": (stack, {"photometric": "minisblack"}),
        "imagej": (stack, {"imagej": True, "metadata": {"axes": "TYX", "unit": "um"}, "resolution": (2, 2)}),
        "ome": (stack, {"ome": True, "metadata": {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}}),
        "big": (gray, {"bigtiff": True}),
        "tiled": (_image(64, 64), {"tile": (16, 16), "compression": "zlib"}),
        "palette": (gray, {"photometric": "palette", "colormap": _image(3, 256, dtype="u2")}),
        "white": (gray, {"photometric": "miniswhite"}),
        "inks": (_image(*SIDES, 4), {"photometric": "separated"}),
    }
    packed = ("lzw", "zlib", "zstd", "packbits", "jpeg", "jpeg2000", "webp", "lzma", "lerc", "png", "jpegxl")
    ways |= {c: (color, {"photometric": "rgb", "compression": c, "predictor": c == "lzw"}) for c in packed}
    for name, (values, options) in ways.items():
        file = io.BytesIO()
        tifffile.imwrite(file, values, **options)
        yield f"{name}.tif", file.getvalue()


def _photos() -> Iterator[tuple[str, bytes]]:
    import imagecodecs
    from PIL import Image as Picture

    gray, color = Picture.fromarray(_image(*SIDES)), Picture.fromarray(_image(*SIDES, 3))
    alpha = Picture.fromarray(_image(*SIDES, 4))
    ways: dict[str, tuple[Any, str, dict[str, Any]]] = {
        "gray.png": (gray, "PNG", {"transparency": 3}),
        "alpha.png": (alpha, "PNG", {}),
        "palette.png": (color.quantize(16), "PNG", {"transparency": 1}),
        "deep gray.png": (Picture.fromarray(_image(*SIDES, dtype="u2")), "PNG", {}),
        "color.jpg": (color, "JPEG", {"exif": _exif()}),
        "progressive.jpg": (color, "JPEG", {"progressive": True}),
        "inks.jpg": (color.convert("CMYK"), "JPEG", {}),
        "color.bmp": (color, "BMP", {}),
        "color.gif": (color, "GIF", {"save_all": True, "append_images": [gray, color]}),
        "color.webp": (color, "WEBP", {"save_all": True, "append_images": [color]}),
        "color.ppm": (color, "PPM", {}),
        "gray.pgm": (gray, "PPM", {}),
        "color.jp2": (color, "JPEG2000", {}),
    }
    for name, (picture, kind, options) in ways.items():
        file = io.BytesIO()
        picture.save(file, kind, **options)
        yield name, file.getvalue()
    yield "deep.png", imagecodecs.png_encode(_image(*SIDES, 3, dtype="u2"))
    yield "plain.pgm", b"P2\n# made by hand\n24 16\n255\n" + b" ".join(b"%d" % (v % 256) for v in range(384))


def _exif() -> Any:
    from PIL import Image as Picture

    exif = Picture.Exif()
    exif[0x0112] = 6
    return exif


def _arrays() -> Iterator[tuple[str, bytes]]:
    for name, values in {"plain": _image(*SIDES, dtype="u2"), "colors": _image(*SIDES, 3, dtype="f8")}.items():
        file = io.BytesIO()
        np.save(file, values)
        yield f"{name}.npy", file.getvalue()


def _tables() -> Iterator[tuple[str, bytes]]:
    yield "droplets semicolons.csv", "x;y;radius;class\n1,5;2,5;3,0;a\n4,5;5,5;1,0;b\n".encode("utf-16")
    yield "droplets spots.csv", b"LABEL,POSITION_X,POSITION_Y,RADIUS,FRAME\nL,X,Y,R,F\n,(px),(px),(px),\nID1,1,2,3,0\n"
    yield "droplets points.csv", b"index,axis-0,axis-1,axis-2,radius\n0.0,0,4.5,3.5,2\n1.0,1,6.5,3.25,2\n"
    yield "droplets imagej.csv", b' ,Area,X,Y\n1,100.5,3.5,4\n2,"1,200.5",33.5,44\n'
    yield "droplets blanks.csv", b'sep=|\n"x"|y|diameter [px]|frame|image\n1|2|3|0|"a ""b"""\n4|5|6|1|c\n'


def _excel() -> bytes:
    import pandas as pd

    file = io.BytesIO()
    pd.DataFrame({"x": [1.5, 2.5], "y": [3, 4], "radius": [2.0, 1.0], "class": ["a", "b"]}).to_excel(file, index=False)
    return file.getvalue()


def _result() -> dict[str, bytes]:
    """The files of a result folder, of a fit that nobody computed."""
    from napari_droplets.droplets import Droplets, Fit, Optics
    from napari_droplets.images import as_image
    from napari_droplets.model.optics import initial_weights
    from napari_droplets.settings import Settings

    n, types = 7, 3
    image = as_image(_image(*SIDES, 3))
    x, y, radius = np.random.default_rng(0).uniform([[6], [6], [1]], [[26], [18], [4]], (3, n))
    weights = initial_weights(0, 3, types) | {"glow": np.zeros((3 * types + 1, 3), np.float32)}
    classes = {"weight": [1.0], "mean": [[0.5] * types], "covariance": [np.eye(types).tolist()]}
    optics = Optics(weights, weights, types, 3, 5.0, "free", "layered", 0.02, 0.8, classes)
    guide = {
        "anchor": np.stack([x, y, radius], 1),
        "droplets": np.zeros((n, 3 + types)),
        "droplets_tril": np.tile(np.eye(3 + types), (n, 1, 1)),
        "systematic": np.zeros(3),
        **{k: np.ones((n, 3)) for k in ("prior_mean", "prior_sd")},
        "background": np.zeros((5, 5, 3)),
        "background_sd": np.ones((5, 5)),
    }
    summary: dict[str, Any] = {
        "n_droplets": n,
        "count_mean": 6.5,
        "count_sd": 0.5,
        "systematic": {"shift_radii": 0.01, "radius_percent": 1.5},
        "seconds": {"total": 1.0},
        "settings": Settings(types=types, region=(2.0, 2.0, 30.0, 20.0)).__dict__,
        "image": image.record(),
        "region": {"box": [2, 2, 30, 20], "area_px": 504, "mask": None},
    }
    composition = rng.uniform(size=(n, types))
    labels = {"class": np.arange(n) % 2, "class_p": np.ones(n), "cut_by_border": np.zeros(n, bool)}
    found = Droplets(x, y, radius, *np.full((3, n), 0.1), np.ones(n), composition, composition / 9, labels)
    guide32 = {k: np.asarray(v, np.float32) for k, v in guide.items()}
    fit = Fit(found, image.pixels, optics, np.array([[50.0, -1.0, 0.1]]), summary, guide32)
    return _written(fit.save)


def _written(save: Callable[[Path], Any]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place:
        save(Path(place))
        return {str(p.relative_to(place)): p.read_bytes() for p in Path(place).rglob("*") if p.is_file()}


def _zarr() -> dict[str, bytes]:
    import zarr

    def save(place: Path) -> None:
        group = zarr.open_group(place, mode="w", zarr_format=3)
        values = np.random.default_rng(0).integers(0, 255, (2, *SIDES), dtype="u1")
        group.create_array("0", data=values, chunks=(1, 16, 16))
        axes = [{"name": n, "type": t} for n, t in (("t", "time"), ("y", "space"), ("x", "space"))]
        scale = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
        image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}], "name": "slide"}
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image], "omero": {"channels": [{"label": "a"}]}}

    return {f"slide.zarr/{name}": content for name, content in _written(save).items()}


def _weights() -> bytes:
    import napari_droplets as nd

    return (Path(nd.__file__).parent / "detection" / "weights.safetensors").read_bytes()


def _state() -> dict[str, np.ndarray]:
    return {"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.int32)}


def _checkpoint() -> bytes:
    from napari_droplets.training.checkpoint import Record, write_checkpoint

    record = Record(0, 64, 2, step=3, best=[0.5, 1.0, 2], log=[{"step": 2, "f1": 0.5}])
    return _written(lambda place: write_checkpoint(place / "c", _state(), record))["c"]


def _of_result(*names: str) -> Target:
    result = _result()
    return Target({name: result[name] for name in names}, read_folder, result)


def _all_tables() -> Target:
    result = _result()
    return Target({k: result[k] for k in ("droplets.csv", "droplets.parquet")} | dict(_tables()), read_table)


def _store() -> Target:
    files = _zarr()
    return Target({k: v for k, v in files.items() if len(v) > 8}, read_zarr, files)


KINDS: dict[str, Callable[[], Target]] = {
    "tiff": lambda: Target(dict(_tiffs()), read_image),
    "photos": lambda: Target(dict(_photos()), read_image),
    "npy": lambda: Target(dict(_arrays()), read_image),
    "zarr": _store,
    "mask": lambda: Target({"mask.png": dict(_photos())["gray.png"]}, read_mask),
    "tables": _all_tables,
    "excel": lambda: Target({"droplets.xlsx": _excel()}, read_table),
    "summary": lambda: _of_result("summary.json"),
    "optics": lambda: _of_result("optics.safetensors"),
    "folder": lambda: _of_result("droplets.csv", "reconstruction.tif"),
    "weights": lambda: Target({"weights.safetensors": _weights()}, read_weights),
    "checkpoint": lambda: Target({"t.checkpoint.safetensors": _checkpoint()}, read_checkpoint),
}
