"""Lagrum: taken in and merged by its own command line, asked through its facade."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from api.billing.subscriptions import Subscription, import_rows
from api.billing.usage import Period, usage
from bench.child import run as run_child
from bench.peers.base import COLUMN_OF, LINE, Keys, Peer, Window, tree_bytes
from schemas.arrow import PACKED
from schemas.packing import pack_address_value, pack_identifier_value, unpack_identifier
from schemas.policy import DEFAULT_POLICY
from schemas.retention import DEFAULT_CLASS
from store import Clock, ScanQuery, Store, SystemClock, TargetIdentifier
from store.clock import Uptime
from store.partitions import PartitionKey, expires_at, to_us

pc: Any = pyarrow.compute

LAGRUM: Final = str(Path(sys.executable).with_name("lagrum"))
TARGET_OF: Final = {
    "calling": "number",
    "called": "number",
    "imsi": "imsi",
    "imei": "imei",
    "source": "ip",
    "destination": "ip",
}
COLUMNS: Final = tuple(PACKED.names)


def ingesting(folder: Path) -> list[str]:
    """Return the command that takes CSV files in, without their names."""
    return [LAGRUM, "--root", str(folder / "store"), "--json", "ingest", "--source", "core", "--format", "csv"]


class _LaterClock(SystemClock):
    """A machine that has run on until a partition's period is over."""

    def __init__(self, key: PartitionKey) -> None:
        end_us = to_us(expires_at(key, DEFAULT_POLICY))
        self._ahead_us = max(0, end_us + 1_000_000 - super().now_us())

    def now_us(self) -> int:
        return super().now_us() + self._ahead_us

    def uptime(self) -> Uptime:
        now = super().uptime()
        return replace(now, counter_us=now.counter_us + self._ahead_us)


class Lagrum(Peer):
    """A search for a number finds it on either side; the side that was not asked for is filtered out here."""

    name = "lagrum"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._store: Store | None = None
        self._memory_bytes = 0

    def prepare(self) -> None:
        """Make a store with one replica of its keyring, as an installation has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        run_child([LAGRUM, "init", str(self._root), "--replica", str(self.folder / "replica"), "--json"])

    def load(self, paths: Sequence[Path]) -> int:
        """One run of `lagrum ingest` with all files."""
        receipt = json.loads(self._run([*ingesting(self.folder), *map(str, paths)]))
        return int(receipt["rows"])

    def finish(self) -> None:
        """One run of `lagrum compact`."""
        self._command("compact", "--all")

    def merge(self) -> None:
        """One run of `lagrum compact` on parts of like size."""
        self._command("compact")

    def resume(self) -> None:
        """Open the store."""
        self._open(SystemClock())

    def lookup(self, kind: str, value: str, window: Window) -> Any:
        """Scan for a target, all columns."""
        query = ScanQuery(
            window.start_us, window.end_us, (TargetIdentifier(TARGET_OF[kind], value),), COLUMNS, by_end=True
        )
        batches = list(self._opened.scan(query))
        if not batches:
            return PACKED.empty_table()
        found = pa.Table.from_batches(batches)
        if kind in ("imsi", "imei"):
            return found
        pack = pack_address_value if TARGET_OF[kind] == "ip" else pack_identifier_value
        return found.filter(pc.equal(found.column(COLUMN_OF[kind]), pack(value)[0]))

    def keys(self, answer: Any) -> Keys:
        """Return the record keys."""
        if not answer.num_rows:
            return np.empty(0, np.int64)
        keys: Keys = unpack_identifier(answer.column("record_key")).cast(pa.int64()).to_numpy()
        return keys

    def subscribe(self, accounts: pa.Table) -> None:
        """Import subscriptions."""
        numbers: list[Any] = accounts.column("number").to_pylist()
        rows = zip(numbers, map(str, accounts.column("account").to_pylist()), strict=True)
        given = (Subscription("number", str(number), account, date(2000, 1, 1), None) for number, account in rows)
        import_rows(self._opened, enumerate(given, 1))

    def usage(self, window: Window) -> pa.Table:
        """Every account's lines; destination classes, which the others do not know, are added up."""
        lines = usage(self._opened, Period(window.start, window.end))
        sums = lines.group_by(["account", "service_type"]).aggregate([("records", "sum"), ("duration_ms", "sum")])
        seconds = pc.divide(sums.column("duration_ms_sum"), 1000)
        columns = [sums.column("account"), sums.column("service_type"), sums.column("records_sum"), seconds]
        return pa.table(columns, names=LINE.names).cast(LINE)

    def aim(self, day: date) -> None:
        """Open the store on the day on which the partition's period is over."""
        self.close()
        self._open(_LaterClock(PartitionKey(day, DEFAULT_CLASS.name)))

    def drop_partition(self, day: date) -> None:
        """Expire: keys destroyed, files unlinked, both in the audit log."""
        done = self._opened.expire()
        if {key.end_date for key in done.partitions} != {day}:
            raise RuntimeError("another partition than the one meant was due")

    def count(self) -> int:
        """Return the records stored."""
        if self._store is None:
            self.resume()
        return sum(item.records for item in self._opened.partitions())

    def size_bytes(self) -> int:
        """Return everything below the root: parts, indexes, catalog, keys, audit log."""
        return tree_bytes(self._root)

    def describe(self) -> Mapping[str, str]:
        """Return version and settings."""
        return {
            "version": version("lagrum"),
            "settings": "defaults: AES-256-GCM, a replica of the keyring, exactly once, audit log, fsync'd commits",
        }

    def memory_bytes(self) -> int:
        """Return the peak of the largest command, or of this process once it opened the store itself."""
        return self._memory_bytes or super().memory_bytes()

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def _root(self) -> Path:
        return self.folder / "store"

    @property
    def _opened(self) -> Store:
        assert self._store is not None
        return self._store

    def _open(self, clock: Clock) -> None:
        self._store = Store.open(self._root, clock=clock)

    def _command(self, *words: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._run([LAGRUM, "--root", str(self._root), "--json", *words]))
        return answer

    def _run(self, command: Sequence[str]) -> str:
        cost = run_child(command)
        self._memory_bytes = max(self._memory_bytes, cost.memory_bytes)
        return cost.output
