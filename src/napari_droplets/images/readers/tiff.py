"""TIFF files: plain ones, OME-TIFF, ImageJ hyperstacks, LSM; colors as the file means them, channels by their names."""

from __future__ import annotations

import logging
import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...lazy import is_large
from ...storage.memory import check_memory
from ..orientation import upright
from ..pixel_size import PixelSize, micrometres, pixel_size
from ..stored import TURNED, Raster, Stored, of_axes

REDUCED = 1  # bit of NewSubfileType: a smaller version of another page
ORIENTATION, SUBFILE, NODATA = 274, 254, 42113  # tags
ALPHA, PREMULTIPLIED = 2, 1  # extra samples
PLAIN = {1, 5, 8, 32773, 32946, 34925, 50000}  # compressions that leave YCbCr as it is; those of JPEG give RGB
COLORS = {"MINISWHITE", "MINISBLACK", "RGB", "PALETTE", "SEPARATED", "YCBCR"}
CONVERTED = {
    "SEPARATED": "inks",
    "PALETTE": "a palette",
    "MINISWHITE": "zero that is white",
}
LAZY = 2**28  # bytes; larger stacks are read page by page


def read_tiff(path: Path) -> list[Stored]:
    """The scenes of a TIFF file: its series of pictures, without thumbnails and smaller versions of others.

    Raises
    ------
    InputError
        Colors that are not understood.
    """
    import tifffile

    with quiet(), tifffile.TiffFile(path) as tif:
        _check_parts(path, tif)
        about = _About.of(tif)
        try:
            found = list(tif.series)
        except Exception:  # one damaged directory spoils the list of all: the first page may be whole
            found = []
        whole = [(i, s) for i, s in enumerate(found) if not _is_reduced(s.keyframe)] or list(enumerate(found))
        if not whole:
            return [_scene(path, tif, tif.pages[0], 0, about)]
        return [_scene(path, tif, series, number, about) for number, series in whole]


@contextmanager
def quiet() -> Iterator[None]:
    """Without what tifffile logs of broken files: hundreds of lines; the error says enough."""
    logger, silent = logging.getLogger("tifffile"), logging.Filter()
    silent.filter = lambda record: False  # type: ignore[method-assign]
    logger.addFilter(silent)
    try:
        yield
    finally:
        logger.removeFilter(silent)


class _About(NamedTuple):
    """What the file says of its pictures: one entry for each series, or one for all."""

    sizes: list[PixelSize | None]
    channels: list[tuple[str, ...]]
    bits: list[int | None]
    titles: list[str]

    @classmethod
    def of(cls, tif: Any) -> _About:
        if tif.is_ome:
            with suppress(ElementTree.ParseError, ValueError):
                return cls(*zip(*_ome(tif.ome_metadata), strict=True))  # type: ignore[arg-type]
        size = None
        if tif.is_imagej:
            size = _imagej_size(tif)
        elif tif.is_lsm and tif.lsm_metadata:
            size = pixel_size(*(1e6 * tif.lsm_metadata.get(f"VoxelSize{a}", 0) for a in "XY"))
        else:
            size = next((s for s in map(partial(_size_by, tif), MAKERS) if s is not None), None)
        bits = None
        if tif.is_micromanager:
            with suppress(Exception):
                bits = int(tif.micromanager_metadata["Summary"]["BitDepth"])
        return cls([size], [()], [bits], [""])

    def of_scene(self, number: int) -> Any:
        """Size, channels, bits and title."""
        return tuple(part[number] if number < len(part) else part[-1] for part in self)


def _check_parts(path: Path, tif: Any) -> None:
    """See that the files of a set, which are named in the first one, are in its folder."""
    names: list[str] = []
    if tif.is_ome:
        with suppress(ElementTree.ParseError):
            names = [e.get("FileName") or "" for e in ElementTree.fromstring(tif.ome_metadata).iter()]
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if name and (".." in parts or not parts[0] or ":" in parts[0]):
            raise InputError(
                f"{path}: a part of it is said to be {name}, outside of its folder; put all parts into one"
            )


def _ome(xml: str) -> Iterator[tuple[PixelSize | None, tuple[str, ...], int | None, str]]:
    title = ""
    for element in ElementTree.fromstring(xml).iter():
        kind = element.tag.rpartition("}")[2]
        if kind == "Image":
            title = element.get("Name") or ""
        if kind != "Pixels":
            continue
        sides = []
        for axis in "XY":
            factor = micrometres(element.get(f"PhysicalSize{axis}Unit", "µm"))  # the schema's default
            value = element.get(f"PhysicalSize{axis}")
            sides.append(None if factor is None or not value else factor * float(value))
        if sides[1] is None and element.get("PhysicalSizeY") is None:  # a width alone: pixels are square
            sides[1] = sides[0]
        channels = [c for c in element if c.tag.endswith("Channel")]
        names = tuple(c.get("Name") or c.get("Fluor") or str(i) for i, c in enumerate(channels))
        bits = element.get("SignificantBits")
        yield pixel_size(*sides), names, int(bits) if bits else None, title


def _size_by(tif: Any, maker: Callable[[Any], tuple[float, float] | None]) -> PixelSize | None:
    """What a maker's own metadata say; nothing where they are not there, or odd."""
    with suppress(Exception):
        return pixel_size(*(maker(tif) or (None, None)))
    return None


def _micromanager(tif: Any) -> tuple[float, float]:
    about = tif.pages[0].tags["MicroManagerMetadata"].value
    return (float(about.get("PixelSizeUm") or about["PixelSize_um"]),) * 2


def _metamorph(tif: Any) -> tuple[float, float]:
    about = tif.stk_metadata
    factor = micrometres(about["CalibrationUnits"])
    return factor * float(about["XCalibration"]), factor * float(about["YCalibration"])  # type: ignore[operator]


def _zeiss_sem(tif: Any) -> tuple[float, float]:
    about = tif.sem_metadata
    _, value, unit = about.get("ap_image_pixel_size") or about["ap_pixel_size"]
    return (float(value) * micrometres(unit),) * 2  # type: ignore[operator]


def _fei(tif: Any) -> tuple[float, float]:
    about = tif.fei_metadata["Scan"]
    return 1e6 * float(about["PixelWidth"]), 1e6 * float(about["PixelHeight"])


def _aperio(tif: Any) -> tuple[float, float] | None:
    found = re.search(r"\|\s*MPP\s*=\s*([\d.]+)", tif.pages[0].description if tif.is_svs else "")
    return None if found is None else (float(found[1]),) * 2


MAKERS = (_micromanager, _metamorph, _zeiss_sem, _fei, _aperio)


def _imagej_size(tif: Any) -> PixelSize | None:
    """From pixels per unit; the unit is read from the bytes, as programs write µ in several encodings."""
    page = tif.pages[0]
    x, y = (page.tags.get(name) for name in ("XResolution", "YResolution"))
    unit = (tif.imagej_metadata or {}).get("unit")
    description = page.tags.get("ImageDescription")
    if description is not None:
        tif.filehandle.seek(description.valueoffset)
        content = tif.filehandle.read(description.count)
        if found := re.search(rb"^unit=(.*?)\r?$", content, re.MULTILINE):
            try:
                unit = found[1].decode("utf-8")
            except UnicodeDecodeError:
                unit = found[1].decode("latin-1")
    factor = micrometres(unit)
    if factor is None or x is None or y is None or not (x.value[0] and y.value[0]):
        return None
    return pixel_size(*(factor * tag.value[1] / tag.value[0] for tag in (x, y)))


def _is_reduced(page: Any) -> bool:
    return bool(int(getattr(page, "subfiletype", 0) or 0) & REDUCED)


def _scene(path: Path, tif: Any, series: Any, number: int, about: _About) -> Stored:
    """A series of pages, or a single page where no series can be made out."""
    page = getattr(series, "keyframe", series)
    colors = getattr(page.photometric, "name", str(page.photometric))
    if colors not in COLORS:
        known = {"CIELAB": "CIE L*a*b*", "ICCLAB": "ICC L*a*b*", "ITULAB": "ITU L*a*b*"}.get(colors, colors)
        kind = "Lab colors" if "LAB" in colors else "colors of this kind"
        raise InputError(f"{path}: {known}: {kind} are not read; save it as RGB or grey")
    size: PixelSize | None
    names: tuple[str, ...]
    title: str
    size, names, bits, title = about.of_scene(number)
    bits = bits or (page.bitspersample if page.bitspersample not in (8, 16, 32, 64) else None)
    if bits is not None and page.dtype is not None and bits >= 8 * page.dtype.itemsize:
        bits = None
    nodata = None
    if NODATA in page.tags:
        with suppress(ValueError):
            nodata = float(str(page.tags[NODATA].value).strip("\0 "))
    axes, array = series.axes, _Lazy(path, series, number if series is not page else None)
    finish, n_channels, dtype = _meaning(page, colors, axes, array, tif.is_imagej)
    code = int(page.tags[ORIENTATION].value) if ORIENTATION in page.tags else 1
    if code in (5, 6, 7, 8) and isinstance(size, tuple):
        size = size[::-1]
    more: dict[str, Any] = {"pixel_size_um": size, "bits": bits, "nodata": nodata, "path": str(path.resolve())}
    finished = finish if code == 1 else partial(_turned, finish, code)
    scene = of_axes(array, axes, path.name, channels=names, finish=finished, n_channels=n_channels)
    converted = "" if colors == "PALETTE" and tif.is_imagej else CONVERTED.get(colors, "")
    more |= {} if code == 1 else {"part": None}
    return replace(scene, dtype=dtype, title=title, converted=converted or (TURNED if code != 1 else ""), **more)


def _turned(finish: Any, code: int, values: np.ndarray) -> Raster:
    raster = finish(values)
    return Raster(upright(raster.values, code), None if raster.hidden is None else upright(raster.hidden, code))


class _Lazy:
    """The pixels of a series, read when they are asked for: all at once, of a large stack only the pages wanted."""

    def __init__(self, path: Path, series: Any, number: int | None) -> None:
        self.path, self.number = path, number
        self.shape, self.ndim = tuple(series.shape), len(series.shape)
        self.dtype = np.dtype(series.dtype).newbyteorder("=")
        pages = getattr(series, "pages", ())
        leading = self.ndim - len(getattr(series, "keyframe", series).shape)
        by_page = leading > 0 and len(pages) == np.prod(series.shape[:leading])
        self.leading = leading if by_page and series.size * self.dtype.itemsize > LAZY else 0
        self.whole: Any = None
        # of one large picture only the strips or tiles that are wanted, where they can be read alone
        self.by_part = not self.leading and number is not None and is_large(tuple(sorted(self.shape, reverse=True)))

    def __getitem__(self, where: tuple[Any, ...]) -> np.ndarray:
        import tifffile

        if self.whole is None and self.by_part:
            self.whole = self._mapped(parts=any(w != slice(None) for w in where))
        if self.whole is not None:
            return np.asarray(self.whole[where])
        with quiet(), tifffile.TiffFile(self.path) as tif:
            if self.number is None:
                self._check(tif.pages[0])
                self.whole = tif.pages[0].asarray()
                return self.whole[where]
            series = tif.series[self.number]
            if not self.leading:
                self._check(*series.pages)
                self.whole = series.asarray()
                return self.whole[where]
            outer = np.arange(int(np.prod(self.shape[: self.leading]))).reshape(self.shape[: self.leading])
            chosen = outer[where[: self.leading]]
            numbers = [int(i) for i in np.ravel(chosen)]
            self._check(*(series.pages[i] for i in numbers), whole=False)
            pages = [series.pages[i].asarray() for i in numbers]
        picked = np.stack(pages).reshape(*np.shape(chosen), *pages[0].shape)
        return picked[(slice(None),) * np.ndim(chosen) + where[self.leading :]]

    def _mapped(self, parts: bool) -> Any:
        """The pixels on disk: mapped into memory where they lie there as they are; where `parts` are wanted by zarr.

        None where neither can be, or all are wanted: then they are quicker decoded at once.
        """
        import tifffile

        with quiet():
            with suppress(ValueError):  # compressed, or in pieces
                return tifffile.memmap(self.path, mode="r", series=self.number)
            if not parts:
                return None
            with suppress(ImportError), ExitStack() as until:
                import zarr

                series = until.enter_context(tifffile.TiffFile(self.path)).series[self.number]
                self._check(*series.pages, whole=False)
                found = zarr.open(series.aszarr(level=0), mode="r")
                until.pop_all()  # the file stays open as long as parts of it are read
                return found
        return None

    def _check(self, *pages: Any, whole: bool = True) -> None:
        """See that what is to be decoded can be held, and that the file has all of it: else the rest would be black."""
        if whole:
            check_memory(self.shape, self.dtype, self.path.name, what="all of its pixels", more=0)
        for page in pages:
            wanted = 0 if page is None else math.prod(page.keyframe.chunked)
            if wanted and len(page.dataoffsets) < wanted:
                raise InputError(
                    f"{self.path}: {len(page.dataoffsets)} of {wanted} strips or tiles that its header promises are "
                    "there; it is damaged: copy it again, or save it anew"
                )


def _meaning(page: Any, colors: str, axes: str, array: _Lazy, imagej: bool) -> tuple[Any, int | None, np.dtype[Any]]:
    """What turns the samples of a pixel, (H, W, S), into channels, and how many there are then, of which type."""
    samples = array.shape[axes.index("S")] if "S" in axes else 1
    extra = tuple(int(e) for e in page.extrasamples or ())
    alpha = next((samples - len(extra) + i for i, e in enumerate(extra) if e in (ALPHA, PREMULTIPLIED)), None)
    premultiplied = alpha is not None and extra[alpha - samples + len(extra)] == PREMULTIPLIED
    table = None
    if colors == "PALETTE" and not imagej and page.colormap is not None and samples == 1:
        table = _palette(page.colormap)
    bits = page.bitspersample
    differences = _Differences.of(page) if colors == "YCBCR" and int(page.compression) in PLAIN else None
    n = table.shape[1] if table is not None else 3 if colors == "SEPARATED" else samples - (alpha is not None)

    def finish(values: np.ndarray) -> Raster:
        hidden = None
        if alpha is not None and "C" not in axes:
            opacity, values = values[..., alpha], np.delete(values, alpha, -1)
            hidden = opacity == 0
            if premultiplied:
                values = _divided(values, opacity)
        if table is not None:
            return Raster(table[values[..., 0]], hidden)
        if colors == "MINISWHITE" and values.dtype.kind == "u":
            return Raster((values.dtype.type(2**bits - 1) - values), hidden)
        if colors == "MINISWHITE":  # of other types only the order is known: what is lowest is brightest
            return Raster(~values if values.dtype.kind == "i" else -values, hidden)
        if differences is not None:
            return Raster(differences.rgb(values), hidden)
        if colors == "SEPARATED":
            if values.shape[-1] < 4:
                raise InputError("inks other than cyan, magenta, yellow and black")
            top = float(np.iinfo(values.dtype).max) if values.dtype.kind == "u" else 1.0
            light = (top - values[..., :3].astype(float)) * (top - values[..., 3:4].astype(float)) / top
            return Raster(np.rint(light).astype(values.dtype) if values.dtype.kind == "u" else light, hidden)
        return Raster(values, hidden)

    return finish, n if "C" not in axes else None, array.dtype if table is None else np.dtype(np.uint8)


class _Differences(NamedTuple):
    """How brightness and two differences of color were made of red, green and blue: TIFF 6.0, section 21."""

    shares: tuple[float, ...]
    """Of red, green and blue in the brightness."""
    black: Any
    white: Any

    @classmethod
    def of(cls, page: Any) -> _Differences:
        """What the tags say, which can be read as long as the file is open."""

        def ratios(tag: str, usual: tuple[float, ...]) -> np.ndarray:
            stated = page.tags.get(tag)
            if stated is None:
                return np.array(usual, float)
            pairs = np.array(stated.value, float).reshape(-1, 2)
            return pairs[:, 0] / pairs[:, 1]

        levels = ratios("ReferenceBlackWhite", (0, 255, 128, 255, 128, 255))
        return cls(tuple(ratios("YCbCrCoefficients", (0.299, 0.587, 0.114))), levels[::2], levels[1::2])

    def rgb(self, values: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 colors."""
        if values.dtype != np.uint8:
            raise InputError(f"YCbCr colors of type {values.dtype}; save it as RGB or grey")
        r, g, b = self.shares
        scale = np.array((255, 127, 127)) / (self.white - self.black)
        y, blue, red = np.moveaxis((values - self.black) * scale, -1, 0)
        first, last = y + red * (2 - 2 * r), y + blue * (2 - 2 * b)
        colors = np.stack([first, (y - r * first - b * last) / g, last], -1)
        return np.rint(colors).clip(0, 255).astype(np.uint8)


def _palette(colormap: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 colors of a palette, (N, 1) where all are grey."""
    colors = np.asarray(colormap).T
    if colors.max() > 255:  # 16 bits, as the standard wants
        colors = colors // 257 if (colors % 257 == 0).all() else colors >> 8  # two ways to fill them
    colors = colors.astype(np.uint8)
    return colors[:, :1] if (colors == colors[:, :1]).all() else colors


def _divided(values: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Colors that were multiplied by the opacity."""
    if values.dtype.kind != "u":
        return values
    top = np.iinfo(values.dtype).max
    full = values.astype(float) * top / np.maximum(opacity, 1)[..., None]
    return np.rint(full.clip(0, top)).astype(values.dtype)
