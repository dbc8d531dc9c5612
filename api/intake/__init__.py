"""Deliveries by HTTP: body, group commit, spool, and what sends and fetches them."""
