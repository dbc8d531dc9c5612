"""Lagrum's own layouts: CSV, NDJSON, Arrow, Parquet."""
