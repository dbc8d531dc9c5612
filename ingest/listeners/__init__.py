"""Listeners: what devices send by UDP, on its way into the store."""
