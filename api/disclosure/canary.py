"""Records of a test: made from its order, of nobody, so that a canary runs end to end and touches no real data. Pure.

Source: ETSI TS 103 120 (IsTest).
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa

from api.disclosure.model import Target, Task
from schemas.arrow import PACKED
from schemas.legal_bases import LegalBasis
from schemas.packing import unpack_table

RECORDS_PER_TARGET: Final = 3
NAME: Final = "TEST"
_DURATION: Final = timedelta(seconds=60)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PORTS: Final = {"source_ip": "source_port", "nat_ip": "nat_port_first", "destination_ip": "destination_port"}


def made_records(task: Task, basis: LegalBasis) -> pa.Table:
    """Return three records for each target inside the task's window, with logical names; the same ones every time."""
    rows = [
        _row(task, basis, target, number, number + len(task.targets) * copy)
        for number, target in enumerate(task.targets)
        for copy in range(RECORDS_PER_TARGET)
    ]
    return pa.Table.from_pylist(rows, schema=unpack_table(PACKED.empty_table()).schema)


def _row(task: Task, basis: LegalBasis, target: Target, number: int, position: int) -> dict[str, Any]:
    step_us = (task.window.end_us - task.window.start_us) // (len(task.targets) * RECORDS_PER_TARGET)
    start = _EPOCH + timedelta(microseconds=task.window.start_us + step_us * position)
    row: dict[str, Any] = {
        "dedup_domain": NAME,
        "source": NAME,
        "switch": NAME,
        "record_key": f"{NAME}-{number + 1}-{position + 1}",
        "batch_id": 0,
        "batch_position": position + 1,
        "conflict": False,
        "service_type": "voice",
        "start_time": start,
        "end_time": start + _DURATION,
        "end_inferred": False,
        "time_ambiguous": False,
        "disposition": "answered",
    }
    name = next(name for name in basis.matchable(target.kind) if name != "ipv6_prefix")
    row[name] = str(ipaddress.ip_address(target.value)) if target.kind == "ip" else target.value
    if target.tenant:
        row["tenant"] = target.tenant
    if target.element:
        row["switch"] = target.element
    if target.port is not None:
        row[_PORTS[name]] = target.port
    return row
