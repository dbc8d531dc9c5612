"""Corrections of batches and single records: an overlay, never an edit."""
