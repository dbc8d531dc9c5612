"""How the columns of a part lie in its file: derived columns, then forms that take least."""
