"""Row groups that hold duplicates are read by the lot: the same verdicts as one by one, and the same refusals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from schemas.errors import IntegrityError
from store import Receipt, Store
from store.identities import identity_lookup
from store.identities.identity_lookup import PartSource
from tests.store.conftest import deliver
from tests.store.records import records, with_column

ROWS, GROUP_ROWS, LOT_GROUPS = 1030, 100, 4
GROUPS = -(-ROWS // GROUP_ROWS)


@pytest.fixture
def grouped(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with one part of many groups, the last one short, of which four are a lot."""
    monkeypatch.setattr("store.parts.group_rows_of", lambda _: GROUP_ROWS)
    monkeypatch.setattr("store.encoding.columns.ROW_GROUP_ROWS", 2 * GROUP_ROWS)
    monkeypatch.setattr(identity_lookup, "LOT_ROWS", LOT_GROUPS * GROUP_ROWS)
    assert deliver(store, records(ROWS)).accepted == ROWS
    store.known.clear()
    return store


def opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with every opening of a part's records."""
    found: list[str] = []
    own = store.part_store.open

    def noted(*arguments: Any) -> Any:
        found.append(arguments[1])
        return own(*arguments)

    monkeypatch.setattr(store.part_store, "open", noted)
    return found


def of_groups(store: Store, numbers: Sequence[int]) -> pa.Table:
    """Return what was delivered of the records in some groups."""
    (part,) = store.catalog.parts()
    with store.part_store.open(part.partition, part.file_id, store.keyring.key(part.partition.ref)) as reader:
        keys = reader.read(numbers, ["record_key"]).column("record_key").combine_chunks()
    table = records(ROWS)
    return table.filter(pc.is_in(table.column("record_key"), keys))


def counts(receipt: Receipt) -> tuple[int, int, int]:
    return receipt.accepted, receipt.duplicates, receipt.conflicts


def test_a_part_is_opened_once_for_a_lot_and_answers_as_group_by_group(
    grouped: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PartSource(grouped.known, grouped.catalog.parts()[0])
    numbers = [0, 1, 3, 4, 6, 7, 9, GROUPS - 1]
    opens = opened(grouped, monkeypatch)
    lots = [(number, stored, stored.read()) for number, stored in source.groups(numbers)]
    assert len(opens) == 2
    grouped.known.clear()
    for (number, stored, read), wanted in zip(lots, numbers, strict=True):
        ((alone, other),) = source.groups([wanted])
        assert number == alone == wanted
        assert len(stored.tags) == (ROWS % GROUP_ROWS if wanted == GROUPS - 1 else GROUP_ROWS)
        for name in ("tags", "digests", "places"):
            assert np.array_equal(getattr(stored, name), getattr(other, name))
        assert read.equals(other.read())


@pytest.mark.parametrize("warm", [[], [5], [2, 3], [0, 4, 9, GROUPS - 1], list(range(GROUPS))])
def test_scattered_duplicates_and_conflicts_are_told_whatever_of_their_lot_is_known(
    grouped: Store, warm: list[int]
) -> None:
    (part,) = grouped.catalog.parts()
    assert [number for number, _ in PartSource(grouped.known, part).groups(warm)] == warm
    table = records(ROWS)
    cells = table.column("cell_id").to_numpy().copy()
    cells[::7] += 1_000_000
    changed = -(-ROWS // 7)
    again = pa.concat_tables([with_column(table, "cell_id", cells), records(50, first_key=ROWS)])
    again = with_column(again, "batch_position", np.arange(1, ROWS + 51))
    assert counts(deliver(grouped, again)) == (50, ROWS - changed, changed)
    grouped.known.clear()
    assert counts(deliver(grouped, again)) == (0, ROWS + 50, 0)
    assert grouped.verify() == []


def test_a_withdrawn_batch_in_a_merged_part_counts_for_no_lot(grouped: Store) -> None:
    second = deliver(grouped, records(ROWS, first_key=ROWS))
    grouped.compact(everything=True)
    grouped.withdraw_batch(second.batch_id, reason="a wrong file", actors=("one", "two"))
    both = pa.concat_tables([records(ROWS), records(ROWS, first_key=ROWS)])
    both = with_column(both, "batch_position", np.arange(1, 2 * ROWS + 1))
    assert counts(deliver(grouped, both)) == (ROWS, ROWS, 0)


def damaged(store: Store, path: Path, place: int) -> list[int]:
    """Change one byte of a part's records; return the groups that cannot be read from then on."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(data)
    store.known.clear()
    source, bad = PartSource(store.known, store.catalog.parts()[0]), []
    for number in range(GROUPS):
        try:
            list(source.groups([number]))
        except IntegrityError:
            bad.append(number)
    store.known.clear()
    return bad


def test_one_damaged_group_refuses_its_lot_and_nothing_is_stored_and_other_lots_answer(grouped: Store) -> None:
    (part,) = grouped.catalog.parts()
    path = grouped.layout.part(part.partition, part.file_id)
    whole = path.read_bytes()
    tried = 0
    for place in range(len(whole) // 16, len(whole) // 2, len(whole) // 16):
        path.write_bytes(whole)
        good = {number: of_groups(grouped, [number]) for number in range(GROUPS)}
        bad = damaged(grouped, path, place)
        if not 0 < len(bad) < GROUPS:
            continue  # nobody asked for that column, or all of them need it
        tried += 1
        beside = [number for number in range(GROUPS) if not {number, number ^ 1} & {*bad}]  # two are read as one
        some = [records(5, first_key=ROWS), *(good[number] for number in (*beside[:2], *bad))]
        with pytest.raises(IntegrityError, match=part.file_id):
            deliver(grouped, pa.concat_tables(some))
        assert grouped.catalog.parts() == [part]
        others = pa.concat_tables(good[number] for number in beside)
        assert counts(deliver(grouped, others)) == (0, others.num_rows, 0)
    assert tried
