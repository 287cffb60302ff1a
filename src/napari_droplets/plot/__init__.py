"""Figures of droplets: matplotlib axes in, axes out, without pyplot."""

from .proportions import proportions as proportions
from .samples import differences as differences
from .samples import samples as samples
from .simplex import simplex as simplex
from .sizes import sizes as sizes
