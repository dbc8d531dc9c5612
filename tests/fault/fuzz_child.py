"""Mutated deliveries of one format, decoded one by one.

Run as `python -m tests.fault.fuzz_child FORMAT SEED FIRST COUNT STATE`.

Each case is made from the format, the seed and its own number alone, so that it can be made again. Before a case is
decoded its number goes to STATE, a shared mapping of 8 bytes: when this process dies, its parent reads there what
killed it. Every second case takes the compiled roads, whatever its size. Prints one JSON object.
"""

from __future__ import annotations

import io
import json
import mmap
import random
import signal
import struct
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

from bench import formats
from ingest import times
from ingest.decoders import csv_walk, decoder, slices
from ingest.decoders.ber import walk as ber
from ingest.decoders.freeswitch import walk as freeswitch
from ingest.decoders.kamailio import walk as kamailio
from ingest.decoders.radius import walk as radius
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from tests.ingest.test_bad_input import FIXTURES, GOOD, HEADERS, NOW_US, OPTIONS

PROCESSOR_SECONDS_MAX: Final = 20
NORMALISED_EVERY: Final = 4
WINDOW_BYTES: Final = 3_000
WHOLE: Final = ("arrow", "parquet", *formats.BINARY)
PROBLEMS_MAX: Final = 20
FOLDERS: Final = {
    "asterisk-csv": "asterisk/master_*.csv",
    "asterisk-custom": "asterisk/custom.csv",
    "asterisk-cel": "asterisk/cel*.csv",
    "freeswitch-json": "freeswitch/*.*json",
    "freeswitch-xml": "freeswitch/*.xml",
    "freeswitch-csv": "freeswitch/master_default.csv",
    "kamailio-acc": "kamailio/acc_*.log",
    "kamailio-json": "kamailio/*.jsonl",
    "opensips-acc": "opensips/*.log",
    "radius-detail": "freeradius/detail*",
    "kannel": "kannel/*.log",
    "smpp": "smpp/*.log",
    "cucm-cdr": "cucm/cdr.csv",
    "cucm-cmr": "cucm/cmr.csv",
    "acme-csv": "acme/*.csv",
    "broadworks-xml": "broadworks/*.xml",
    "conntrack": "conntrack/*",
    "cgnat-syslog": "cgnat/*.log",
}
TOKENS: Final = tuple(
    b'\n;\r\n;\r;\n\n;\0;";"";",";,;|;=; = ;\t;[;];{;};<;>;</;&;%;\\;\\u0000;:;-;0;9;-1;99999999999999999999;1e9;null;'
    b"\xff;\xfe;\xef\xbb\xbf;\xff\xfe;\xc3;\xc3\xa5;\x80;\x81;\x82\xff\xff;\x84\xff\xff\xff\xff;\0\0;\xa0\x80;\xbf;\x30;"
    b"1f8b;<![CDATA[;]]>;<!--;&amp;;&#0;;Nov 31 2026 25:61:61 UTC;2026-02-30 24:00:00;".split(b";")
)


class Hang(BaseException):
    """A case took too much processor time."""


def _hung(_number: int, _frame: FrameType | None) -> None:
    raise Hang


def corpus(name: str) -> list[bytes]:
    """Return what is mutated: the fixtures, one good record, and some that are made."""
    found = [path.read_bytes() for path in sorted(FIXTURES.glob(FOLDERS[name]))] if name in FOLDERS else []
    if name in GOOD:
        found.append(HEADERS.get(name, b"") + GOOD[name] * 3)
    if name in formats.names() and name != "mapping":
        found += [formats.delivery(name, records, datetime(2026, 11, 1, tzinfo=UTC))[0] for records in (2, 7)]
    return found


def mutated(rng: random.Random, items: Sequence[bytes], window_bytes: int = WINDOW_BYTES) -> bytes:
    """Return a piece of an item with some changes."""
    whole = rng.choice(items)
    data = bytearray(whole)
    if len(data) > window_bytes:
        start = whole.find(b"\n", rng.randrange(len(whole))) + 1
        head = whole[: whole.find(b"\n") + 1] if rng.random() < 0.7 else b""
        data = bytearray(head + whole[start : start + rng.randrange(1, window_bytes)])
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5, 12))):
        change(rng, data, items)
    return bytes(data)


def change(rng: random.Random, data: bytearray, items: Sequence[bytes]) -> None:
    """Change bytes once: a bit, a byte, a piece that is cut out, doubled, put in, or nothing but chance."""
    at, kind = rng.randrange(len(data) + 1), rng.randrange(9)
    end = min(len(data), at + rng.choice((1, 1, 2, 4, 9, 30, 300)))
    if kind == 0 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = rng.choice((0, 9, 10, 13, 32, 34, 44, 0x7F, 0x80, 0x81, 0x84, 0xFF, rng.randrange(256)))
    elif kind == 2:
        del data[at:end]
    elif kind == 3:
        data[at:at] = data[at:end] * rng.choice((1, 1, 2, 40))
    elif kind == 4:
        data[at:at] = rng.choice(TOKENS)
    elif kind == 5:
        data[at : at + 1] = rng.choice(TOKENS)
    elif kind == 6:
        other = rng.choice(items)
        start = rng.randrange(len(other) + 1)
        data[at:at] = other[start : start + rng.choice((1, 8, 40, 300))]
    elif kind == 7:
        del data[at:]
    else:
        data[at:end] = rng.randbytes(end - at)


def compiled(*, wanted: bool) -> None:
    """Send all blocks the compiled roads, or none."""
    least = 0 if wanted else 1 << 60
    for module, setting in (
        (csv_walk, "WALK_BYTES_MIN"),
        (csv_walk, "LOAD_BYTES_MIN"),
        (slices, "KERNEL_BYTES_MIN"),
        (slices, "LOAD_BYTES_MIN"),
        (freeswitch, "WALK_BYTES_MIN"),
        (freeswitch, "LOAD_BYTES_MIN"),
        (kamailio, "WALK_BYTES_MIN"),
        (kamailio, "LOAD_BYTES_MIN"),
        (ber, "KERNEL_BYTES_MIN"),
        (ber, "LOAD_BYTES_MIN"),
        (radius, "KERNEL_BYTES_MIN"),
        (radius, "LOAD_BYTES_MIN"),
        (times, "CLOCKS_MIN"),
        (times, "LOAD_CLOCKS_MIN"),
    ):
        setattr(module, setting, least)


def tried(name: str, data: bytes, source: SourceConfig, *, normalised: bool) -> tuple[str, str]:
    """Decode one delivery; return what came of it, and what is wrong with that."""
    positions: list[int] = []
    refused = 0
    try:
        for part in decoder(name).decode(io.BytesIO(data), source):
            rows = part.table.num_rows
            told: list[Any] = part.table.column("position").to_pylist()
            positions += told
            positions += [reject.position for reject in part.rejects]
            refused += len(part.rejects)
            if normalised:
                normal = normalise(part, source, NOW_US)
                if normal.table.num_rows + len(normal.rejects) != rows + len(part.rejects):
                    return "records", "records were lost while they were normalised"
    except InputError:
        return "refused as a whole", ""
    except Hang:
        return "hang", f"more than {PROCESSOR_SECONDS_MAX} s of processor time"
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"[:200]
    if sorted(positions) != list(range(1, len(positions) + 1)):
        return "records", "records are unaccounted for"
    return ("nothing" if not positions else "rejects" if refused else "records"), ""


def main() -> int:
    name, seed, first, count, state = sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5])
    signal.signal(signal.SIGPROF, _hung)
    items = corpus(name)
    source = SourceConfig("fuzz", country="SE", options=OPTIONS.get(name, {}))
    window_bytes = 1 << 20 if name in WHOLE else WINDOW_BYTES
    outcomes: dict[str, int] = {}
    problems: list[list[str | int]] = []
    with state.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        for case in range(first, first + count):
            struct.pack_into("<q", shared, 0, case)
            data = mutated(random.Random(f"{name} {seed} {case}"), items, window_bytes)
            compiled(wanted=case % 2 == 0)
            signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS_MAX)
            outcome, problem = tried(name, data, source, normalised=case % NORMALISED_EVERY < 2)
            signal.setitimer(signal.ITIMER_PROF, 0)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if problem and len(problems) < PROBLEMS_MAX:
                problems.append([case, problem])
    sys.stdout.write(json.dumps({"outcomes": outcomes, "problems": problems}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
