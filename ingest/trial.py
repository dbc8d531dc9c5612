"""Reading a delivery without a store: what `lagrum formats try` shows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from ingest.decoders import decoder
from ingest.mapping import read_mapping
from ingest.normalise import normalise
from ingest.source_config import MAPPING, SourceConfig
from ingest.sources import check
from ingest.streams import CountingReader, expanded
from schemas.fields import STORE_FIELDS, Kind
from schemas.packing import unpack_table
from schemas.rejects import Reject, RejectReason

RECORDS_MAX: Final = 200_000
"""So many records are looked at; a mapping is wrong long before."""

_SHOWN_AS_TEXT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"
_UNGUESSED: Final = (
    "times without a `format` are RFC 3339; dates such as 03/11/2026 are never guessed: "
    'give the field a format, "%d/%m/%Y …" or "%m/%d/%Y …"'
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came out: the first records and rejects, and how many there are; `whole` when all of the file was read."""

    records: list[dict[str, Any]]
    rejects: list[dict[str, Any]]
    read: int
    rejected: int
    whole: bool
    hint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "read": self.read,
            "rejected": self.rejected,
            "whole": self.whole,
            "records": self.records,
            "rejects": self.rejects,
        }


def trial(stream: BinaryIO, source: SourceConfig, *, now_us: int, show: int) -> Trial:
    """Read a delivery by the source's mapping, and keep nothing.

    Raises:
        ConfigurationError: the mapping or the source cannot work.
        InputError: the delivery as a whole has not the layout.
    """
    check(SourceConfig(source.name, zone=source.zone, country=source.country, service_type=source.service_type))
    records: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    read = rejected = 0
    whole = True
    reader = cast(BinaryIO, CountingReader(stream))  # the file stays the caller's to close
    for part in decoder("mapping").decode(expanded(reader), source):
        done = normalise(part, source, now_us)
        read += done.table.num_rows + len(done.rejects)
        rejected += len(done.rejects)
        records += _readable(unpack_table(done.table.slice(0, show - len(records))).to_pylist())
        rejects += itertools.islice(done.rejects, show - len(rejects))
        if read >= RECORDS_MAX:
            whole = False
            break
    shown = [{"position": one.position, "reason": one.reason.value, "field": one.field} for one in rejects]
    return Trial(records, shown, read, rejected, whole, _hint(rejects, source))


def _readable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is not there and what the store sets; write times as text."""
    return [
        {
            name: value.strftime(_SHOWN_AS_TEXT) if hasattr(value, "strftime") else value
            for name, value in row.items()
            if value is not None and (name not in STORE_FIELDS or name == "time_ambiguous")
        }
        for row in rows
    ]


def _hint(rejects: list[Reject], source: SourceConfig) -> str | None:
    unread = {one.field for one in rejects if one.reason is RejectReason.BAD_TIME}
    for item in read_mapping(source.options[MAPPING]).fields:
        formats = [form.text for rule in item.rules for form in rule.formats]
        if item.field.kind is Kind.TIME and item.field.name in unread and "iso" in formats:
            return _UNGUESSED
    return None
