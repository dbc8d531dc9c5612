"""Small pushes: durable a group at a time, then ordinary batches."""
