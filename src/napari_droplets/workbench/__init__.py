"""The work of one panel without a window: droplets, journal, filters, autosave. Knows neither napari nor Qt.

Views (the layers on the canvas, lists, plots, an inspector) are small: they read the model, connect to its signals, and
change it by its methods, never one another. `session.py` says how.
"""
