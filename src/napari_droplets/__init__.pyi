from .composition.anchors import pure as pure
from .detection.scales import estimate_diameter as estimate_diameter
from .droplets import Droplets as Droplets
from .droplets import Fit as Fit
from .droplets import Optics as Optics
from .errors import InputError as InputError
from .files import read as read
from .files import read_optics as read_optics
from .images import Image as Image
from .images import read_image as read_image
from .images import read_images as read_images
from .inference.api import detect as detect
from .inference.api import fit as fit
from .inference.api import fit_series as fit_series
from .inference.api import iterate as iterate
from .inference.api import refit as refit
from .lazy import LazyPixels as LazyPixels
from .measurement import measure as measure
from .plugin.layers import to_layers as to_layers
from .progress import Progress as Progress
from .settings import Settings as Settings
from .simulate import simulate as simulate
from .size_statistics import Statistics as Statistics
from .size_statistics import statistics as statistics
from .tables import export as export

__version__: str
