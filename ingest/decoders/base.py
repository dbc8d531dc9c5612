"""What every decoder is: bytes in, delivered records and rejects out, nothing lost in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Final, Protocol

import pyarrow as pa

from ingest.source_config import SourceConfig
from schemas.rejects import Reject

RECORD_BYTES_MAX: Final = 1 << 20
"""One input record larger than 1 MiB is rejected as `too-long` (read past, never held whole)."""

CHUNK_ROWS: Final = 65_536
"""Decoders without a faster road of their own hand over at most so many records at once."""


class Event(StrEnum):
    """What an input record says about its session; a column `event` of these, absent when all are RECORD."""

    RECORD = "record"  # complete by itself
    OPEN = "open"  # a session began (RADIUS Start, NAT create, an answered INVITE)
    UPDATE = "update"  # interim figures of an open session
    CLOSE = "close"  # the session ended; fields of OPEN and UPDATE fill what it lacks


@dataclass(frozen=True, slots=True)
class FileSeries:
    """What a file says of itself: its number in the series of one node, and how many records the node lost."""

    series: str
    number: int
    records_lost: int = 0
    lost_at_least: bool = False
    """Whether more than `records_lost` may be lost."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One stretch of a delivery.

    `table` has columns of `schemas.arrow.DELIVERED` (any subset, delivered types; LABEL and IDENTIFIER columns may be
    dictionary-encoded) and
      * `position` int64, required: 1-based position of the record in the delivery, unique over `table` and `rejects`;
      * `event` string, optional: an `Event`; and then
      * `session_key` string: what joins OPEN, UPDATE and CLOSE of one session within the source's dedup domain.
    A decoder may pack a column itself: an IDENTIFIER of int64 holds digits behind a leading 1, an ADDRESS of uint32
    is IPv4 (`schemas.packing`). What does not pack stands in the string column NAME_text, and is null in the other.
    Every input record is in exactly one of `table` and `rejects`. Lines that are no records (headers, blank lines,
    "Log begins") are in neither.
    """

    table: pa.Table
    rejects: Sequence[Reject] = ()
    raw_of: Callable[[Sequence[int]], Sequence[bytes | None]] | None = None
    """Returns, by position, the bytes of records in `table` that are refused later, content cut out; None where the
    decoder cannot tell."""
    series: FileSeries | None = None
    """In the first stretch of a file that numbers itself."""
    is_nothing: bool = False
    """Set on the last stretch of a delivery without records that is of this format by its whole header or frame: the
    switch says that there was nothing. Other deliveries without records are refused."""


def nothing() -> Decoded:
    """Return the stretch of a delivery that has its header, and no record."""
    return Decoded(pa.table({"position": pa.array([], pa.int64())}), is_nothing=True)


def or_nothing(parts: Iterable[Decoded], is_headed: Callable[[], bool]) -> Iterator[Decoded]:
    """Yield what a delivery holds; where that is neither a record nor a reject, and it has its header, say so."""
    found = False
    for part in parts:
        found = found or part.table.num_rows > 0 or len(part.rejects) > 0
        yield part
    if not found and is_headed():
        yield nothing()


class Decoder(Protocol):
    """A format of a producer. Stateless between deliveries; limits memory to a few chunks whatever the input."""

    name: str
    """The format's name on the command line."""
    summary: str
    """One line for `lagrum formats`: producer and kind of file."""
    zoned: bool
    """Whether times carry their offset; a format that does not needs `SourceConfig.zone`."""
    options: tuple[str, ...]
    """Names of `SourceConfig.options` that it understands."""

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's records in order.

        Raises:
            InputError: the delivery as a whole cannot be read (wrong header, not this format).
            ConfigurationError: the source lacks a setting that the format needs.
        """
        ...
