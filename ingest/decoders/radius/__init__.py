"""RADIUS accounting: detail files and packets."""
