"""Why an input record is refused. A reject names position, field and reason, and never a value."""

from __future__ import annotations

import dataclasses
from enum import StrEnum


class RejectReason(StrEnum):
    """Stable words; they appear in receipts, metrics and the quarantine list."""

    MALFORMED = "malformed"  # the record cannot be parsed
    ENCODING = "encoding"  # bytes are not in the expected character encoding
    COLUMN_COUNT = "column-count"
    MISSING_FIELD = "missing-field"
    BAD_FIELD = "bad-field"  # a field's value does not have the field's form
    BAD_TIME = "bad-time"  # a time cannot be read or is absurd
    FUTURE = "future"  # ends beyond the allowance ahead of the clock
    EXPIRED = "expired"  # its class's period is over, or its partition is erased: refused and not kept
    TOO_LONG = "too-long"  # one record larger than the limit
    UNKNOWN_SERVICE = "unknown-service"
    UNSUPPORTED = "unsupported"  # a record type that the format has and Lagrum does not store


@dataclasses.dataclass(frozen=True, slots=True)
class Reject:
    """One refused record.

    `position` is its 1-based position among the delivery's records; `offset` its byte offset where known.
    `raw` is the record as delivered *without content* (message text cut out), kept encrypted for replay; None when the
    content cannot be cut, and then only `length_bytes` and a keyed digest remain.
    """

    position: int
    reason: RejectReason
    field: str | None = None
    offset: int | None = None
    length_bytes: int | None = None
    raw: bytes | None = dataclasses.field(default=None, repr=False)
