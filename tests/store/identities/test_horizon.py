"""The horizon: how far apart two ends of one identity are a conflict, however the records are cut into deliveries."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from store import SourceRef, Store
from store.identities.dedup import HORIZON_DAYS
from tests.store.conftest import deliver
from tests.store.records import records

LAST_DAYS_AGO = 2


def of_one_key(days_ago: int) -> pa.Table:
    return records(1, days_ago=days_ago)


def one_by_one(store: Store, *tables: pa.Table) -> int:
    return sum(deliver(store, table).conflicts for table in tables)


def in_stretches(store: Store, *tables: pa.Table) -> int:
    return deliver(store, *tables).conflicts


def at_once(store: Store, *tables: pa.Table) -> int:
    return deliver(store, pa.concat_tables(tables, promote_options="default")).conflicts


def side_by_side(store: Store, *tables: pa.Table) -> int:
    """Deliver the first while another batch, of the others, is at work."""
    with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
        for table in tables[1:]:
            batch.add(table)
        return deliver(store, tables[0]).conflicts + batch.commit().conflicts


def beside_others(store: Store, *tables: pa.Table) -> int:
    """Deliver the later ones with records of days between."""
    between = records(3, first_key=100, days_ago=LAST_DAYS_AGO + HORIZON_DAYS // 2)
    return deliver(store, tables[0]).conflicts + at_once(store, between, *tables[1:])


@pytest.mark.parametrize("gap_days", [1, HORIZON_DAYS - 1, HORIZON_DAYS, HORIZON_DAYS + 1, 2 * HORIZON_DAYS])
@pytest.mark.parametrize("cut", [one_by_one, in_stretches, at_once, side_by_side, beside_others])
@pytest.mark.parametrize("backwards", [False, True])
def test_ends_within_the_horizon_contradict_each_other_and_others_do_not(
    store: Store, cut: Callable[..., int], gap_days: int, backwards: bool
) -> None:
    tables = [of_one_key(LAST_DAYS_AGO + gap_days), of_one_key(LAST_DAYS_AGO)]
    conflicts = cut(store, *(tables[::-1] if backwards else tables))
    assert conflicts == (1 if gap_days <= HORIZON_DAYS else 0)
    assert deliver(store, *tables).duplicates == 2
