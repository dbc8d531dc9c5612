"""Groups of datagrams into the store: one batch each, durable or not at all."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

from ingest.normalise import Normalised
from ingest.source_config import SourceConfig
from schemas.errors import LagrumError
from store import Receipt, SourceRef, Store

GATHER_S: Final = 0.5
"""A group stays open for so long after its first datagram: many share one commit, and a day has a bounded number."""

FAILURES: Final = (LagrumError, OSError, sqlite3.Error)
"""The store cannot take a group now: it is tried again, or sent again."""


def commit(
    store: Store, source: SourceConfig, format: str, parts: Iterable[Normalised], datagrams: Sequence[bytes]
) -> Receipt:
    """Make a group durable.

    Raises:
        LagrumError, OSError, sqlite3.Error: nothing of it is kept (`FAILURES`).
    """
    digest = hashlib.sha256()
    for one in datagrams:
        digest.update(one)
    with store.begin_batch(SourceRef(source.name, source.domain, "udp"), format=format) as batch:
        for part in parts:
            batch.reject(part.rejects)
            batch.add(part.table)
        batch.finish_input(digest.digest(), sum(map(len, datagrams)))
        return batch.commit()
