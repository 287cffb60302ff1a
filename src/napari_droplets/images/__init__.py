"""Any image a user may hold, as float32 intensities in 0..1 with named channels, a pixel size and a stated range."""

from .convert import as_image as as_image
from .convert import read_image as read_image
from .convert import read_images as read_images
from .intensities import checked_range as checked_range
from .picture import MIN_SIDE as MIN_SIDE
from .picture import Image as Image
from .picture import ImageWarning as ImageWarning
from .picture import resampled as resampled
from .pixel_size import PixelSize as PixelSize
from .readers.formats import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from .series import in_one_scale as in_one_scale
