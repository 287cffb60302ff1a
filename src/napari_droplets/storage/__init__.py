"""Files as such: paths, memory, values of our own formats read as if a stranger had written them, whole writes."""
