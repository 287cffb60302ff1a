"""The updates of a fit: of all droplets, and of what they share; and the evidence of the pixels they take."""
