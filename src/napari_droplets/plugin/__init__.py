"""The napari side: widget, layers, readers, writers, sample data."""
