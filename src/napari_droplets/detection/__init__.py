"""Droplets read off an image without a fit: the recognition network, its scales and tiles, or blobs."""
