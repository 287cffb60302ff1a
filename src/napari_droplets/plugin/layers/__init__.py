"""What is on the canvas: results as layers, their points, colors and edits, and where their image is."""

from .points import TAG as TAG
from .points import is_edited as is_edited
from .points import tag_of as tag_of
from .results import Output as Output
from .results import default_image as default_image
from .results import fit_layer as fit_layer
from .results import image_layers as image_layers
from .results import is_image as is_image
from .results import to_layers as to_layers
