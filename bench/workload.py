"""The reference workload: generated CDRs of one or many days, in any amount, always the same for one seed.

Every measurement uses it. It knows nothing of Lagrum, so that peers are fed the very same bytes.

| column | values |
|---|---|
| record_key | 11 digits, unique, counted up as records are written |
| switch | 24 names |
| service_type | voice 35 %, sms 25 %, mms 2 %, data 28 %, voip 10 % |
| calling_number, called_number | E.164 digits of 2 million subscribers, drawn as uniform^2.5 and uniform^2 |
| start_time | UTC with microseconds, sorted, evenly over the day |
| duration_s | whole seconds, exponential, mean 90 |
| source_ip | a customer's address in 10.0.0.0/8 |
| destination_ip | one of 250 000 public addresses, drawn as uniform^2 |
| imsi, imei | fixed per calling number; 5 % of the subscribers change their handset at some moment of the period |
| cell_id | 40 000 cells |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

pc: Any = pyarrow.compute
Ints = npt.NDArray[np.int64]

HEADER: Final = (
    "record_key,switch,service_type,calling_number,called_number,start_time,duration_s,"
    "source_ip,destination_ip,imsi,imei,cell_id"
)
ROWS: Final = 5_000_000
SEED: Final = 2026
START_DATE: Final = date(2026, 11, 1)
SUBSCRIBERS: Final = 2_000_000
SWITCHES: Final = tuple(f"msc-{number:02d}.example.net" for number in range(1, 25))
SERVICE_SHARES: Final = {"voice": 0.35, "sms": 0.25, "mms": 0.02, "data": 0.28, "voip": 0.10}
CELLS: Final = 40_000
SERVERS: Final = 250_000
HANDSETS_CHANGED: Final = 0.05
DURATION_MEAN_S: Final = 90.0
CHUNK_ROWS: Final = 131_072

_THREADS: Final = 2
_DAY_US: Final = 86_400_000_000
KEY_FIRST: Final = 10_000_000_000
_PRIME: Final = 99_999_989  # multiplying modulo a prime scatters without collisions: popularity follows no order


@dataclass(frozen=True, slots=True)
class Population:
    """What is fixed for one seed: handsets (14 digits) and their change, one row per subscriber; servers' addresses."""

    imei: Ints
    imei_later: Ints
    changed_at_us: Ints
    """Microseconds since 1970 at which the second handset takes over; the end of time for most."""
    server: Ints


@lru_cache(maxsize=2)
def population(seed: int, start_us: int, end_us: int) -> Population:
    """Return the subscribers' equipment for a seed and a period."""
    rng = np.random.default_rng([seed, 0])
    changed = rng.random(SUBSCRIBERS) < HANDSETS_CHANGED
    moment = rng.integers(start_us, end_us, SUBSCRIBERS)
    first, later = _handsets(rng), _handsets(rng)
    server = rng.integers(0x0B000000, 0xDF000000, SERVERS)
    return Population(first, np.where(changed, later, first), np.where(changed, moment, 2**62), server)


def _handsets(rng: np.random.Generator) -> Ints:
    """Draw the 14 digits of equipment identities: one of 900 type codes and a serial number."""
    return (35_000_000 + rng.integers(0, 900, SUBSCRIBERS) * 1_117) * 10**6 + rng.integers(0, 10**6, SUBSCRIBERS)


def _imei(body: Ints) -> Ints:
    """Put the Luhn digit behind 14 digits, three digits at a time."""
    total = np.zeros(len(body), np.int64)
    rest = body
    for place in range(5):  # the doubled digits are every second one from the right
        total += _LUHN[place % 2].take(rest % 1_000)
        rest = rest // 1_000
    return body * 10 + -total % 10


def _luhn_of(number: int, *, doubled_first: bool) -> int:
    digits = (number % 10, number // 10 % 10, number // 100)
    doubled = (doubled_first, not doubled_first, doubled_first)
    return sum(sum(divmod(2 * digit, 10)) if twice else digit for digit, twice in zip(digits, doubled, strict=True))


_LUHN: Final = [
    np.array([_luhn_of(number, doubled_first=first) for number in range(1_000)], np.int64) for first in (True, False)
]


def number_of(subscriber: Ints) -> Ints:
    """Return the E.164 digits of subscribers (0-based)."""
    return 46_700_000_000 + (subscriber + 1) * 48_271 % _PRIME


def imsi_of(subscriber: Ints) -> Ints:
    """Return the IMSI of subscribers (0-based)."""
    return 240_010_000_000_000 + (subscriber + 1) * 69_621 % _PRIME


@lru_cache(maxsize=1)
def _halves() -> Any:
    return pa.array([f"{half >> 8}.{half & 255}" for half in range(65_536)])


@lru_cache(maxsize=1)
def _clock_texts() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return "HH:MM:SS" of every second of a day, and three digits of every thousandth."""
    seconds = b"".join(b"%02d:%02d:%02d" % (s // 3600, s // 60 % 60, s % 60) for s in range(86_400))
    thousands = b"".join(b"%03d" % part for part in range(1_000))
    return np.frombuffer(seconds, np.uint8).reshape(-1, 8), np.frombuffer(thousands, np.uint8).reshape(-1, 3)


def _time_text(time: Ints) -> Any:
    """Write times of one day as `2026-11-01 13:45:12.123456Z`."""
    seconds, thousands = _clock_texts()
    day = datetime.fromtimestamp(int(time[0]) // 1_000_000, UTC).strftime("%Y-%m-%d ")
    text = np.empty((len(time), 27), np.uint8)
    text[:, :11] = np.frombuffer(day.encode(), np.uint8)
    text[:, 11:19] = seconds.take(time // 1_000_000 % 86_400, axis=0)
    text[:, 19] = ord(".")
    text[:, 20:23] = thousands.take(time // 1_000 % 1_000, axis=0)
    text[:, 23:26] = thousands.take(time % 1_000, axis=0)
    text[:, 26] = ord("Z")
    offsets = np.arange(0, 27 * len(time) + 1, 27, dtype=np.int32)
    return pa.StringArray.from_buffers(len(time), pa.py_buffer(offsets.tobytes()), pa.py_buffer(text.tobytes()))


def _dotted(address: Ints) -> Any:
    """Write IPv4 addresses as text, by halves."""
    high, low = (_halves().take(pa.array(part)) for part in ((address >> 16) & 0xFFFF, address & 0xFFFF))
    return pc.binary_join_element_wise(high, low, ".")


def _indices(codes: npt.NDArray[np.int32]) -> Any:
    return pa.array(codes)


def _chunk(
    people: Population, seed: int, day: int, number: int, first_key: int, rows: int, start_us: int, end_us: int
) -> pa.Table:
    """Make the records of one stretch of time, sorted."""
    rng = np.random.default_rng([seed, 1, day, number])
    start = np.sort(rng.integers(start_us, end_us, rows))
    calling = (rng.random(rows) ** 2.5 * SUBSCRIBERS).astype(np.int64)
    called = (rng.random(rows) ** 2 * SUBSCRIBERS).astype(np.int64)
    # Called numbers are scattered the other way round: who calls much is not called much.
    called = SUBSCRIBERS - 1 - called
    service = rng.choice(len(SERVICE_SHARES), rows, p=list(SERVICE_SHARES.values())).astype(np.int32)
    server = people.server.take((rng.random(rows) ** 2 * SERVERS).astype(np.int64))
    later = start >= people.changed_at_us.take(calling)
    return pa.table(
        {
            "record_key": pa.array(first_key + np.arange(rows)),
            "switch": pa.DictionaryArray.from_arrays(_indices(rng.integers(0, 24, rows, np.int32)), list(SWITCHES)),
            "service_type": pa.DictionaryArray.from_arrays(_indices(service), list(SERVICE_SHARES)),
            "calling_number": pa.array(number_of(calling)),
            "called_number": pa.array(number_of(called)),
            "start_time": pa.array(start).cast(pa.timestamp("us", tz="UTC")),
            "duration_s": pa.array(rng.exponential(DURATION_MEAN_S, rows).astype(np.int64)),
            "source_ip": _dotted(0x0A000000 + rng.integers(0, 1 << 24, rows)),
            "destination_ip": _dotted(server),
            "imsi": pa.array(imsi_of(calling)),
            "imei": pa.array(_imei(np.where(later, people.imei_later.take(calling), people.imei.take(calling)))),
            "cell_id": pa.array(240_010_000 + rng.integers(0, CELLS, rows)),
        }
    )


def tables(
    rows: int = ROWS,
    seed: int = SEED,
    days: int = 1,
    start_date: date = START_DATE,
    *,
    text: bool = True,
    chunk_rows: int = CHUNK_ROWS,
) -> Iterator[pa.Table]:
    """Yield the workload in Arrow tables of at most `chunk_rows` records, in order of time.

    `rows` is the total, spread evenly over `days`. The records depend on `chunk_rows` too. With `text`, identifiers are
    strings, as a switch delivers them; without, they are integers.
    """
    for make in _chunks(rows, seed, days, start_date, chunk_rows, 0, KEY_FIRST):
        table = make()
        yield _as_text(table) if text else table


def _chunks(
    rows: int,
    seed: int,
    days: int,
    start_date: date,
    chunk_rows: int,
    first_day: int,
    first_key: int,
    within: range | None = None,
) -> Iterator[Callable[[], pa.Table]]:
    """Yield what makes each chunk, of some of the days; the chunks are independent of each other."""
    start_us = int(datetime.combine(start_date, datetime.min.time(), UTC).timestamp()) * 1_000_000
    people = population(seed, start_us, start_us + days * _DAY_US)
    key = first_key
    for day in range(days):
        day_rows = rows * (day + 1) // days - rows * day // days
        if within is not None and day not in within:
            key += day_rows
            continue
        chunks = -(-day_rows // chunk_rows)
        day_us = start_us + day * _DAY_US
        for number in range(chunks):
            done, upto = day_rows * number // chunks, day_rows * (number + 1) // chunks
            low, high = day_us + _DAY_US * number // chunks, day_us + _DAY_US * (number + 1) // chunks
            yield partial(_chunk, people, seed, first_day + day, number, key, upto - done, low, high)
            key += upto - done


def _as_text(table: pa.Table) -> pa.Table:
    for name in ("record_key", "calling_number", "called_number", "imsi", "imei", "cell_id"):
        table = table.set_column(table.schema.get_field_index(name), name, table.column(name).cast(pa.string()))
    return table


def write_csv(
    target: Path | str | BinaryIO,
    rows: int = ROWS,
    seed: int = SEED,
    days: int = 1,
    start_date: date = START_DATE,
    *,
    header: bool = True,
    first_day: int = 0,
    first_key: int = KEY_FIRST,
    within: range | None = None,
    watch: Callable[[pa.Table], None] | None = None,
) -> int:
    """Write the workload as CSV to a path or an open binary file; return the records written.

    Who writes more of the same subscribers' records says how many days and keys came before; who writes it in pieces
    names the days `within` each (0 is the first). `watch` is shown every table that was written.
    """
    if isinstance(target, str | Path):
        more: dict[str, Any] = {"first_day": first_day, "first_key": first_key, "within": within, "watch": watch}
        with Path(target).open("wb") as stream:
            return write_csv(stream, rows, seed, days, start_date, header=header, **more)
    if header:
        target.write(HEADER.encode() + b"\n")
    written = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[tuple[pa.Table, memoryview]]] = deque()
        for make in _chunks(rows, seed, days, start_date, CHUNK_ROWS, first_day, first_key, within):
            waiting.append(pool.submit(_csv_of, make))
            if len(waiting) > _THREADS:
                written += _write_next(target, waiting, watch)
        while waiting:
            written += _write_next(target, waiting, watch)
    return written


def _csv_of(make: Callable[[], pa.Table]) -> tuple[pa.Table, memoryview]:
    table = make()
    place = table.schema.get_field_index("start_time")
    times = _time_text(table.column(place).cast(pa.int64()).to_numpy())
    sink = pa.BufferOutputStream()
    options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
    pa.csv.write_csv(table.set_column(place, "start_time", times), sink, options)
    return table, memoryview(sink.getvalue())


def _write_next(
    target: BinaryIO,
    waiting: deque[Future[tuple[pa.Table, memoryview]]],
    watch: Callable[[pa.Table], None] | None,
) -> int:
    table, data = waiting.popleft().result()
    target.write(data)
    if watch is not None:
        watch(table)
    return table.num_rows


def last_date(days: int, start_date: date = START_DATE) -> date:
    """Return the last day of a workload."""
    return start_date + timedelta(days=days - 1)
