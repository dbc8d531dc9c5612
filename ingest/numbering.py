"""Files that number themselves: gaps in their numbers, and records that the switch says it lost.

A format whose files carry a number hands it over with the first stretch (`Decoded.series`). It is taken into its series
when the delivery is durable. A gap, its filling, and lost records are events; `ingest.silence` counts what is missing.
A file that comes again says nothing new. After a crash between receipt and note the file shows as missing until it is
delivered again: an alarm too many, never one too few.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from ingest.decoders.base import FileSeries
from ingest.drop_rules import Sequence, follow
from ingest.events import event
from schemas.errors import LagrumError, NotFoundError, ProcedureError
from store import AuditEntry, Put, Store

KIND: Final = "file-series"
SERIES_MAX: Final = 1000
"""So many nodes are followed per source; files of others are taken without it."""

_SPAN: Final = 1 << 32
"""The number in a file's header has four octets. Source: 3GPP TS 32.297 §6.1.1.8."""
_TRIES: Final = 5
_log = logging.getLogger("lagrum.intake")


def note(store: Store, source: str, file: FileSeries) -> None:
    """Take a durable file's number into its series; a failure is logged, for the file itself is safe."""
    for _ in range(_TRIES):
        try:
            _note(store, source, file)
            return
        except ProcedureError:
            continue  # another process noted at the same time
        except LagrumError as error:
            _log.error("the number of a file of source=%s cannot be kept: %s", source, type(error).__name__)
            return
    _log.error("the number of a file of source=%s cannot be kept: others keep theirs", source)


def counts(store: Store, source: str) -> tuple[int, int]:
    """Return how many files of a source are missing, and how many records its nodes lost."""
    series = _known(store, source)[0].values()
    numbers = [Sequence.from_dict(one) for one in series]
    return sum(len(one.missing) + one.lost for one in numbers), sum(int(one["records_lost"]) for one in series)


def _known(store: Store, source: str) -> tuple[dict[str, Any], int]:
    """Return the series of a source, and the revision of the document that holds them."""
    try:
        document = store.documents.get(KIND, source)
    except NotFoundError:
        return {}, 0
    return dict(document.body["series"]), document.revision


def _note(store: Store, source: str, file: FileSeries) -> None:
    known, revision = _known(store, source)
    before = known.get(file.series)
    if before is None and len(known) >= SERIES_MAX:
        return
    step = follow(Sequence() if before is None else Sequence.from_dict(before), file.number, _SPAN)
    after = step.sequence.as_dict()
    lost = 0 if before is None else int(before["records_lost"])
    if before is not None and after == {name: before[name] for name in after}:
        return  # this file came before
    entries: list[AuditEntry] = []
    if step.gap is not None:
        secret = {"series": file.series, "first": step.gap[0], "last": step.gap[1]}
        entries.append(event("sequence-gap", source, secret=secret, missing=step.gap_files))
    if step.fills:
        entries.append(event("sequence-gap-filled", source, secret={"series": file.series}))
    if file.records_lost:
        secret = {"series": file.series, "number": file.number}
        told = {"records": file.records_lost, "at_least": file.lost_at_least}
        entries.append(event("records-lost", source, secret=secret, **told))
    known[file.series] = {**after, "records_lost": lost + file.records_lost}
    store.documents.commit([Put(KIND, source, {"series": known}, revision)], entries)
