"""A batch that is looked at and corrected while it runs: its images, its process, corrections in its results."""
