"""What napari opens and saves of ours: the functions that the manifest names."""
