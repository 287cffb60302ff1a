"""Who reads a file, told by its content; each gives `Stored` pictures along named axes."""
