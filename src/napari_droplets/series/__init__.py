"""Many images: batches over a folder."""
