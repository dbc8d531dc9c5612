"""A backup gives back what it held, and nothing that was erased since."""

from __future__ import annotations

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.errors import ConfigurationError, IntegrityError, KeyUnavailableError, LagrumError
from schemas.retention import floor_until
from store import ScanQuery, Store, files
from store.audit.epochs import BACKUP_NAME, spent_backup_keys
from store.backup import DATA, LIFE_DAYS, MANIFEST, backup, restore
from store.correcting.overlay import Correction
from store.partitions import successor, to_us
from store.retention.erasing import erase
from tests.conftest import FixedClock, ends_us
from tests.fault.disk import Crash, Disk
from tests.store.conftest import deliver
from tests.store.records import CALLING, records
from tests.store.retention.test_erasing import CITATION, OLD_KEY, TWO, erased
from tests.store.retention.test_holds import age, held, number_of, place, preserve

EVER = ScanQuery(0, 2**60)


def count(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


@pytest.fixture
def replicated(tmp_path: Path, clock: FixedClock) -> Store:
    return Store.create(tmp_path / "root", clock=clock, replicas=[tmp_path / "replica"])


def test_what_is_restored_is_what_was_there(replicated: Store, tmp_path: Path, clock: FixedClock) -> None:
    deliver(replicated, records(50))
    deliver(replicated, records(30, first_key=500, days_ago=1))
    made = backup(replicated, tmp_path / "copy")
    assert (made.partitions, made.records) == (2, 80)
    deliver(replicated, records(20, first_key=900))  # after it: to be delivered again
    replicated.close()
    told = restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
    assert (told.partitions, told.records, told.erased_since) == (2, 80, ())
    with Store.open(tmp_path / "new", clock=clock) as again:
        assert count(again) == 80
        assert again.verify() == []
        assert deliver(again, records(50)).duplicates == 50
        assert deliver(again, records(20, first_key=900)).accepted == 20
        kinds = [entry.kind for entry in again.audit.entries(0, again.audit.size, reveal=False)]
        assert "store.restored" in kinds


def test_what_comes_while_it_is_made_is_after_it(replicated: Store, tmp_path: Path, clock: FixedClock) -> None:
    deliver(replicated, records(50))
    came = iter((records(30, first_key=500), records(20, first_key=900)))

    def meanwhile(_done: int, _total: int) -> None:
        for table in came:
            deliver(replicated, table)
            replicated.audit.rotate_epoch()

    made = backup(replicated, tmp_path / "copy", meanwhile)
    assert (made.records, count(replicated)) == (50, 100)
    restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
    with Store.open(tmp_path / "new", clock=clock) as again:
        assert again.verify() == []
        assert deliver(again, records(30, first_key=500)).accepted == 30
        assert again.verify() == []


def test_a_backup_of_an_earlier_day_goes_on_with_its_log(replicated: Store, tmp_path: Path, clock: FixedClock) -> None:
    """The key that signed the log's end is destroyed every day."""
    deliver(replicated, records(50))
    backup(replicated, tmp_path / "copy")
    for day in range(1, 4):
        clock.advance(days=1)
        assert replicated.audit.rotate_if_due()
        deliver(replicated, records(5, first_key=1000 * day))
    generation = replicated.keyring.generation
    replicated.close()
    restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
    with Store.open(tmp_path / "new", clock=clock) as again:
        assert (again.verify(), again.keyring.generation) == ([], generation), "a look changes no keyring"
        assert again.audit.rotate_if_due()
        assert deliver(again, records(5, first_key=1000)).accepted == 5
        assert not again.audit.rotate_if_due()
        assert again.verify() == []


def test_the_log_of_a_backup_whose_life_is_over_ends_there(
    replicated: Store, tmp_path: Path, clock: FixedClock
) -> None:
    deliver(replicated, records(50))
    backup(replicated, tmp_path / "copy")
    (kept,) = [ref for ref in replicated.keyring.refs() if ref.name.startswith(BACKUP_NAME)]
    last = date.fromisoformat(kept.date)
    assert spent_backup_keys([kept], last, 9) == spent_backup_keys([kept], last + timedelta(days=1), 1) == []
    replicated.audit.rotate_epoch()
    clock.value_us = ends_us(replicated.partitions()[0].key)
    replicated.expire()
    assert not replicated.keyring.has(kept)


def test_a_hold_that_was_released_since_ends(replicated: Store, tmp_path: Path, clock: FixedClock) -> None:
    table = records(200)
    deliver(replicated, table)
    preserve(replicated, clock, table)
    replicated.expire()
    backup(replicated, tmp_path / "copy")
    assert held(replicated)
    replicated.holds.end("a1", reason="released", actors=["a", "b"])
    restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
    with Store.open(tmp_path / "new", clock=clock) as again:
        assert (held(again), again.verify()) == ([], [])
        assert list(again.layout.held.glob("*/*")) == []


def test_a_hold_from_after_the_backup_lets_nothing_go_until_it_is_placed_again(
    replicated: Store, tmp_path: Path, clock: FixedClock
) -> None:
    table = records(200)
    deliver(replicated, table)
    backup(replicated, tmp_path / "copy")
    number, hits = number_of(table)
    place(replicated, "a1", targets=[{"kind": "number", "value": number}])
    replicated.holds.make_keys()
    replicated.close()
    restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
    with Store.open(tmp_path / "new", clock=clock) as again:
        key = age(again, clock)
        (problem,) = again.verify()
        assert problem.where == "hold a1" and "came after the backup" in problem.what
        with pytest.raises(IntegrityError, match="hold a1"):
            again.expire()
        assert again.keyring.has(key.ref)
        place(again, "a1", targets=[{"kind": "number", "value": number}])
        assert again.expire().partitions == (key,)
        assert len(held(again)) == hits and again.verify() == []


def test_no_key_and_no_plaintext_is_in_it(replicated: Store, tmp_path: Path) -> None:
    deliver(replicated, records(50))
    backup(replicated, tmp_path / "copy")
    names = {path.relative_to(tmp_path / "copy" / DATA).parts[0] for path in (tmp_path / "copy" / DATA).rglob("*")}
    assert names.isdisjoint({"keys", "keyring", "run"})
    content = b"".join(path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file())
    for number in range(CALLING, CALLING + 100):
        assert str(number)[1:].encode() not in content


def test_what_was_erased_since_does_not_come_back(replicated: Store, tmp_path: Path, clock: FixedClock) -> None:
    deliver(replicated, records(50, days_ago=100))
    deliver(replicated, records(30, first_key=500, days_ago=1))
    old = replicated.partitions()[0].key
    clock.value_us = ends_us(old) - 1
    backup(replicated, tmp_path / "copy")
    clock.value_us += 1
    assert replicated.expire().records == 50
    replicated.close()
    told = restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
    assert (told.erased_since, told.records) == ((old,), 30)
    with Store.open(tmp_path / "new", clock=clock) as again:
        assert count(again) == 30
        assert not again.layout.partition(old).exists() or not any(again.layout.partition(old).iterdir())
        with pytest.raises(KeyUnavailableError):
            again.keyring.key(old.ref)
        assert deliver(again, records(50, days_ago=100)).rejected == 50
        assert again.verify() == []
        assert [item.key for item in again.partitions()] != [old]


def test_a_day_of_which_a_record_was_erased_since_is_named_and_can_be_delivered_again(
    replicated: Store, tmp_path: Path, clock: FixedClock
) -> None:
    """Twice, so that a generation lies between; what was erased by its period does not come back by delivery either."""
    table = records(50, first_key=1, days_ago=2)
    batch = deliver(replicated, table).batch_id
    deliver(replicated, records(30, first_key=500, days_ago=1))
    clock.value_us = to_us(floor_until(OLD_KEY.end_date))
    backup(replicated, tmp_path / "copy")
    erased(replicated, batch, 3)
    words = {"citation": CITATION}
    ask_again = Correction("00000000000000ef", "erased", OLD_KEY, batch, 4, words, said={"reason": "x"})
    replicated.corrections.request(ask_again, {"by": "one"})
    erase(replicated, ask_again.act, {}, TWO)
    into = successor(successor(OLD_KEY))
    replicated.close()
    told = restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
    assert told.erased_since == (OLD_KEY, successor(OLD_KEY))
    assert told.as_dict()["lost"] == [{"partition": str(OLD_KEY), "into": str(into), "records": 50}]
    assert told.records == 30
    with Store.open(tmp_path / "new", clock=clock) as again:
        assert count(again) == 30, "nothing of the erased generation is readable"
        (problem,) = again.verify()
        assert (problem.where, "50 records of 2026-11-20" in problem.what) == (f"partition {into}", True)
        kept = table.filter(pa.array([position not in (3, 4) for position in range(1, 51)]))
        assert deliver(again, kept).accepted == 48
        assert count(again) == 78
        assert again.verify() == []
        clock.value_us = ends_us(OLD_KEY)
        again.clock_guard.confirm(clock.value_us, reason="test", actors=TWO)
        assert into in again.expire().partitions
        assert again.verify() == []
    with pytest.raises(KeyUnavailableError):
        Store.open(tmp_path / "new", clock=clock).keyring.key(OLD_KEY.ref)


def test_a_backup_lives_its_days_and_no_longer(replicated: Store, tmp_path: Path, clock: FixedClock) -> None:
    deliver(replicated, records(5))
    backup(replicated, tmp_path / "copy")
    replicated.close()
    clock.advance(days=LIFE_DAYS)
    restore(tmp_path / "copy", tmp_path / "in-time", keyring=tmp_path / "replica", clock=clock)
    clock.advance(seconds=1)
    with pytest.raises(ConfigurationError, match="life is over"):
        restore(tmp_path / "copy", tmp_path / "late", keyring=tmp_path / "replica", clock=clock)
    assert not (tmp_path / "late").exists()


def test_a_changed_or_missing_file_is_named_and_nothing_is_made(
    replicated: Store, tmp_path: Path, clock: FixedClock
) -> None:
    deliver(replicated, records(5))
    backup(replicated, tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / MANIFEST).read_bytes())
    for name in manifest["files"]:
        path = tmp_path / "copy" / DATA / name
        good = path.read_bytes()
        for wrong in (good[:-1] + bytes([good[-1] ^ 1]), good + b"\0", None):
            path.unlink()
            if wrong is not None:
                path.write_bytes(wrong)
            with pytest.raises(IntegrityError, match="missing or was changed"):
                restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
            assert not (tmp_path / "new").exists()
            path.write_bytes(good)
    (tmp_path / "copy" / MANIFEST).unlink()
    with pytest.raises(IntegrityError, match="no manifest"):
        restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)


def test_a_manifest_cannot_reach_outside(replicated: Store, tmp_path: Path, clock: FixedClock) -> None:
    backup(replicated, tmp_path / "copy")
    path = tmp_path / "copy" / MANIFEST
    manifest = json.loads(path.read_bytes())
    manifest["files"]["../../secret"] = {"bytes": 1, "sha256": ""}
    path.write_text(json.dumps(manifest))
    with pytest.raises(IntegrityError, match="outside"):
        restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "replica", clock=clock)


def test_places_that_cannot_be_are_refused(replicated: Store, tmp_path: Path, clock: FixedClock) -> None:
    deliver(replicated, records(5))
    with pytest.raises(ConfigurationError, match="outside the store"):
        backup(replicated, replicated.root / "copy")
    (tmp_path / "link").symlink_to(tmp_path / "replica")
    for folder in ("replica", "link"):
        with pytest.raises(ConfigurationError, match="outside the keyring's replica"):
            backup(replicated, tmp_path / folder / "copy")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigurationError, match="not empty"):
        backup(replicated, tmp_path / "full")
    backup(replicated, tmp_path / "copy")
    with pytest.raises(ConfigurationError, match="not empty"):
        restore(tmp_path / "copy", tmp_path / "full", keyring=tmp_path / "replica", clock=clock)
    with Store.create(tmp_path / "other", clock=clock), pytest.raises(ConfigurationError, match="another store"):
        restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "other", clock=clock)
    with pytest.raises(ConfigurationError, match="no keyring in"):
        restore(tmp_path / "copy", tmp_path / "new", keyring=tmp_path / "full", clock=clock)
    assert not (tmp_path / "new").exists()  # nothing is copied before the keyring is looked at


@pytest.mark.parametrize("io_error", [False, True], ids=["crash", "io-error"])
def test_a_backup_that_ends_early_is_none(
    replicated: Store, tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, io_error: bool
) -> None:
    deliver(replicated, records(5))
    target, step, complete = tmp_path / "copy", 0, False
    while not complete:
        step += 1
        shutil.rmtree(target, ignore_errors=True)
        disk = Disk(step, io_error)
        with monkeypatch.context() as patch:
            patch.setattr(files, "_hook", disk)
            try:
                backup(replicated, target)
                complete = True
            except (Crash, LagrumError):
                pass
        if not (target / MANIFEST).exists():
            shutil.rmtree(tmp_path / "new", ignore_errors=True)
            (tmp_path / "empty").mkdir(exist_ok=True)
            source = target if target.exists() else tmp_path / "empty"
            with pytest.raises(IntegrityError, match="no finished backup"):
                restore(source, tmp_path / "new", keyring=tmp_path / "replica", clock=clock)
    assert step > 20
    assert count(replicated) == 5
