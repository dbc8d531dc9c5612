"""The compiled road of BroadWorks records: what the kernels look for, and the columns that they bring (ADR 38)."""

from __future__ import annotations

from functools import cache
from typing import Final

import pyarrow as pa

from ingest.decoders.freeswitch.walk import Form, Legs, Names, columns_of, names_of
from ingest.decoders.slices import compute
from ingest.source_config import SourceConfig
from store import native

WORDS: Final = {"16": "cancelled", "17": "busy", "18": "no-answer", "19": "no-answer"}
"""What becomes of a call that is not answered, by its cause."""

_KERNELS: Final = "ingest.decoders.broadworks_kernels"
_TEXTS: Final = (
    "switch", "record_key", "calling_number", "called_number", "dialled_number", "forwarded_number", "source_ip",
    "destination_ip", "user_agent", "cause", "trunk_in", "trunk_out", "call_link", "tenant", "account",
)  # fmt: skip
_FIGURES: Final = (
    "begin", "end", "position", "start_time", "answer_time", "end_time", "utc_offset_s", "billable_duration_ms",
)  # fmt: skip
_MODULES: Final = (
    ("RECORD", "headerModule", "HEADER"), ("HEADER", "recordId", "RECORD_ID"), ("RECORD", "basicModule", "BASIC"),
    ("RECORD", "centrexModule", "CENTREX"), ("RECORD", "ipModule", "IP"),
)  # fmt: skip
NAMES: Final = (
    ("RECORD_ID", "eventCounter systemId date"),
    ("HEADER", "serviceProvider type"),
    (
        "BASIC",
        "userNumber direction callingNumber calledNumber dialedDigits redirectingNumber originalCalledNumber startTime "
        "userTimeZone localCallId answerIndicator answerTime releaseTime terminationCause userId extTrackingId",
    ),
    ("CENTREX", "trunkGroupName extTrackingId"),
    ("IP", "route networkCallID accessDeviceAddress userAgent extTrackingId"),
)
"""What is read in each module; the places of a record in their order (`broadworks_kernels`)."""


@cache
def _names() -> Names:
    kernels = native.load(_KERNELS)
    names = [(getattr(kernels, of), name, kernels.OPENS + getattr(kernels, opens)) for of, name, opens in _MODULES]
    values = [(getattr(kernels, module), name) for module, read in NAMES for name in read.split()]
    names += [(module, name, place) for place, (module, name) in enumerate(values)]
    return names_of(names)


FORM: Final = Form(_KERNELS, _names, _TEXTS, _FIGURES)


def table_of(legs: Legs, source: SourceConfig, names: tuple[str, ...]) -> pa.Table:
    """Return legs that the kernels made as the table that their tuples would make."""
    made = columns_of(legs, source)
    told = compute.fill_null(made["cause"], "").dictionary_encode()
    words = pa.array([WORDS.get(word, "failed") for word in told.dictionary.to_pylist()], pa.string())
    made["disposition"] = compute.if_else(compute.is_valid(made["answer_time"]), "answered", words.take(told.indices))
    return pa.Table.from_arrays([made[name] for name in names], names=list(names))
