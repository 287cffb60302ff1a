"""Work of the panel in the background: one job at a time, what it computes, and what becomes of its results."""
