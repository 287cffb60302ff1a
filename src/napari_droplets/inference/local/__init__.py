"""Fits of a part of the image: regions, and refits around corrections."""
