"""Decoders, normalisation, validation, quarantine, pipeline."""
