"""Records of many parts restored together are those that each part restores by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import PACKED
from store.encoding.joined_layouts import likeness
from store.encoding.restoring import WORD
from store.part_reader import Kept, PartReader
from store.reading.bulk_decoding import kind_of, whole
from tests.store.encoding.test_columns import SLOW, assert_same, stored_and_read, tables

ROWS = 600


def part(path: Path, seed: int, **changed: Any) -> PartReader:
    """Return a part like others in all but its values: times, batches, types of equipment, labels."""
    rng = np.random.default_rng(seed)
    start = np.sort(rng.integers(0, 2**36, ROWS)) + seed * 86_400_000_000
    types = rng.permutation(40)[:12] + 35_000_000
    body = types[rng.integers(0, 12, ROWS)] * 10**6 + rng.integers(0, 10**6, ROWS)
    batch = np.arange(ROWS) // 200 + 10 * seed
    made: dict[str, Any] = {
        "switch": pa.array([f"msc-{n}" for n in rng.integers(seed, seed + 5, ROWS)]),
        "record_key": np.arange(ROWS) + 10**10 * seed,
        "batch_id": batch,
        "batch_position": np.arange(ROWS) % 200 + 1,
        "calling_number": np.sort(rng.integers(10**11, 2 * 10**11, ROWS)),
        "start_time": start,
        "end_time": start + 60_000_000,
        "source_ip": rng.integers(0, 2**24, ROWS) + seed,
        "imei": 10**15 + body * 10 + (7 * seed + np.arange(ROWS)) % 10,
    } | changed
    arrays = {name: pa.array(values).cast(PACKED.field(name).type) for name, values in made.items()}
    return stored_and_read(path, pa.table({name: arrays[name] for name in PACKED.names if name in arrays}))


def some(reader: PartReader, rows: Any, names: Any) -> Kept:
    pages = reader.pages(range(reader.groups))
    return pages.of(np.array(rows)).kept(names)[0]


def together(kept: list[Kept]) -> pa.Table:
    return whole(kept).restored()


def test_parts_of_other_values_are_alike_and_restored_together(tmp_path: Path) -> None:
    readers = [part(tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    layouts = [reader.layout for reader in readers if reader.layout is not None]
    assert len({likeness(layout) for layout in layouts}) == 1
    assert len({layout.forms["source_ip"].base for layout in layouts}) > 1
    assert len({tuple(layout.labels["switch"]) for layout in layouts}) == 3
    names = [name for name in PACKED.names if name in readers[0].names]
    rows = ([0, 5, 599], [7], [0, 1, 2, 300])
    kept = [some(reader, chosen, names) for reader, chosen in zip(readers, rows, strict=True)]
    expected = pa.concat_tables([item.restored() for item in kept]).unify_dictionaries()
    assert_same(expected, together(kept))
    assert_same(kept[0].restored(), together(kept[:1]))


def test_parts_of_other_columns_or_rules_are_not_alike(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    others: list[dict[str, Any]] = [
        {"end_time": rng.integers(2**40, 2**50, ROWS)},
        {"duration_ms": np.full(ROWS, 5)},
    ]
    readers = [part(tmp_path / str(at), 1, **changed) for at, changed in enumerate([{}, *others])]
    assert len({likeness(reader.layout) for reader in readers if reader.layout is not None}) == len(readers)


def test_parts_of_other_forms_are_restored_together(tmp_path: Path) -> None:
    """Slots of other places and widths, words of other widths, differences, runs, bytes, constants and nulls."""
    rng = np.random.default_rng(2)
    few = pa.array([None if n % 7 == 0 else int(n) for n in rng.integers(0, 2**20, ROWS)], pa.int64())
    changes: list[dict[str, Any]] = [
        {},
        {"source_ip": rng.integers(0, 2**30, ROWS)},
        {"source_ip": np.full(ROWS, 7)},
        {"source_ip": few},
        {"source_ip": np.repeat(rng.integers(0, 2**30, ROWS // 20), 20)},
        {"source_ip": rng.integers(0, 2**30, ROWS) // 2**22 * rng.integers(0, 2, ROWS)},
        {"calling_number": np.sort(rng.integers(10**11, 10**18, ROWS))},
        {"calling_number": rng.integers(10**11, 2 * 10**11, ROWS)},
    ]
    readers = [part(tmp_path / str(at), at, **changed) for at, changed in enumerate(changes)]
    layouts = [reader.layout for reader in readers if reader.layout is not None]
    assert len({likeness(layout) for layout in layouts}) == 1
    assert len({layout.forms["source_ip"].kind for layout in layouts}) > 2
    assert len({(layout.forms["imei"].at, layout.forms["imei"].bits) for layout in layouts}) > 1
    names = [name for name in PACKED.names if name in readers[0].names]
    for chosen in (names, ["source_ip"], ["calling_number", "switch"]):
        kept = [some(reader, sorted(rng.integers(0, ROWS, 5)), chosen) for reader in readers]
        expected = pa.concat_tables([item.restored() for item in kept]).unify_dictionaries()
        assert_same(expected, together(kept))


def test_columns_that_lie_in_no_word_are_restored_without_the_words(tmp_path: Path) -> None:
    """Slots of other columns lie where no words were read."""
    readers = [part(tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    wordless = []
    for name in readers[0].names:
        kept = [some(reader, [0, 5, ROWS - 1], [name]) for reader in readers]
        if not any(WORD in item.columns for item in kept):
            wordless.append(name)
        expected = pa.concat_tables([item.restored() for item in kept]).unify_dictionaries()
        assert_same(expected, together(kept))
    assert "calling_number" in wordless
    assert any(form.at >= 8 for reader in readers if reader.layout is not None for form in reader.layout.forms.values())


@SLOW
@given(made=st.lists(tables(), min_size=2, max_size=3), data=st.data())
def test_whatever_is_alike_is_restored_as_by_itself(tmp_path: Path, made: list[pa.Table], data: st.DataObject) -> None:
    readers = [stored_and_read(tmp_path / str(at), table) for at, table in enumerate([*made, made[0]])]
    alike: dict[Any, list[Kept]] = {}
    wanted = data.draw(st.sets(st.sampled_from(sorted(readers[0].names)), max_size=3))
    for reader in readers:
        names = [name for name in PACKED.names if name in reader.names and (not wanted or name in wanted)]
        rows = sorted(data.draw(st.sets(st.integers(0, reader.rows - 1), min_size=1)))
        item = some(reader, rows, names)
        if item.layout is None:
            continue
        kinds = [(name, *kind_of(column)) for name, column in item.columns.items() if name not in item.layout.own]
        if not any(pa.types.is_dictionary(kind) for _, kind, _ in kinds):
            alike.setdefault((likeness(item.layout), tuple(map(str, kinds))), []).append(item)
    for kept in alike.values():
        alone = pa.concat_tables([item.restored() for item in kept])
        assert_same(alone, together(kept))
