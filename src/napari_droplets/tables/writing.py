"""Write droplets for other programs: CSV, Parquet, Excel, label images, ROIs of ImageJ, GeoJSON for QuPath."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..droplets import Droplets
from ..errors import InputError
from ..storage.atomic import write_whole

CORNERS = 48  # of the polygon that stands for a circle
MOST_EXCEL_ROWS = 1_048_575


def save_table(droplets: Droplets, path: str | Path) -> Path:
    """Write a droplets table as CSV, or as Parquet or Excel where the name ends so.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    path, table = Path(path), droplets.to_dataframe()
    kind = path.suffix.lower()
    if kind == ".parquet":
        write_whole(path, lambda p: table.to_parquet(p, index=False))
    elif kind == ".xlsx":
        if len(table) > MOST_EXCEL_ROWS:
            raise InputError(f"{path}: {len(table)} droplets are more than Excel holds; write CSV or Parquet")
        content = io.BytesIO()  # a writer of ZIP archives that meets a full disk complains once more when it is deleted
        try:
            table.to_excel(content, index=False, sheet_name="droplets")
        except ImportError as error:
            raise InputError(f"{path}: to write Excel tables: pip install 'napari-droplets[excel]'") from error
        write_whole(path, lambda p: p.write_bytes(content.getvalue()))
    else:
        write_whole(path, lambda p: table.to_csv(p, index=False))
    return path


def export(droplets: Droplets, path: str | Path, *, shape: tuple[int, int] | None = None) -> Path:
    """Write droplets in the form that a program wants, told by the name of the file.

    Parameters
    ----------
    droplets : Droplets
    path : path
        .csv, .parquet or .xlsx: the table; .tif: a label image, in which droplet 0 has the value 1 and smaller droplets
        lie over larger ones; .zip or .roi: circles for the ROI manager of ImageJ; .geojson: for QuPath.
    shape : (int, int), optional
        Height and width of the image in pixels; needed for a label image.

    Returns
    -------
    Path

    Raises
    ------
    InputError
        The file cannot be written, or of another kind.
    """
    path = Path(path)
    kinds: dict[str, Callable[[Droplets, Path, Any], None]] = {
        **{".tif": _labels, ".tiff": _labels, ".zip": _rois, ".roi": _rois},
        **{".geojson": _geojson, ".json": _geojson},
    }
    kind = path.suffix.lower()
    if kind in (".csv", ".parquet", ".xlsx"):
        return save_table(droplets, path)
    if kind not in kinds:
        raise InputError(f"{path}: known are .csv, .parquet, .xlsx, .tif, .zip, .roi and .geojson")
    kinds[kind](droplets, path, shape)
    return path


def label_image(droplets: Droplets, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint16 or uint32: 0, or the row of the droplet that covers the pixel's center, from 1."""
    h, w = shape
    labels = np.zeros((h, w), np.uint16 if len(droplets) < 2**16 else np.uint32)
    for i in np.argsort(-droplets.radius, kind="stable"):
        x, y, r = droplets.x[i], droplets.y[i], droplets.radius[i]
        top, bottom = max(0, int(np.ceil(y - r))), min(h, int(np.floor(y + r)) + 1)
        left, right = max(0, int(np.ceil(x - r))), min(w, int(np.floor(x + r)) + 1)
        if top < bottom and left < right:
            v, u = np.mgrid[top:bottom, left:right]
            labels[top:bottom, left:right][np.hypot(u - x, v - y) <= r] = i + 1
    return labels


def _labels(droplets: Droplets, path: Path, shape: Any) -> None:
    import tifffile

    if shape is None:
        raise InputError(f"{path}: a label image needs the shape of the image")
    labels = label_image(droplets, shape)
    write_whole(path, lambda p: tifffile.imwrite(p, labels, compression="zlib", photometric="minisblack"))


def _rois(droplets: Droplets, path: Path, shape: Any) -> None:
    """Ovals with subpixel places; ImageJ counts from the corner of the first pixel."""
    from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi, roiwrite

    frames = droplets.labels.get("frame")
    rois = []
    for i, (x, y, r) in enumerate(zip(droplets.x, droplets.y, droplets.radius, strict=True)):
        left, top, side = x + 0.5 - r, y + 0.5 - r, 2 * r
        roi = ImagejRoi(
            roitype=ROI_TYPE.OVAL,
            subtype=ROI_SUBTYPE.UNDEFINED,
            options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
            name=f"droplet {i}",
            left=round(left),
            top=round(top),
            right=round(left + side),
            bottom=round(top + side),
            xd=left,
            yd=top,
            widthd=side,
            heightd=side,
            position=0 if frames is None or not np.isfinite(float(frames[i])) else int(frames[i]) + 1,
        )
        roi.byteorder = ">"
        roi.version = 228
        rois.append(roi)
    if path.suffix.lower() == ".roi" and len(rois) != 1:
        raise InputError(f"{path}: {len(rois)} droplets; several ROIs go into a .zip")
    write_whole(path, lambda p: roiwrite(p, rois, mode="w"))


def _geojson(droplets: Droplets, path: Path, shape: Any) -> None:
    """Detections with their measurements; QuPath counts from the corner of the first pixel."""
    angle = np.linspace(0, 2 * np.pi, CORNERS + 1)
    across, down = np.cos(angle), np.sin(angle)
    across[-1], down[-1] = across[0], down[0]  # the ring must close exactly
    table = droplets.to_dataframe()
    numeric = table.select_dtypes("number")
    features = []
    for i, (x, y, r) in enumerate(zip(droplets.x, droplets.y, droplets.radius, strict=True)):
        ring = np.round(np.stack([x + 0.5 + r * across, y + 0.5 + r * down], -1), 3).tolist()
        values = {str(k): float(v) for k, v in numeric.iloc[i].items() if np.isfinite(v)}
        about: dict[str, Any] = {"objectType": "detection", "name": f"droplet {i}", "measurements": values}
        if "class" in table and table["class"].iloc[i] == table["class"].iloc[i]:
            about["classification"] = {"name": f"class {table['class'].iloc[i]}"}
        features.append(
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": about}
        )
    text = json.dumps({"type": "FeatureCollection", "features": features})
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))
