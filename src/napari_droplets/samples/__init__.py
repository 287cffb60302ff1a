"""Samples of many images: who belongs where, classes of all, and how samples and conditions differ."""
