"""The routes of /v1, one module per subject; each exposes `router`."""
