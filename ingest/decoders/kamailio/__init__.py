"""Kamailio and OpenSIPS: accounting lines and JSON."""
