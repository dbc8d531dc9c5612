"""What is looked up, and what must be found: values drawn from a CSV file, and the truth counted in it.

Present values are drawn evenly among the distinct ones of a window, so that a busy number is as likely as a quiet one;
absent ones have the same shape and occur nowhere in the file. The truth comes from Arrow and NumPy alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from bench import workload
from bench.peers.base import COLUMN_OF, Window
from bench.worker import checksum
from schemas.packing import pack_address

Ints = npt.NDArray[np.int64]

ADDRESSES: Final = ("source", "destination")
CANDIDATES: Final = 400
SEED: Final = 11
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Probe:
    """One value to look up in a window, and what every system must find."""

    kind: str
    value: str
    present: bool
    records: int
    checksum: str


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Some records: key, start, end, and the value of each kind as an integer."""

    key: Ints
    start_us: Ints
    end_us: Ints
    values: Mapping[str, Ints]


def draw(path: Path, windows: Sequence[Window], present: int, absent: int) -> dict[Window, list[Probe]]:
    """Return probes of every kind for each window: the present ones first."""
    sketches = {(window, kind): _Sketch(present) for window in windows for kind in COLUMN_OF}
    free = _candidates()
    for part in _read(path):
        for window in windows:
            inside = (part.start_us >= window.start_us) & (part.end_us < window.end_us)
            if inside.any():
                for kind, values in part.values.items():
                    sketches[window, kind].add(values[inside])
        for kind, values in part.values.items():
            free[kind] = free[kind][~np.isin(_identity(kind, free[kind]), _identity(kind, values))]
    chosen = {pair: sketch.values for pair, sketch in sketches.items()}
    truth = _truth({kind: _joined(chosen, kind) for kind in COLUMN_OF}, _read(path))
    nothing = checksum(np.empty(0, np.int64))
    answer: dict[Window, list[Probe]] = {window: [] for window in windows}
    for (window, kind), values in chosen.items():
        for value in values.tolist():
            keys = truth[kind].of(value, window)
            answer[window].append(Probe(kind, _text(kind, value), True, len(keys), checksum(keys)))
        answer[window] += [Probe(kind, _text(kind, value), False, 0, nothing) for value in free[kind][:absent].tolist()]
    return answer


def tally(path: Path, probes: Sequence[Probe], window: Window) -> list[Probe]:
    """Return the same probes with what a file holds of them within the window."""
    here = Tally(probes, window)
    for part in _read(path):
        here.add(part)
    return here.probes()


class Tally:
    """Counts what a workload holds of some probes' values within a window, while it is written."""

    def __init__(self, probes: Sequence[Probe], window: Window) -> None:
        self._probes, self._window = probes, window
        self._wanted = {kind: np.unique([_number(one) for one in probes if one.kind == kind]) for kind in COLUMN_OF}
        self._found = {kind: _Found() for kind in COLUMN_OF}

    def watch(self, table: pa.Table) -> None:
        """See one table of the workload, identifiers as integers."""
        for batch in table.combine_chunks().to_batches():
            self.add(_stretch(batch))

    def add(self, part: _Stretch) -> None:
        """See some records."""
        _look(self._wanted, part, self._found)

    def probes(self) -> list[Probe]:
        """Return the same probes with what was seen of them."""
        answer = []
        for one in self._probes:
            keys = self._found[one.kind].of(_number(one), self._window)
            answer.append(replace(one, records=len(keys), checksum=checksum(keys)))
        return answer


class _Sketch:
    """The values with the smallest hashes: an even sample of the distinct ones."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._hashes = np.empty(0, np.uint64)
        self.values: Ints = np.empty(0, np.int64)

    def add(self, values: Ints) -> None:
        hashes = values.astype(np.uint64) * _MIX
        hashes ^= hashes >> np.uint64(31)
        hashes *= _MIX
        if len(self._hashes) == self._size:
            low = hashes < self._hashes[-1]
            hashes, values = hashes[low], values[low]
        both = np.concatenate([self._hashes, hashes])
        self._hashes, places = np.unique(both, return_index=True)
        self.values = np.concatenate([self.values, values])[places][: self._size]
        self._hashes = self._hashes[: self._size]


class _Found:
    """Every record of some values."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints, Ints]] = []

    def add(self, values: Ints, keys: Ints, ends_us: Ints) -> None:
        self._parts.append((values, keys, ends_us))

    def of(self, value: int, window: Window) -> Ints:
        values, keys, ends_us = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        mine: Ints = keys[(values == value) & (ends_us >= window.start_us) & (ends_us < window.end_us)]
        return mine


def _truth(wanted: Mapping[str, Ints], parts: Iterable[_Stretch]) -> dict[str, _Found]:
    found = {kind: _Found() for kind in wanted}
    for part in parts:
        _look(wanted, part, found)
    return found


def _look(wanted: Mapping[str, Ints], part: _Stretch, found: Mapping[str, _Found]) -> None:
    for kind, values in part.values.items():
        places = np.searchsorted(wanted[kind], values).clip(max=len(wanted[kind]) - 1)
        hit = wanted[kind][places] == values
        found[kind].add(values[hit], part.key[hit], part.end_us[hit])


def _joined(chosen: Mapping[tuple[Window, str], Ints], kind: str) -> Ints:
    return np.unique(np.concatenate([values for (_, name), values in chosen.items() if name == kind]))


def _read(path: Path) -> Iterator[_Stretch]:
    types: dict[str, pa.DataType] = {
        "record_key": pa.int64(),
        "start_time": pa.timestamp("us", tz="UTC"),
        "duration_s": pa.int64(),
        **{name: pa.string() if kind in ADDRESSES else pa.int64() for kind, name in COLUMN_OF.items()},
    }
    options = pa_csv.ConvertOptions(column_types=types, include_columns=list(types))
    with pa_csv.open_csv(path, pa_csv.ReadOptions(block_size=8 << 20), convert_options=options) as reader:
        for batch in reader:
            yield _stretch(batch)


def _stretch(batch: pa.RecordBatch) -> _Stretch:
    start_us = _ints(batch.column("start_time").cast(pa.int64()))
    values = {
        kind: _ints(pack_address(batch.column(name))[0] if kind in ADDRESSES else batch.column(name))
        for kind, name in COLUMN_OF.items()
    }
    end_us = start_us + _ints(batch.column("duration_s")) * 1_000_000
    return _Stretch(_ints(batch.column("record_key")), start_us, end_us, values)


def _ints(column: Any) -> Ints:
    ints: Ints = column.to_numpy(zero_copy_only=False).astype(np.int64)
    return ints


def _candidates() -> dict[str, Ints]:
    """Draw values of the right shape, most of which nobody has."""
    rng = np.random.default_rng(SEED)
    strangers = workload.SUBSCRIBERS + rng.choice(10**7, CANDIDATES, replace=False)
    handsets = (35_000_000 + rng.integers(0, 900, CANDIDATES) * 1_117) * 10**6 + rng.integers(0, 10**6, CANDIDATES)
    return {
        "calling": workload.number_of(strangers),
        "called": workload.number_of(strangers),
        "imsi": workload.imsi_of(strangers),
        "imei": handsets * 10,
        "source": 0x0A000000 + rng.integers(0, 1 << 24, CANDIDATES),
        "destination": rng.integers(0x0B000000, 0xDF000000, CANDIDATES),
    }


def _identity(kind: str, values: Ints) -> Ints:
    """Return what decides equality: equipment is one on 14 digits."""
    return values // 10 if kind == "imei" else values


def _number(probe: Probe) -> int:
    return int(IPv4Address(probe.value)) if probe.kind in ADDRESSES else int(probe.value)


def _text(kind: str, value: int) -> str:
    return str(IPv4Address(value)) if kind in ADDRESSES else str(value)
