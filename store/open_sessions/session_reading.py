"""What is known of open sessions, read: for searches, for verification, and for a batch that goes on with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from store.catalog import Catalog
from store.identities.identity import IdentityHasher
from store.keys import KeyRef, Keyring, derive, unseal_series
from store.model import TargetIdentifier
from store.open_sessions.folding import with_column
from store.open_sessions.session_rows import OWN, decode
from store.open_sessions.session_sieve import SessionSieve, condition
from store.open_sessions.session_tables import CLEAR, Sealed
from store.parquet import conform
from store.reading.targets import check, matches

_SESSIONS_A_BATCH: Final = 1000


def open_rows(
    catalog: Catalog, keyring: Keyring, targets: Sequence[TargetIdentifier] = (), *, element: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield what is known of the sessions that run now, as packed columns; those of some targets only, if any.

    What no event has said yet is null, the end among it. `element` (of `element_tags`) leaves out the sessions of other
    network elements; one of another element may be left in.

    Raises:
        ConfigurationError: a target can never match.
        IntegrityError: a session does not authenticate.
        KeyUnavailableError: a session's key is gone.
    """
    for target in targets:
        check(target)
    last = b""
    # By tag, a page at a time: the plus keeps the planner from an index that it would have to sort for every page.
    where, of = ("+state = 'open'", ()) if element is None else ("state = 'open' AND element = ?", (element,))
    some, words = condition(SessionSieve(keyring), targets)
    while rows := catalog.query(
        f"SELECT tag, key_ref, sealed, {CLEAR} FROM sessions "  # noqa: S608
        f"WHERE {where} AND ({some}) AND tag > ? ORDER BY tag LIMIT ?",
        (*of, *words, last, _SESSIONS_A_BATCH),
    ):
        last = rows[-1][0]
        found = [Sealed.of(row) for row in rows]
        fields = decode(opened(keyring, found)).drop_columns(list(OWN))
        table = conform(with_column(fields, "batch_id", pa.array([one.batch_id for one in found], pa.int64())))
        if targets:
            masks = [np.asarray(matches(table, target)) for target in targets]
            table = table.filter(pa.array(np.logical_or.reduce(masks)))
        yield from (batch for batch in table.combine_chunks().to_batches() if batch.num_rows)


def element_tags(hasher: IdentityHasher, source: str, elements: Sequence[str | None]) -> list[int]:
    """Return the keyed hashes under which the sessions of a source's network elements are found."""
    words = hasher.strings(pa.array([f"{source}\x1f{element or ''}" for element in elements], pa.string()))
    hashes: list[int] = np.ascontiguousarray(words[:, 0]).view(np.int64).tolist()
    return hashes


def opened(keyring: Keyring, sessions: Sequence[Sealed]) -> list[bytes]:
    """Return the fields of sessions, with `marks` and `rank`, as bytes.

    Raises:
        IntegrityError: one does not authenticate, or stands beside other columns than it was written with.
        KeyUnavailableError: its key is gone.
    """
    places: dict[str, list[int]] = {}
    for place, one in enumerate(sessions):
        places.setdefault(one.key_ref, []).append(place)
    plain = [b""] * len(sessions)
    for ref, some in places.items():
        key = derive(keyring.key(KeyRef.parse(ref)), "session")
        found = unseal_series(key, ((sessions[place].blob, sessions[place].aad) for place in some))
        for place, data in zip(some, found, strict=True):
            plain[place] = data
    return plain
