"""Training of the recognition network: scenes, loss, loop."""
