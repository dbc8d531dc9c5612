"""A command that reads a workload of any size from its standard input, made on the fly, and what it takes meanwhile.

Nothing of the input lies on disk. Resident memory and processor time of the reading process are noted as records go
in: the curves tell whether a stretch of the stream costs what the one before it did.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Final

from bench.child import Cost, begin, ended

MARK_ROWS: Final = 5_000_000
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_WAIT_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Mark:
    """What the reading process has taken when so many records went into its pipe."""

    records: int
    memory_bytes: int
    """Resident at this moment."""
    peak_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Poured:
    """A command that read its stream to the end."""

    records: int
    stream_bytes: int
    cost: Cost
    marks: list[Mark]


def pour(command: Sequence[str], write: Callable[[BinaryIO], int], mark_rows: int = MARK_ROWS) -> Poured:
    """Run a command, let `write` fill its standard input, and return what it took.

    `write` returns the records that it wrote. A mark is made every `mark_rows` of them, and one at the end.

    Raises:
        RuntimeError: the command failed.
    """
    process = begin(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    fed = _Fed(process.stdin, _Gauge(process), mark_rows)
    records = 0
    try:
        records = write(fed)  # type: ignore[arg-type]
        fed.mark(records)
        process.stdin.close()
    except BrokenPipeError:  # the command's exit code tells why
        with suppress(BrokenPipeError):
            process.stdin.close()
    return Poured(records, fed.bytes, ended(process, command), fed.marks)


class _Gauge:
    """Reads what the one child of a process takes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the child has begun, or the process has ended."""
        path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self._pid = 0
        while not self._pid and process.poll() is None:
            with suppress(OSError, IndexError):
                self._pid = int(path.read_text(encoding="ascii").split()[0])
                break
            time.sleep(_WAIT_S)

    def read(self, records: int) -> Mark | None:
        """Return a mark; None when the child has ended."""
        try:
            status = Path(f"/proc/{self._pid}/status").read_text(encoding="utf-8").splitlines()
            times = Path(f"/proc/{self._pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        sizes = dict(line.split(":", 1) for line in status if line.startswith(("VmRSS:", "VmHWM:")))
        if len(sizes) < 2:
            return None
        resident, peak = (int(sizes[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
        return Mark(records, resident, peak, (int(times[11]) + int(times[12])) / _TICKS)


class _Fed:
    """A pipe that counts lines, and makes the marks."""

    def __init__(self, stream: IO[bytes], gauge: _Gauge, mark_rows: int) -> None:
        self._stream, self._gauge, self._mark_rows = stream, gauge, mark_rows
        self._lines = 0
        self.bytes = 0
        self.marks: list[Mark] = []

    def write(self, data: bytes | memoryview) -> int:
        """Write it whole."""
        before = self._lines // self._mark_rows
        self._stream.write(data)
        self.bytes += len(data)
        self._lines += bytes(data).count(b"\n")
        if self._lines // self._mark_rows > before:
            self.mark(self._lines // self._mark_rows * self._mark_rows)
        return len(data)

    def mark(self, records: int) -> None:
        """Note what the command takes now."""
        if (made := self._gauge.read(records)) is not None:
            self.marks.append(made)
