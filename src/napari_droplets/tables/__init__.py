"""Tables of droplets: those of many programs read, those that others want written."""

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .heading import is_droplets_table as is_droplets_table
    from .reading import read_frame as read_frame
    from .reading import read_table as read_table
    from .writing import export as export
    from .writing import save_table as save_table

EXPORTS = {
    "xlsx": "droplets.xlsx",
    "labels": "labels.tif",
    "roi": "droplets_rois.zip",
    "geojson": "droplets.geojson",
}
"""What can be written besides, and the files it goes to."""

# lazily: a heading is looked at where pandas is not wanted
__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "heading": ["is_droplets_table"],
        "reading": ["read_frame", "read_table"],
        "writing": ["export", "save_table"],
    },
)
