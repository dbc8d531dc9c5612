"""Appending, reading, proofs, secrecy, epochs, and several writers."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from schemas.errors import AuditError, ConfigurationError, IntegrityError, KeyUnavailableError
from store.audit import (
    EPOCH_KIND,
    AuditEntry,
    AuditLog,
    VerifierKey,
    leaf_hash,
    open_checkpoint,
    verify_consistency,
    verify_directory,
    verify_inclusion,
)
from store.audit import tail as tail_module
from store.audit.checkpoint import Signer
from store.audit.entries import decode_leaf, entry_key, month_of, open_entry
from store.audit.epochs import certificate_of
from store.audit.paths import SegmentName, epoch_path, parse_epoch
from store.audit.segments import list_segments
from store.keys import Keyring
from tests.conftest import FixedClock
from tests.store.audit.conftest import NAME, NUMBER, STORE, Root, entry


def test_an_append_returns_where_it_stands_and_a_checkpoint_that_the_chain_signs(root: Root) -> None:
    log = root.open()
    appended = log.append([entry(1), entry(2)])
    assert (appended.first_index, appended.size) == (1, 3)
    assert appended.checkpoint == log.checkpoint()
    first = next(log.entries(0, 1))
    epoch = certificate_of(first.public, VerifierKey.parse(root.origin.strip()))
    checkpoint = open_checkpoint(appended.checkpoint, [epoch.key])
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (NAME, 3, log.root_hash())
    assert verify_directory(root.audit, root.origin, appended.checkpoint) == []


def test_an_entry_reads_back_as_it_was_appended_after_opening_again(root: Root) -> None:
    root.open().append([entry(1), entry(2, secret=False)])
    with_secret, without = root.open().entries(1, reveal=True)
    assert with_secret.kind == "disclosure.run"
    assert with_secret.public == {"task": "T-1"}
    assert with_secret.secret == {"target": NUMBER, "n": 1}
    assert with_secret.time_us == root.clock.now_us()
    assert with_secret.sealed
    assert (without.secret, without.sealed, without.key_destroyed) == (None, False, False)


def test_entries_gives_exactly_the_range_asked_for_over_all_segments(
    root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 600)
    log = root.open()
    for n in range(12):
        log.append([entry(n, secret=False), entry(100 + n, secret=False)])
    assert len(list_segments(root.audit)) > 3
    log = root.open()
    everything = [stored.index for stored in log.entries()]
    assert everything == list(range(25))
    for start in range(0, 26, 3):
        for stop in range(0, 28, 5):
            assert [stored.index for stored in log.entries(start, stop)] == everything[start:stop]
    assert verify_directory(root.audit, root.origin, log.checkpoint()) == []


def test_a_secret_is_not_read_without_asking(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    (stored,) = log.entries(1)
    assert stored.sealed
    assert stored.secret is None


def test_no_secret_and_no_digest_of_one_stands_in_any_file(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    log.rotate_epoch()
    for path in root.path.rglob("*"):
        if path.is_file():
            assert NUMBER.encode() not in path.read_bytes()
    # the same secret twice leaves nothing equal behind
    log.append([entry(1)])
    boxes = [orjson.loads(stored.leaf)["secret"]["box"] for stored in log.entries() if stored.sealed]
    assert len(boxes) == 2
    assert boxes[0][:20] != boxes[1][:20]


def test_a_destroyed_key_takes_the_secret_and_leaves_the_proof(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    keyring = root.keyring()
    keyring.destroy([entry_key(month_of(root.clock.now_us()))])
    log = AuditLog.open(root.audit, keyring=keyring, clock=root.clock)
    (stored,) = log.entries(1, reveal=True)
    assert (stored.secret, stored.sealed, stored.key_destroyed) == (None, True, True)
    assert verify_directory(root.audit, root.origin, log.checkpoint()) == []


def test_a_secret_part_moved_to_another_leaf_does_not_open(root: Root) -> None:
    log = root.open()
    log.append([entry(1), entry(2)])
    one, two = (orjson.loads(stored.leaf) for stored in log.entries(1))
    one["secret"] = two["secret"]
    octets = orjson.dumps(one, option=orjson.OPT_SORT_KEYS)
    with pytest.raises(IntegrityError):
        open_entry(decode_leaf(octets), octets, store_id=STORE, keyring=root.keyring())
    octets = next(log.entries(1)).leaf
    with pytest.raises(IntegrityError):
        open_entry(decode_leaf(octets), octets, store_id="store-2", keyring=root.keyring())


def test_a_changed_entry_is_not_read_out(root: Root) -> None:
    log = root.open()
    log.append([entry(1, secret=False)])
    path = list_segments(root.audit)[0].path(root.audit)
    path.write_bytes(path.read_bytes().replace(b'"T-1"', b'"T-2"'))
    with pytest.raises(IntegrityError):
        list(log.entries())


@pytest.mark.parametrize("kind", ["", "Disclosure", "a b", "a..b", ".a", EPOCH_KIND])
def test_a_malformed_or_reserved_kind_is_refused(root: Root, kind: str) -> None:
    log = root.open()
    with pytest.raises(AuditError):
        log.append([AuditEntry(kind, {})])
    assert log.size == 1


@pytest.mark.parametrize("public", [{"a": object()}, {"a": 2**70}, {1: "a"}, {"a": "x" * 2**20}])
def test_an_entry_that_is_no_json_or_too_large_is_refused_with_its_whole_append(root: Root, public: dict) -> None:
    log = root.open()
    with pytest.raises(AuditError):
        log.append([entry(1), AuditEntry("a.b", public)])
    assert root.open().size == 1


def test_too_many_entries_for_one_append_are_refused(root: Root) -> None:
    with pytest.raises(AuditError):
        root.open().append([entry(1)] * 100_001)


def test_an_append_of_nothing_changes_nothing(root: Root) -> None:
    log = root.open()
    before = log.checkpoint()
    assert log.append([]).size == 1
    assert log.checkpoint() == before


def test_every_entry_is_proven_in_every_later_tree_and_every_tree_in_every_later_one(root: Root) -> None:
    log = root.open()
    roots = {1: log.root_hash()}
    for n in range(1, 12):
        size = log.append([entry(n)] * (n % 3 + 1)).size
        roots[size] = log.root_hash()
    leaves = [leaf_hash(stored.leaf) for stored in log.entries()]
    for size, head in roots.items():
        for index in range(size):
            verify_inclusion(leaves[index], index, size, log.inclusion_proof(index, size), head)
        for larger, larger_head in roots.items():
            if larger >= size:
                verify_consistency(size, larger, head, larger_head, log.consistency_proof(size, larger))
    verify_inclusion(leaves[5], 5, log.size, log.inclusion_proof(5), log.root_hash())
    for refused in (lambda: log.inclusion_proof(log.size), lambda: log.consistency_proof(1, log.size + 1)):
        with pytest.raises(IntegrityError):
            refused()


def test_the_nodes_are_derived_again_when_they_are_lost_or_damaged(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 600)
    log = root.open()
    for n in range(9):
        log.append([entry(n)])
    nodes = root.audit / "nodes"
    whole = nodes.read_bytes()
    for damaged in (None, b"", whole[:100], bytes(len(whole)), whole[:-32] + bytes(32), bytes(32) + whole[32:]):
        nodes.unlink() if damaged is None else nodes.write_bytes(damaged)
        assert root.open().root_hash() == log.root_hash()
    nodes.unlink()
    root.open()
    assert nodes.read_bytes() == whole


# Making


def test_there_is_one_log_in_a_directory(root: Root) -> None:
    with pytest.raises(ConfigurationError):
        AuditLog.create(root.audit, name=NAME, store_id=STORE, keyring=root.keyring(), clock=root.clock)
    assert root.open().size == 1


def test_a_log_that_was_never_made_does_not_open(tmp_path: Path, root: Root) -> None:
    with pytest.raises(AuditError):
        AuditLog.open(tmp_path / "nothing", keyring=root.keyring(), clock=root.clock)


def test_a_name_that_no_checkpoint_can_carry_is_refused(tmp_path: Path, root: Root) -> None:
    with pytest.raises(ConfigurationError):
        AuditLog.create(tmp_path / "b", name="a b", store_id=STORE, keyring=root.keyring(), clock=root.clock)


def test_another_stores_keyring_does_not_open_the_log(tmp_path: Path, root: Root) -> None:
    (tmp_path / "other").mkdir()
    other = Keyring.create(tmp_path / "other", store_id="store-2")
    with pytest.raises(KeyUnavailableError):
        AuditLog.open(root.audit, keyring=other, clock=root.clock)


@pytest.mark.parametrize("file", ["origin.pub", "checkpoints", "epochs/000001.key"])
def test_a_log_without_one_of_its_files_does_not_open(root: Root, file: str) -> None:
    (root.audit / file).unlink()
    with pytest.raises((AuditError, IntegrityError)):
        root.open()


def test_an_epoch_key_that_others_may_read_is_refused(root: Root) -> None:
    epoch_path(root.audit, 1).chmod(0o640)
    with pytest.raises(Exception, match="others may use"):
        root.open()


# Months and epochs


def test_each_month_has_its_own_segment_and_its_own_key(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    root.clock.advance(days=30)
    log.append([entry(2)])
    assert [f"{name.month:%Y-%m}" for name in list_segments(root.audit)] == ["2026-11", "2026-12"]
    keys = {orjson.loads(stored.leaf)["secret"]["key"] for stored in log.entries(1)}
    assert keys == {"audit/2026-11-01/entries/shared", "audit/2026-12-01/entries/shared"}
    assert [stored.secret["n"] for stored in root.open().entries(1, reveal=True) if stored.secret] == [1, 2]
    assert verify_directory(root.audit, root.origin, log.checkpoint()) == []


def test_a_clock_that_goes_back_a_month_does_not_break_the_log(root: Root) -> None:
    log = root.open()
    root.clock.advance(days=-40)
    log.append([entry(1)])
    root.clock.advance(days=40)
    log.append([entry(2)])
    assert verify_directory(root.audit, root.origin, root.open().checkpoint()) == []


def test_an_epoch_change_is_logged_chained_and_destroys_the_old_private_key(root: Root) -> None:
    log = root.open()
    before = log.append([entry(1)]).checkpoint
    sealed = epoch_path(root.audit, 1)
    assert sealed.exists()
    assert log.rotate_epoch() == 2
    assert not sealed.exists()
    assert [ref.name for ref in root.keyring().refs() if ref.name.startswith("epoch")] == ["epoch-000002"]
    log.append([entry(2)])
    log = root.open()
    assert log.epoch == 2
    log.append([entry(3)])
    assert verify_directory(root.audit, root.origin, before) == []
    assert verify_directory(root.audit, root.origin, log.checkpoint()) == []
    assert [stored.index for stored in log.entries() if stored.kind == EPOCH_KIND] == [0, 2]


def test_the_origins_private_key_is_in_no_file(tmp_path: Path, clock: FixedClock, monkeypatch) -> None:
    made: list[Signer] = []
    generate = Signer.generate
    monkeypatch.setattr(Signer, "generate", lambda name: made.append(generate(name)) or made[-1])
    path = tmp_path / "r"
    path.mkdir()
    keyring = Keyring.create(path, store_id=STORE)
    log = AuditLog.create(path / "audit", name=NAME, store_id=STORE, keyring=keyring, clock=clock)
    origin, epoch = made
    assert origin.verifier == log.origin
    for file in path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert origin.seed not in content
            assert epoch.seed not in content


def test_names_of_files_read_back_as_written(root: Root) -> None:
    for name in list_segments(root.audit):
        assert SegmentName.parse(name.path(root.audit).name) == name
    assert parse_epoch(epoch_path(root.audit, 12).name) == 12
    for foreign in ("000000000000.2026-13.leaves", "0.2026-11.leaves", "000000000000.0000-11.leaves", "x"):
        assert SegmentName.parse(foreign) is None
        assert parse_epoch(foreign) is None


def test_a_foreign_file_among_the_segments_is_noticed(root: Root) -> None:
    (root.audit / "segments" / "note.txt").write_text("hello")
    with pytest.raises(IntegrityError):
        root.open()
    assert verify_directory(root.audit, root.origin) != []


# Several writers


def test_threads_share_groups_and_each_gets_its_own_place(root: Root) -> None:
    log = root.open()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: (n, log.append([entry(n), entry(n)])), range(80)))
    stored = {s.index: s.secret for s in log.entries(1, reveal=True)}
    assert len(stored) == 160
    for n, appended in results:
        for index in (appended.first_index, appended.first_index + 1):
            assert stored[index] == {"target": NUMBER, "n": n}
            assert index < appended.size
    assert verify_directory(root.audit, root.origin, log.checkpoint()) == []


def test_a_second_writer_is_noticed_with_its_epochs_months_and_entries(root: Root) -> None:
    one, two = root.open(), root.open()
    one.append([entry(1)])
    assert two.size == 1
    assert two.append([entry(2)]).first_index == 2
    assert one.refresh()
    assert not one.refresh()
    assert one.checkpoint() == two.checkpoint()
    two.rotate_epoch()
    root.clock.advance(days=40)
    two.append([entry(3)])
    assert one.append([entry(4)]).first_index == 5
    assert one.epoch == 2
    assert two.refresh()
    assert [s.kind for s in two.entries()].count(EPOCH_KIND) == 2
    assert verify_directory(root.audit, root.origin, two.checkpoint()) == []


_WRITER = """
import sys
from pathlib import Path
from store.audit import AuditEntry, AuditLog
from store.clock import SystemClock
from store.keys import Keyring
root = Path(sys.argv[1])
log = AuditLog.open(root / "audit", keyring=Keyring.open(root), clock=SystemClock())
for n in range(int(sys.argv[2])):
    appended = log.append([AuditEntry("a.b", {"n": n}, {"n": n})])
    print(appended.size, flush=True)
"""


def test_processes_append_to_one_log(root: Root) -> None:
    command = [sys.executable, "-c", _WRITER, str(root.path), "40"]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    sizes = [int(line) for writer in writers for line in writer.communicate()[0].split()]
    assert sorted(sizes) == list(range(2, 122))
    log = root.open()
    assert log.size == 121
    assert verify_directory(root.audit, root.origin, log.checkpoint()) == []


def test_a_killed_writer_loses_nothing_that_it_was_told_is_durable(root: Root) -> None:
    durable = 1
    for lines in (3, 17, 40):
        command = [sys.executable, "-c", _WRITER, str(root.path), "1000000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                durable = int(writer.stdout.readline())
            writer.kill()
            durable = max([durable, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
        log = root.open()
        assert log.size in {durable, durable + 1}
        assert verify_directory(root.audit, root.origin, log.checkpoint()) == []
