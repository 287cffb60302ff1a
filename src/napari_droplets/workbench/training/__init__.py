"""Learning from corrections without a window: what is learned from, and the process that does it."""
