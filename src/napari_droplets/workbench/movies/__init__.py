"""Movies without a window: a sheet with tracks, what ties its droplets, and its curves."""
