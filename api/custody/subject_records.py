"""A person's own records, as the person may have them: whose side they are, and what of the other side the bill shows.

A record is the person's where one of the person's identifiers stands in it, and the communication began while the
person held it: within the period that the request names and, where subscriptions know the identifier, within one of
theirs. Of every such record leave when, how long and which service, and the person's own identifiers. Besides:

    the person called            the number that was reached or dialled, as on the bill
    the person was served        equipment, location and volumes: they are the served side's, and a record of a call may
                                 be of either side's network, so it is the record's IMSI, MAC or address that tells

Who called the person, from where and with what is another person's, and so is whom a called party forwarded to. Read
is what the policy's purpose `customer` reads; no case, order or hold is looked at, so none changes an answer.

Source: Regulation (EU) 2016/679 Art 15(1), (3) and (4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from api.billing.subscriptions import FOREVER_US, holders
from api.disclosure.open_sessions import within
from api.disclosure.printing import printable, rows
from api.disclosure.sliced_scan import hits
from api.disclosure.targets import is_inner
from api.instants import midnight_us
from schemas.errors import ProcedureError
from schemas.retention import CEILING_MONTHS, add_months
from store import ScanQuery, TargetIdentifier
from store.clock import to_date, to_datetime

if TYPE_CHECKING:
    from store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

CUSTOMER: Final = "customer"
RECORDS_MAX: Final = 200_000
FIELDS_OF: Final[dict[str, tuple[str, ...]]] = {
    "number": ("calling_number", "called_number", "dialled_number", "forwarded_number"),
    "imsi": ("imsi", "called_imsi"),
    "mac": ("mac",),
    "ip": ("source_ip",),
}
"""Kind of identifier -> the fields in which it makes a record the person's. A shared public address does not."""
EVENT: Final = (
    "service_type",
    "start_time",
    "answer_time",
    "end_time",
    "utc_offset_s",
    "end_inferred",
    "time_ambiguous",
    "conflict",
    "duration_ms",
    "billable_duration_ms",
    "disposition",
)
SERVED: Final = frozenset({"imsi", "mac", "source_ip"})
"""Fields that tell whose network's side a record is of."""
_SERVED_SIDE: Final = (
    "imsi",
    "imei",
    "mac",
    "ipv6_prefix",
    "cell_id",
    "cell_id_end",
    "volume_up_bytes",
    "volume_down_bytes",
    "account",
)
BESIDE: Final[dict[str, tuple[str, ...]]] = {
    "calling_number": ("called_number", "dialled_number"),
    "called_imsi": ("called_imei",),
    **dict.fromkeys(SERVED, _SERVED_SIDE),
}
"""Where an own identifier stands -> what leaves besides."""
_ORDER: Final = ("end_time", "start_time", "batch_id", "batch_position")


@dataclass(frozen=True, slots=True)
class Held:
    """One identifier of the person, normalised, and the days (UTC, half-open) on which the person held it."""

    kind: str
    value: str
    start: date
    end: date | None

    def __repr__(self) -> str:
        return f"Held(kind={self.kind!r})"


def readable_since(store: Store) -> date:
    """Return the first day whose records the purpose reads now."""
    now_us = store.clock.now_us()
    window = store.policies.current().in_force(to_date(now_us)).window(CUSTOMER)
    day = add_months(to_date(now_us), -CEILING_MONTHS)
    while window.until(day) <= to_datetime(now_us):
        day += timedelta(days=1)
    return day


def spans_of(store: Store, held: Held, since: date) -> list[tuple[int, int]]:
    """Return when the person held an identifier, as µs, half-open.

    Raises:
        ProcedureError: reason `two-subscribers`: subscriptions give the identifier to several accounts meanwhile;
            `shared-address`: no subscription says whose an address of an inner network is.
    """
    first = max(held.start, since - timedelta(days=1))  # what ended on the first day may have begun before it
    last = to_date(store.clock.now_us()) if held.end is None else held.end - timedelta(days=1)
    known = holders(store, held.kind, held.value, first, last)
    if len({item.account for item in known}) > 1:
        raise ProcedureError(
            "the identifier had several subscribers in that time", reason="two-subscribers", hint="narrow its days"
        )
    claimed = (midnight_us(held.start), FOREVER_US if held.end is None else midnight_us(held.end))
    if not known:
        if held.kind == "ip" and is_inner(held.value):
            raise ProcedureError(
                "an address of an inner network is many persons'",
                reason="shared-address",
                hint="a subscription of the person's account says where it is the person's own",
            )
        return [claimed]
    own = [
        (midnight_us(item.valid_from), FOREVER_US if item.valid_to is None else midnight_us(item.valid_to))
        for item in known
    ]
    return [(max(low, claimed[0]), min(high, claimed[1])) for low, high in own]


def records_of(store: Store, identifiers: Sequence[Held]) -> tuple[date, list[dict[str, Any]]]:
    """Return the first day that was read, and the person's records, oldest first; open sessions, without an end, last.

    Raises:
        ProcedureError: reason `two-subscribers`, or `too-many-records`.
        KeyUnavailableError, IntegrityError: a part cannot be read; there is no partial answer.
    """
    since = readable_since(store)
    spans = [spans_of(store, held, since) for held in identifiers]
    query = ScanQuery(
        start_us=midnight_us(since),
        end_us=store.clock.now_us() + 1,
        targets=tuple(TargetIdentifier(held.kind, held.value) for held in identifiers),
        columns=_columns(),
        by_end=True,
        purpose=CUSTOMER,
    )
    found: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    running = within(store.open_sessions(query.targets), query)  # asked first: what ends meanwhile is among the records
    for table in chain(hits(store, query), running):
        found += _own(table, identifiers, spans)
        if len(found) > RECORDS_MAX:
            raise ProcedureError("the person has too many records for one answer", reason="too-many-records")
    return since, [record for _, record in sorted(found, key=lambda item: item[0])]


def _columns() -> tuple[str, ...]:
    own = {name for names in FIELDS_OF.values() for name in names}
    beside = {name for names in BESIDE.values() for name in names}
    return tuple(sorted(own | beside | set(EVENT) | set(_ORDER)))


def _own(
    table: pa.Table, identifiers: Sequence[Held], spans: Sequence[Sequence[tuple[int, int]]]
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return of a table's records the person's, minimised, each with its place in the order."""
    starts = np.asarray(pc.cast(table["start_time"], pa.int64()).to_numpy())
    own: dict[str, Any] = {}
    for held, times in zip(identifiers, spans, strict=True):
        inside = np.zeros(table.num_rows, np.bool_)
        for low, high in times:
            inside |= (starts >= low) & (starts < high)
        for name in FIELDS_OF[held.kind]:
            equal = pc.fill_null(pc.equal(table[name].cast(pa.string()), held.value), False)
            own[name] = own.get(name, False) | (inside & np.asarray(equal))
    chosen = np.flatnonzero(np.logical_or.reduce(list(own.values())))
    taken = table.take(pa.array(chosen, pa.int64()))
    order = zip(*([(value is None, value or 0) for value in taken[name].to_pylist()] for name in _ORDER), strict=True)
    shown = rows(printable(taken, taken.column_names))
    return [
        (key, minimised(row, {name for name, mask in own.items() if mask[place]}))
        for place, key, row in zip(chosen.tolist(), order, shown, strict=True)
    ]


def minimised(row: Mapping[str, Any], mine: set[str]) -> dict[str, Any]:
    """Return what leaves of one record, fields that have a value; `mine` are those with an own identifier. Pure."""
    names = {*EVENT, *mine, *(name for own in mine for name in BESIDE.get(own, ()))}
    side = "calling" if "calling_number" in mine else "served" if mine & SERVED else "called"
    return {"side": side} | {name: value for name, value in row.items() if name in names and value is not None}
