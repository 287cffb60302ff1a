"""Save a Points layer as a droplets table."""

from __future__ import annotations

from typing import Any


def write_droplets(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write the points as they are now: positions from the data, radii from the sizes, the rest from the features.

    Where points are hidden, the column `filter` says by which filters; where classes have names, `class_name` has them.
    The plane of a stack goes into the column `frame`; with more leading axes, into `axis_0`, `axis_1` and so on.

    Returns the paths written.

    Raises
    ------
    InputError
        The file cannot be written, or a point has no size.
    """
    import numpy as np
    import pandas as pd

    from ...droplets import Droplets
    from ...images.pixel_size import mean_side
    from ...results.files import save_table
    from ..layers.correction import KEYS, UM_COLUMNS, differs, edited_table, in_micrometres, places
    from ..layers.points import TAG

    data = np.asarray(data, float)
    size = np.broadcast_to(np.asarray(attributes.get("size", 1.0), float), (len(data),))
    now, table = places(data, size), pd.DataFrame(attributes.get("features", {})).reset_index(drop=True)
    tag, pixel = attributes.get("metadata", {}).get(TAG), None
    if tag and set(KEYS) <= set(table):
        moved, resized = differs(now, table[KEYS].to_numpy(float))
        table = edited_table(table, now, moved, resized, np.zeros(len(data), bool), tag["place"].shape)
        pixel = Droplets.from_dataframe(tag["table"]).pixel_size_um
    table = table.assign(**dict(zip(KEYS, now.T, strict=True)))
    table = table.drop(columns=[c for c in UM_COLUMNS if c in table])
    if pixel is not None:
        table[UM_COLUMNS] = in_micrometres(now, pixel)
    if tag:
        table = _told(table, tag, None if pixel is None else mean_side(pixel))
    leading = np.round(data[:, :-2]).astype(int).T
    names = ["frame"] if len(leading) == 1 else [f"axis_{i}" for i in range(len(leading))]
    for column, values in zip(names, leading, strict=True):
        table[column] = values
    return [str(save_table(Droplets.from_dataframe(table, name=str(path)), path))]


def filters_text(tag: dict[str, Any], pixel_um: float | None = None) -> str:
    """By which filters points of a layer are hidden, in words; empty where none are. `tag` are our notes on it."""
    hidden, filters = tag.get("hidden"), tag.get("filters")
    return "" if filters is None or hidden is None or not len(hidden["data"]) else filters.text(pixel_um)


def _told(table: Any, tag: dict[str, Any], pixel_um: float | None) -> Any:
    """A table with the columns `filter` and `class_name`, where there is something to say."""
    from ...workbench.filters import class_words

    text, names = filters_text(tag, pixel_um), tag.get("class_names")
    if text:
        table = table.assign(filter=text)
    if names and "class" in table:
        table = table.assign(class_name=[names.get(word, "") for word in class_words(table["class"])])
    return table
