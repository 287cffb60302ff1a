"""Probabilities and intervals that hold, learned from images with known truth: of the network and of fits."""
