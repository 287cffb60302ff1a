from .droplets import Droplets as Droplets
from .droplets import Fit as Fit
from .droplets import Optics as Optics
from .errors import InputError as InputError
from .files import read as read
from .files import read_optics as read_optics
from .images import Image as Image
from .images import read_image as read_image
from .inference.anchors import pure as pure
from .inference.encoder import estimate_diameter as estimate_diameter
from .inference.fit import Progress as Progress
from .inference.fit import detect as detect
from .inference.fit import fit as fit
from .inference.fit import fit_series as fit_series
from .inference.fit import iterate as iterate
from .inference.fit import refit as refit
from .inference.settings import Settings as Settings
from .plugin.layers import to_layers as to_layers
from .simulate import simulate as simulate

__version__: str
