"""What every measured system does, in the same words.

A peer lives in a process of its own (`bench.worker`). It reads the very CSV files that the others read, and answers
with what can be compared: the keys of the records found, and the lines of the usage.
"""

from __future__ import annotations

import os
import resource
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Keys = npt.NDArray[np.int64]

COLUMN_OF: Final = {
    "calling": "calling_number",
    "called": "called_number",
    "imsi": "imsi",
    "imei": "imei",
    "source": "source_ip",
    "destination": "destination_ip",
}
"""The kinds of identifier that are looked up, and the column of the workload in which each stands."""
DAY_US: Final = 86_400_000_000
SESSION_US_MAX: Final = DAY_US
"""No communication of the workload lasts longer: who partitions by start may leave out what began before."""
_LINE: Final[dict[str, pa.DataType]] = {
    "account": pa.string(),
    "service_type": pa.string(),
    "records": pa.int64(),
    "duration_s": pa.int64(),
}
LINE: Final = pa.schema(_LINE)
"""One line of usage; `account` is null for records of nobody."""


@dataclass(frozen=True, slots=True)
class Window:
    """The communications that ended in [start, end), UTC dates."""

    start: date
    end: date

    @property
    def start_us(self) -> int:
        """Its first microsecond since 1970."""
        return _midnight_us(self.start)

    @property
    def end_us(self) -> int:
        """The first microsecond after it."""
        return _midnight_us(self.end)

    @property
    def days(self) -> int:
        """Its length."""
        return (self.end - self.start).days

    @property
    def earliest_start_us(self) -> int:
        """No communication that ended in the window began before."""
        return self.start_us - SESSION_US_MAX


def _midnight_us(day: date) -> int:
    return int(datetime.combine(day, datetime.min.time(), UTC).timestamp()) * 1_000_000


def stamp(time_us: int) -> str:
    """Return an instant as SQL writes it, UTC."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).strftime("%Y-%m-%d %H:%M:%S.%f+00")


class Peer(ABC):
    """One system. Methods are called in this order, those between `prepare` and `close` as often as wanted."""

    name: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def prepare(self) -> None:
        """Make an empty store, ready to take records in."""

    @abstractmethod
    def load(self, paths: Sequence[Path]) -> int:
        """Take CSV files in, one commit per file, durable at return; return the records stored."""

    def finish(self) -> None:  # noqa: B027 -- most have nothing to do
        """Bring what was taken in to its final state: merged, sorted, checkpointed."""

    def merge(self) -> None:  # noqa: B027 -- most have nothing to do
        """Do what a service does by itself after a delivery; less than `finish`."""

    @abstractmethod
    def resume(self) -> None:
        """Open what another process loaded; `prepare` is not called then."""

    @abstractmethod
    def lookup(self, kind: str, value: str, window: Window) -> Any:
        """Fetch every column of the records of one identifier; the answer goes to `keys`."""

    @abstractmethod
    def keys(self, answer: Any) -> Keys:
        """Return the record keys of a lookup's answer; not part of what is measured."""

    @abstractmethod
    def subscribe(self, accounts: pa.Table) -> None:
        """Know which account a calling number belongs to: columns `number` (int64) and `account`."""

    @abstractmethod
    def usage(self, window: Window) -> pa.Table:
        """Return records and seconds per account and service type (`LINE`), in any order."""

    def aim(self, day: date) -> None:  # noqa: B027 -- most have nothing to do
        """Make ready for `drop_partition`; not part of what is measured."""

    @abstractmethod
    def drop_partition(self, day: date) -> None:
        """Remove the records of a day; durable at return."""

    @abstractmethod
    def count(self) -> int:
        """Return the records stored."""

    @abstractmethod
    def size_bytes(self) -> int:
        """Return what the records and their indexes take on disk."""

    @abstractmethod
    def describe(self) -> Mapping[str, str]:
        """Return version and settings."""

    def cpu_seconds(self) -> float:
        """Return processor seconds spent so far, by this process and what it ran."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    def memory_bytes(self) -> int:
        """Return the peak resident size of the largest process."""
        return peak_bytes(os.getpid())

    def read_bytes(self) -> int | None:
        """Return the bytes that this process read by system calls so far, cached or not; None when another reads."""
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("rchar:"))

    def close(self) -> None:  # noqa: B027 -- most have nothing to do
        """End what runs."""


def peak_bytes(pid: int) -> int:
    """Return the peak resident size of a process; what its parent had before it began does not count."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def tree_bytes(folder: Path) -> int:
    """Return the size of every file below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def window_sql(window: Window, end: str, instant: str) -> str:
    """Return the predicate of a window over `start_time` and an expression for the end; `instant` has one {}."""
    first, last = instant.format(stamp(window.start_us)), instant.format(stamp(window.end_us))
    earliest = instant.format(stamp(window.earliest_start_us))
    return f"start_time >= {earliest} AND start_time < {last} AND {end} >= {first} AND {end} < {last}"
