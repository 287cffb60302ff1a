"""Figures of droplets: matplotlib axes in, axes out, without pyplot."""

from .proportions import proportions as proportions
from .simplex import simplex as simplex
from .sizes import sizes as sizes
