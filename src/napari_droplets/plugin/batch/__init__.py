"""Batch in the window: a folder worked on in the background, its images looked at and corrected one by one."""
