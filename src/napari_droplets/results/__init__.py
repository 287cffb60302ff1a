"""Results on disk: what a fit leaves, and large pictures."""
