"""Pictures stored turned or mirrored, as the orientation tag of TIFF and Exif says."""

from __future__ import annotations

import numpy as np


def upright(values: np.ndarray, code: int) -> np.ndarray:
    """The picture (H, W, ...) as it is meant to be seen; `code` says where its first row and column are, 1 to 8.

    1 top left, 2 top right, 3 bottom right, 4 bottom left, then the same with rows and columns exchanged: 5 left top,
    6 right top, 7 right bottom, 8 left bottom.
    """
    if code in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if code in (3, 4, 7, 8):
        values = values[::-1]
    if code in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
