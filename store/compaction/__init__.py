"""Small parts of a partition become few sorted ones."""
