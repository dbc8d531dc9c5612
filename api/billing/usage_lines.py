"""The lines of usage: their columns, what counts, and in which order an identifier decides the account."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from schemas.errors import BusyError

NOT_CHARGED: Final = "delivery-report"
"""A disposition that tells of another record's fate and is no service by itself."""
MEASURES: Final = ("records", "duration_ms", "billable_duration_ms", "volume_up_bytes", "volume_down_bytes")
_KEYS: Final = ("account", "service_type", "destination")
LINE: Final = pa.schema([(name, pa.string()) for name in _KEYS] + [(name, pa.int64()) for name in MEASURES])
"""One line of usage. `account` is null for records that no account owns."""
SERVED: Final = ("calling_number", "calling_number_text", "imsi", "imsi_text", "mac", "source_ip", "source_ip_v6")
"""In this order an identifier decides the account where the source tells none."""
COLUMNS: Final = (
    "account",
    "account_text",
    *SERVED,
    "called_number",
    "called_number_text",
    "service_type",
    "disposition",
    "source",
    "start_time",
    *MEASURES[1:],
    "batch_id",
)
"""What lines are made of, of a packed record."""


def too_much() -> BusyError:
    """Return the refusal of figures that take more memory than is allowed; nothing is spilt to disk instead."""
    return BusyError("the figures do not fit into memory", hint="ask for a shorter period")
