"""Every road by which a record could go before its floor: each is closed, or `verify` names what is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from api.app import create_app
from api.cli.manual import walk
from api.cli.program import lagrum
from api.settings import Settings
from schemas.errors import ConfigurationError, RetentionError
from schemas.retention import RetentionClass
from store import ScanQuery, Store
from store.retention import expiry
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records

EVER = ScanQuery(0, 2**60)


def stored(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


def data_files(store: Store) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(store.layout.parts.rglob("*")) if path.is_file()}


@pytest.fixture
def full(store: Store) -> Store:
    for number in range(4):
        deliver(store, records(25, first_key=100 * number))
    store.compact()
    deliver(store, records(25, first_key=1000, days_ago=40))
    return store


EDITS = [
    "UPDATE partitions SET end_date = '2020-01-01' WHERE end_date = (SELECT min(end_date) FROM partitions)",
    "UPDATE partitions SET state = 'dropping'",
    "UPDATE partitions SET state = 'dropped'",
    "DELETE FROM parts",
    "DELETE FROM part_batches",
    "DELETE FROM partitions",
    "UPDATE parts SET file_id = '00000000000000000000000000000000' || part_id",
    "INSERT INTO retired SELECT file_id, partition_id FROM parts",
    "INSERT INTO certificates (partition, draft) SELECT end_date || '/standard/shared', '{}' FROM partitions",
    "DELETE FROM clock_mark",
    "UPDATE clock_sources SET sealed = x'00'",
]
HARMLESS = [*EDITS[-4:-1], "INSERT INTO retired SELECT file_id, partition_id FROM parts"]
"""What `verify` does not tell, because it takes nothing away or is mended at once."""


@pytest.mark.parametrize("edit", EDITS)
def test_no_edit_of_the_catalog_removes_a_file_or_a_key_and_verify_tells(
    full: Store, clock: FixedClock, edit: str
) -> None:
    before, keys = data_files(full), set(full.keyring.refs())
    full.catalog.query("PRAGMA foreign_keys = OFF")
    with full.catalog.transaction() as cursor:
        cursor.execute(edit)
    for _ in range(2):
        with Store.open(full.root, clock=clock) as other:
            other.expire()
            other.compact(everything=False)
            other.close_silent_sessions()
    assert data_files(full) == before
    assert keys <= set(full.keyring.refs())
    if edit not in HARMLESS:
        with Store.open(full.root, clock=clock) as other:
            assert other.verify() != []


def test_a_file_that_somebody_deletes_is_named(full: Store) -> None:
    for path in data_files(full):
        content = path.read_bytes()
        path.unlink()
        found = full.verify()
        assert any(path.stem in problem.where and "missing" in problem.what for problem in found), path.suffix
        path.write_bytes(content)
    assert full.verify() == []


def test_a_folder_that_somebody_deletes_with_its_rows_is_named_by_the_log(full: Store) -> None:
    key = full.partitions()[0].key
    for path in full.layout.partition(key).iterdir():
        path.unlink()
    full.layout.partition(key).rmdir()
    with full.catalog.transaction() as cursor:
        cursor.execute("DELETE FROM part_batches")
        cursor.execute(
            "DELETE FROM parts WHERE partition_id IN (SELECT partition_id FROM partitions WHERE end_date = ?)",
            (key.end_date.isoformat(),),
        )
    assert any(str(key) in problem.where and "audit log names it" in problem.what for problem in full.verify())


def test_a_forged_draft_of_a_partition_that_was_written_anew_destroys_no_key(full: Store, clock: FixedClock) -> None:
    before, keys = data_files(full), set(full.keyring.refs())
    with full.catalog.transaction() as cursor:
        cursor.execute(
            "INSERT INTO certificates (partition, draft) "
            """SELECT end_date || '/standard/shared', '{"rewritten": {"erased": 1}}' FROM partitions"""
        )
        cursor.execute("UPDATE partitions SET state = 'dropping'")
    with Store.open(full.root, clock=clock) as other:
        other.expire()
        assert data_files(other) == before
        assert keys <= set(other.keyring.refs())
        assert other.verify() != []


def test_the_file_that_a_crash_left_still_goes(full: Store, clock: FixedClock) -> None:
    key = full.partitions()[0].key
    orphan = full.layout.part(key, "0" * 32)
    orphan.write_bytes(b"half")
    Store.open(full.root, clock=clock).close()
    assert not orphan.exists()


@pytest.mark.parametrize("act", [lambda s: s.expire(), lambda s: s.compact(everything=True), lambda s: s.verify()])
def test_no_call_of_the_store_removes_a_record(full: Store, act: Callable[[Store], object]) -> None:
    act(full)
    assert stored(full) == 125


def test_a_withdrawn_batch_is_hidden_and_stays(full: Store) -> None:
    keys = set(full.keyring.refs())
    full.withdraw_batch(5, reason="r", actors=["a", "b"])
    full.compact(everything=True)
    full.expire()
    assert stored(full) == 100
    assert sum(batch.num_rows for batch in full.scan(ScanQuery(0, 2**60, include_withdrawn=True))) == 125
    assert keys <= set(full.keyring.refs())


def test_a_shorter_class_than_the_floor_cannot_be_made_and_the_last_check_stands(full: Store) -> None:
    for months in (0, 1, 5, -24):
        with pytest.raises(ConfigurationError):
            RetentionClass("short", months, "basis", "citation")
    with pytest.raises(RetentionError):
        expiry.refuse_below_floor(
            [item.key for item in full.partitions()], full.clock.now_us(), full.policies.current()
        )


def test_no_command_and_no_route_deletes_records(full: Store) -> None:
    """Told by name: whoever adds a road that removes something looks here."""
    words = ("delete", "drop", "erase", "purge", "destroy", "expire", "remove", "shorten", "terminate", "truncate")
    commands = [path for path, _ in walk(lagrum) if any(word in path for word in words)]
    assert commands == [
        "lagrum correct erase",
        "lagrum retention expire",
    ]  # the first: test_erasing.py
    options = [
        (path, option)
        for path, command in walk(lagrum)
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if any(word in option for word in (*words, "force", "months", "days", "before", "older"))
    ]
    assert [item for item in options if item[0].startswith("lagrum retention")] == []
    routes = {
        (method, path)
        for path, operations in create_app(full, settings=Settings()).openapi()["paths"].items()
        for method in operations
    }
    assert {path for method, path in routes if method == "delete"} <= {
        "/v1/credentials/{credential_id}",
        "/v1/sessions/current",
    }
    assert not [path for _, path in routes if any(word in path for word in ("partition", "retention", *words))]
