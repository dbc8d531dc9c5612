"""Deliveries of a thousand records, half of them damaged: every record is in one place, and its neighbours are as ever.

Run as `python -m tests.fault.fuzz_records FORMAT SEED FIRST COUNT STATE`, as `tests.fault.fuzz_child` is.

A delivery is made from the format, the seed and its own number. Of the same records, none of them damaged, comes what
is expected: at each position of an undamaged record the same row, or the same reject; at each position of a damaged one
a row or a reject; and no other positions. In every eighth delivery records are torn: their terminators are damaged
too, so that positions move; then every undamaged record is there again, in order, but for the one behind a torn one.
Prints one JSON object.
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
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decoders import decoder
from ingest.normalise import normalise
from schemas.errors import InputError
from tests.fault.fuzz_child import compiled
from tests.fault.record_forms import FOLDED, LEADING, LOOSE, TORN, Family, damaged, families, source_of, taken_along
from tests.ingest.decoding import unpacked
from tests.ingest.test_bad_input import NOW_US

PROCESSOR_SECONDS_MAX: Final = 60
RECORDS_MAX: Final = 1_000
SHARES: Final = (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.02, 0.9)
TORN_SHARE: Final = 0.05
PROBLEMS_MAX: Final = 20


@dataclass
class Outcome:
    """What became of a delivery: rows by column, sorted by position, and rejects by position."""

    positions: Any
    columns: dict[str, Any]
    rejects: dict[int, tuple[str, str | None]]
    lost: bool = False


@dataclass
class Told:
    """What a process says. Of damaged `records` some are `torn`, of the others there are `rows` and `rejects`."""

    records: int = 0
    torn: int = 0
    deliveries: int = 0
    refused: int = 0
    rows: int = 0
    rejects: int = 0
    problems: list[list[Any]] = field(default_factory=list)


def outcome(name: str, data: bytes, *, normalised: bool) -> Outcome:
    """Decode a delivery.

    Raises:
        InputError: it is refused as a whole.
    """
    source, tables, rejects, lost = source_of(name), [], {}, False
    for part in decoder(name).decode(io.BytesIO(data), source):
        tables.append(unpacked(part.table))
        for reject in part.rejects:
            lost = lost or reject.position in rejects
            rejects[reject.position] = (reject.reason.value, reject.field)
        if normalised:
            normal = normalise(part, source, NOW_US)
            lost = lost or normal.table.num_rows + len(normal.rejects) != part.table.num_rows + len(part.rejects)
    whole = (
        pa.concat_tables(tables, promote_options="permissive")
        if tables
        else pa.table({"position": pa.array([], pa.int64())})
    )
    positions = np.asarray(whole.column("position").combine_chunks())
    order = np.argsort(positions, kind="stable")
    columns = {key: whole.column(key).combine_chunks().take(order) for key in whole.column_names}
    return Outcome(positions[order], columns, rejects, lost)


def difference(
    name: str, found: Outcome, expected: Outcome, whole: Sequence[int], count: int, *, moved: bool = False
) -> str:
    """Return what is wrong with a delivery of which the records at the positions `whole` are undamaged."""
    told = np.sort(np.concatenate([found.positions, np.fromiter(found.rejects, np.int64, len(found.rejects))]))
    if found.lost or (told != np.arange(1, len(told) + 1)).any():
        return "records are unaccounted for"
    if name in FOLDED:
        return ""
    moved = moved or name in LOOSE
    if not moved:
        if len(told) != count:
            return f"{len(told)} records are told of, not {count}"
        for place in whole:
            if found.rejects.get(place) != expected.rejects.get(place):
                return f"the undamaged record {place} has another fate"
    kept = np.array([place for place in whole if place not in expected.rejects], np.int64)
    theirs = np.searchsorted(expected.positions, kept)
    if moved:
        lost = _missing(found, expected, theirs)
        return f"the undamaged record {kept[lost]} is lost, or another" if lost < len(kept) else ""
    mine = np.searchsorted(found.positions, kept)
    return _columns(found, expected, pa.array(mine), pa.array(theirs))


def _missing(found: Outcome, expected: Outcome, rows: Any) -> int:
    """Return which is the first of some expected rows that is not there, in order; their number when all are."""
    names = sorted((found.columns.keys() | expected.columns.keys()) - {"position"})
    have, wanted, at = _contents(found, names), _contents(expected, names), 0
    for place, row in enumerate(rows):
        while at < len(have) and have[at] != wanted[row]:
            at += 1
        if at == len(have):
            return place
        at += 1
    return len(rows)


def _contents(outcome: Outcome, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return rows whole; what is not marked may be false or null."""
    nothing = [None] * len(outcome.positions)
    columns = [_values(outcome.columns[name]) if name in outcome.columns else nothing for name in names]
    return [tuple(None if value is False else value for value in row) for row in zip(*columns, strict=True)]


def _values(column: pa.Array[Any]) -> list[Any]:
    """Return values; an instant as a number, because a damaged one may lie where no calendar reaches."""
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()


def _columns(found: Outcome, expected: Outcome, mine: Any, theirs: Any) -> str:
    """Return in which column rows differ; what is not marked may be false or null."""
    for name in (found.columns.keys() | expected.columns.keys()) - {"position"}:
        one, two = (
            side.columns[name].take(rows) if name in side.columns else None
            for side, rows in ((found, mine), (expected, theirs))
        )
        if one is None or two is None:
            rest: Any = two if one is None else one
            if rest.null_count != len(rest) and not (pa.types.is_boolean(rest.type) and not rest.true_count):
                return f"undamaged records have {name} in one delivery only"
            continue
        if one.type != two.type:
            one = one.cast(two.type)
        if pa.types.is_boolean(two.type):
            one, two = one.fill_null(False), two.fill_null(False)
        if not one.equals(two):
            places = [row for row in range(len(one)) if one[row].as_py() != two[row].as_py()]
            return f"{name} of undamaged records is another: {expected.positions[theirs[places[0]].as_py()]}"
    return ""


@lru_cache(2)
def expected_of(name: str, family: Family, count: int) -> Outcome:
    """Return what becomes of a family's records when none is damaged."""
    return outcome(name, family.delivery(family.records[:count]), normalised=False)


def tried(name: str, seed: int, number: int, told: Told) -> str:
    """Try one delivery; return what is wrong."""
    rng = random.Random(f"{name} {seed} {number}")
    choice, torn = families(name), name in TORN and number % 8 == 7
    choice = choice[:1] if torn else choice
    family = choice[0] if len(choice) == 1 or rng.random() < 0.8 else rng.choice(choice[1:])
    count = min(len(family.records), RECORDS_MAX)
    share = TORN_SHARE if torn else rng.choice(SHARES)
    hit = [index for index in range(LEADING.get(name, 0), count) if rng.random() < share]
    records = list(family.records[:count])
    for index in hit:
        records[index] = damaged(rng, name, family, index, torn=torn)
    hit = [index for index in hit if records[index] != family.records[index]]
    compiled(wanted=number % 4 != 0)
    expected = expected_of(name, family, count)
    told.deliveries += 1
    try:
        found = outcome(name, family.delivery(records), normalised=number % 4 == 1)
    except InputError:
        told.refused += 1
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    told.records += len(hit)
    if torn:
        told.torn += len(hit)
    else:
        refused = sum(index + 1 in found.rejects for index in hit)
        told.rows, told.rejects = told.rows + len(hit) - refused, told.rejects + refused
    excused = {index + 1 for index in hit} | ({index + 2 for index in hit} if torn else set())
    taken = taken_along(name, records, hit)
    excused |= {index + 1 for index in taken}
    whole = [place for place in range(1, count + 1) if place not in excused]
    return difference(name, found, expected, whole, count, moved=torn or bool(taken))


def main() -> int:
    name, seed, first, count, state = sys.argv[1], *map(int, sys.argv[2:5]), Path(sys.argv[5])
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # it ends a loop that never comes back
    told = Told()
    with state.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:
        for number in range(first, first + count):
            struct.pack_into("<q", shared, 0, number)
            signal.setitimer(signal.ITIMER_PROF, PROCESSOR_SECONDS_MAX)
            problem = tried(name, seed, number, told)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if problem and len(told.problems) < PROBLEMS_MAX:
                told.problems.append([number, problem])
    sys.stdout.write(json.dumps(vars(told)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
