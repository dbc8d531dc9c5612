"""Layouts without a decoder of their own, read by what a mapping file says (docs/sources/mapping.md)."""

from __future__ import annotations

from ingest.mapping.model import FILE_COLUMN, MappingFile
from ingest.mapping.reader import read_mapping

__all__ = ["FILE_COLUMN", "MappingFile", "read_mapping"]
