"""Compiled programs: kept on disk, made ahead, one at a time."""
