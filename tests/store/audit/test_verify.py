"""Offline verification: every edit of the log's files is found; so is every other past."""

from __future__ import annotations

import random
import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from store.audit import AuditLog, verify_directory
from store.audit import tail as tail_module
from store.audit.checkpoint import Checkpoint, Signer
from store.audit.epochs import Certificate, load_epoch
from store.audit.merkle import Frontier, leaf_hash
from store.audit.segments import encode_record, list_segments, read_leaves
from store.keys import Keyring
from tests.conftest import FixedClock
from tests.store.audit.conftest import NAME, STORE, Root, entry
from tests.store.audit.edits import (
    EDITS,
    cut_everything_at_a_group,
    evidence,
    lines,
    records,
    rewrite_heads,
    segments,
    write_lines,
)

EDITS_PER_KIND = 45


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Root, str, str]:
    """A log of three segments, two months and two epochs; its origin key, its last checkpoint, both kept elsewhere."""
    path = tmp_path_factory.mktemp("history") / "root"
    path.mkdir()
    clock = FixedClock(1_795_348_800_000_000)
    keyring = Keyring.create(path, store_id=STORE)
    AuditLog.create(path / "audit", name=NAME, store_id=STORE, keyring=keyring, clock=clock)
    root = Root(path, clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail_module, "SEGMENT_BYTES_MAX", 2500)
        log = root.open()
        for n in range(7):
            log.append([entry(n, secret=n % 2 == 0)] * (n % 3 + 1))
        log.rotate_epoch()
        clock.advance(days=20)
        for n in range(5):
            log.append([entry(n, secret=n % 2 == 0)] * (n % 2 + 1))
    assert len(list_segments(root.audit)) >= 3
    return root, root.origin, log.checkpoint()


# Edits: each changes a copy of the log's directory


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_every_edit_of_the_log_is_found(history: tuple[Root, str, str], tmp_path: Path, edit) -> None:
    root, origin, kept = history
    for seed in range(EDITS_PER_KIND):
        audit = tmp_path / "audit"
        shutil.copytree(root.audit, audit)
        before = {path: path.read_bytes() for path in evidence(audit)}
        edit(audit, random.Random(f"{edit.__name__} {seed}"))
        after = {path: path.read_bytes() for path in evidence(audit) if path.exists()}
        assert after != before, f"{edit.__name__} with seed {seed} changed nothing"
        problems = verify_directory(audit, origin, kept)
        assert problems, f"{edit.__name__} with seed {seed} was not found"
        assert all(problems)
        shutil.rmtree(audit)


def test_an_untouched_log_is_found_good_with_and_without_a_kept_checkpoint(history: tuple[Root, str, str]) -> None:
    root, origin, kept = history
    assert verify_directory(root.audit, origin) == []
    for note in [*(record.decode()[:-1] for record in records(root.audit)), kept]:
        assert verify_directory(root.audit, origin, note) == []


def test_verification_needs_no_key_and_no_right_to_write(history: tuple[Root, str, str], tmp_path: Path) -> None:
    root, origin, kept = history
    audit = tmp_path / "evidence"
    shutil.copytree(root.audit, audit, ignore=shutil.ignore_patterns("epochs", "lock"))
    for path in [*audit.rglob("*"), audit]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    assert verify_directory(audit, origin, kept) == []
    assert not (audit / "lock").exists()
    for path in [audit, *audit.rglob("*")]:
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


def test_a_cut_log_is_in_itself_without_fault_so_checkpoints_must_be_kept_elsewhere(
    history: tuple[Root, str, str], tmp_path: Path
) -> None:
    root, origin, kept = history
    audit = tmp_path / "audit"
    shutil.copytree(root.audit, audit)
    cut_everything_at_a_group(audit, random.Random(1))
    assert verify_directory(audit, origin) == []
    (problem,) = verify_directory(audit, origin, kept)
    assert "was cut" in problem


def test_an_altered_entry_is_named(history: tuple[Root, str, str], tmp_path: Path) -> None:
    root, origin, kept = history
    audit = tmp_path / "audit"
    shutil.copytree(root.audit, audit)
    path = segments(audit)[0]
    path.write_bytes(path.read_bytes().replace(b'"T-1"', b'"T-9"', 1))
    problems = verify_directory(audit, origin, kept)
    assert problems[0].startswith("entry 2:")
    assert "changed" in problems[1]


# Forks and stolen keys


def test_two_continuations_of_one_log_are_told_apart_by_each_others_checkpoints(root: Root, tmp_path: Path) -> None:
    root.open().append([entry(1)])
    fork = root.copy(tmp_path / "fork")
    for n in range(6):
        ours = root.open().append([entry(n)] * 2).checkpoint
        theirs = fork.open().append([entry(100 + n)] * 2).checkpoint
        assert verify_directory(root.audit, root.origin, ours) == []
        assert verify_directory(fork.audit, fork.origin, theirs) == []
        assert "fork" in verify_directory(root.audit, root.origin, theirs)[0]
        assert "fork" in verify_directory(fork.audit, fork.origin, ours)[0]


def test_a_fork_with_other_groups_is_found(root: Root, tmp_path: Path) -> None:
    fork = root.copy(tmp_path / "fork")
    ours = root.open().append([entry(1)] * 2).checkpoint
    fork.open().append([entry(1)] * 3)
    assert "fork" in verify_directory(fork.audit, fork.origin, ours)[0]


def test_a_log_with_another_origin_is_refused(root: Root, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.mkdir()
    keyring = Keyring.create(path, store_id=STORE)
    other = AuditLog.create(path / "audit", name=NAME, store_id=STORE, keyring=keyring, clock=root.clock)
    assert len(verify_directory(path / "audit", root.origin)) == 2
    (path / "audit" / "origin.pub").write_text(root.origin)
    assert len(verify_directory(path / "audit", root.origin)) == 1
    assert verify_directory(root.audit, root.origin, other.checkpoint()) != []


@pytest.mark.parametrize("given", ["", "nonsense", "a+00000000+AAAA"])
def test_a_malformed_origin_key_or_checkpoint_is_a_problem_not_an_accident(root: Root, given: str) -> None:
    assert "origin key" in verify_directory(root.audit, given)[0]
    assert verify_directory(root.audit, root.origin, given) != []


def test_a_directory_without_a_log_is_a_problem_not_an_accident(tmp_path: Path, root: Root) -> None:
    assert verify_directory(tmp_path / "nothing", root.origin) != []
    (tmp_path / "empty").mkdir()
    assert verify_directory(tmp_path / "empty", root.origin) != []


def test_the_key_of_this_epoch_cannot_rewrite_the_one_before(root: Root) -> None:
    log = root.open()
    log.append([entry(1), entry(2, secret=False)])
    log.rotate_epoch()
    log.append([entry(3)])
    stolen = load_epoch(root.audit, 2, root.keyring()).signer
    content = lines(root.audit)
    content[2] = content[2].replace(b'"T-2"', b'"T-9"')
    write_lines(root.audit, content)
    # the thief signs everything anew, or only what his key may sign
    for since in (0, 3):
        rewrite_heads(root.audit, stolen, since=since)
        assert verify_directory(root.audit, root.origin) != []


def test_the_key_of_this_epoch_can_rewrite_this_epoch_unless_a_checkpoint_was_kept(root: Root) -> None:
    log = root.open()
    kept = log.append([entry(1), entry(2, secret=False)]).checkpoint
    stolen = load_epoch(root.audit, 1, root.keyring()).signer
    content = lines(root.audit)
    content[2] = content[2].replace(b'"T-2"', b'"T-9"')
    write_lines(root.audit, content)
    rewrite_heads(root.audit, stolen, since=1)
    assert verify_directory(root.audit, root.origin) == []
    assert "fork" in verify_directory(root.audit, root.origin, kept)[0]


def test_the_key_of_this_epoch_cannot_take_the_past_into_its_own_group(root: Root) -> None:
    """Without a group of its own, the past needs no checkpoint by the epoch before: the certificate still binds it."""
    log = root.open()
    log.append([entry(1), entry(2, secret=False)])
    log.rotate_epoch()
    log.append([entry(3)])
    stolen = load_epoch(root.audit, 2, root.keyring()).signer
    content = lines(root.audit)
    content[2] = content[2].replace(b'"T-2"', b'"T-9"')
    content[1:4] = [re.sub(rb'"group":\d', b'"group":0', line) for line in content[1:4]]
    write_lines(root.audit, content)
    (root.audit / "checkpoints").write_bytes(b"".join(records(root.audit)[2:]))
    rewrite_heads(root.audit, stolen)
    assert "another past" in verify_directory(root.audit, root.origin)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"index":2', b'"index":3'),
        (b'"group":2', b'"group":9'),
        (b'"group":2', b'"group":0'),
        (b'"kind":"disclosure.run"', b'"kind":"audit.epoch"'),
        (b'"kind"', b'"kine"'),
        (b'"index":2', b'"index":"2"'),
        (b'"index":2', b'"index": 2'),
    ],
)
def test_the_key_of_this_epoch_cannot_sign_leaves_that_are_none(root: Root, old: bytes, new: bytes) -> None:
    log = root.open()
    log.append([entry(1)])
    log.append([entry(2)])
    signer = load_epoch(root.audit, 1, root.keyring()).signer
    rewrite_heads(root.audit, signer)
    assert verify_directory(root.audit, root.origin) == []
    content = lines(root.audit)
    assert old in content[2]
    write_lines(root.audit, [*content[:2], content[2].replace(old, new)])
    rewrite_heads(root.audit, signer)
    assert verify_directory(root.audit, root.origin) != []


def test_the_key_of_this_epoch_cannot_sign_checkpoints_that_are_none(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    signer = load_epoch(root.audit, 1, root.keyring()).signer
    first = records(root.audit)[0]
    true = Checkpoint(NAME, 2, log.root_hash())
    for text, good in (
        (true.text(), True),
        (true.text() + "extension\n", False),
        (Checkpoint(NAME, 3, true.root).text(), False),
        (Checkpoint(NAME, 2, bytes(32)).text(), False),
        (Checkpoint("lagrum/other", 2, true.root).text(), False),
    ):
        (root.audit / "checkpoints").write_bytes(first + encode_record(signer.sign(text)))
        assert (verify_directory(root.audit, root.origin) == []) is good


def test_a_group_that_begins_nowhere_is_refused_even_with_fitting_checkpoints(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    log.append([entry(2)])
    content = lines(root.audit)
    write_lines(root.audit, [*content[:2], content[2].replace(b'"group":2', b'"group":9')])
    notes = records(root.audit)
    (root.audit / "checkpoints").write_bytes(notes[0] + notes[2])
    rewrite_heads(root.audit, load_epoch(root.audit, 1, root.keyring()).signer)
    assert "group" in verify_directory(root.audit, root.origin)[0]


@pytest.mark.parametrize(
    ("changed", "public", "good"),
    [
        ({}, {}, True),
        ({"origin": "lagrum/other"}, {}, False),
        ({"store_id": "store-2"}, {}, False),
        ({"epoch": 3}, {}, False),
        ({"epoch": 1}, {}, False),
        ({"size": 0}, {}, False),
        ({"root": bytes(32)}, {}, False),
        ({}, {"epoch": 3}, False),
        ({}, {"more": 1}, False),
        ({}, {"certificate": 1}, False),
    ],
)
def test_a_certificate_of_another_log_or_place_is_refused(root: Root, changed: dict, public: dict, good: bool) -> None:
    log = root.open()
    log.append([entry(1)])
    signer = load_epoch(root.audit, 1, root.keyring()).signer
    content = lines(root.audit)
    frontier = Frontier()
    frontier.add(leaf_hash(content[0][:-1]))
    heir = Signer(changed.get("origin", NAME), bytes(32))
    certificate = replace(Certificate(NAME, STORE, 2, heir.verifier, 1, frontier.root()), **changed)
    leaf = {"group": 1, "index": 1, "kind": "audit.epoch", "time_us": root.clock.now_us()}
    leaf["public"] = certificate.public(signer.sign(certificate.text())) | public
    write_lines(root.audit, [content[0], orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS) + b"\n"])
    rewrite_heads(root.audit, Signer(NAME, bytes(32)), since=1)
    assert (verify_directory(root.audit, root.origin) == []) is good


def test_a_certificate_that_the_thief_of_an_old_key_gives_himself_is_refused(root: Root) -> None:
    """The private key of epoch 1, copied before it was destroyed, certifies a rival of epoch 2."""
    thief = load_epoch(root.audit, 1, root.keyring()).signer
    log = root.open()
    log.rotate_epoch()
    kept = log.append([entry(1)]).checkpoint
    rival = Signer.generate(NAME)
    content = lines(root.audit)
    frontier = Frontier()
    frontier.add(leaf_hash(content[0][:-1]))
    certificate = Certificate(NAME, STORE, 2, rival.verifier, 1, frontier.root())
    leaf = orjson.loads(content[1])
    leaf["public"] = certificate.public(thief.sign(certificate.text()))
    content[1] = orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS) + b"\n"
    write_lines(root.audit, content)
    rewrite_heads(root.audit, rival, since=1)
    assert "fork" in verify_directory(root.audit, root.origin, kept)[0]


def test_a_segment_reads_back_as_written(history: tuple[Root, str, str]) -> None:
    root, _, _ = history
    read = [leaf + b"\n" for path in segments(root.audit) for leaf, _ in read_leaves(path)]
    assert read == lines(root.audit)
