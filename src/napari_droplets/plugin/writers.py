"""Save a Points layer as a droplets table."""

from __future__ import annotations

from typing import Any


def write_droplets(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write the points as they are now: positions from the data, radii from the sizes, the rest from the features.

    The plane of a stack goes into the column `frame`; with more leading axes, into `axis_0`, `axis_1` and so on.

    Returns the paths written.

    Raises
    ------
    InputError
        The file cannot be written, or a point has no size.
    """
    import numpy as np
    import pandas as pd

    from ..droplets import Droplets
    from ..files import save_table
    from .correction import corrected
    from .layers import TAG

    data = np.asarray(data, float)
    size = np.broadcast_to(np.asarray(attributes.get("size", 1.0), float), (len(data),))
    features = pd.DataFrame(attributes.get("features", {})).reset_index(drop=True)
    tag = attributes.get("metadata", {}).get(TAG)
    if tag:
        own = corrected(tag["table"], features, data, size, shape=tag["place"].shape).table
        # columns that the user or another plugin added
        table = own.join(features[[c for c in features if c not in tag["table"]]])
    else:
        table = features.assign(x=data[:, -1], y=data[:, -2], radius=size / 2)
        table = table.drop(columns=[c for c in table if str(c).endswith("_um")])
    leading = np.round(data[:, :-2]).astype(int).T
    names = ["frame"] if len(leading) == 1 else [f"axis_{i}" for i in range(len(leading))]
    for column, values in zip(names, leading, strict=True):
        table[column] = values
    return [str(save_table(Droplets.from_dataframe(table, name=str(path)), path))]
