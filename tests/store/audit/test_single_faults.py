"""One fault each, and the word for it: a check that another one would cover is attacked past that other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import AuditError, IntegrityError
from store.audit import AuditLog, StoredEntry, fold, verify_directory
from store.audit import tail as tail_module
from store.audit.checkpoint import Signer, VerifierKey
from store.audit.entries import decode_leaf, month_of
from store.audit.expiring import expire_segments
from store.audit.fold import Fold
from store.audit.merkle import leaf_hash
from store.audit.segments import RECORD_BYTES_MAX, last_record, list_segments, read_leaves
from store.audit.tail import Tail, catch_up
from store.audit.verify import Expired, LogVerifier
from store.audit.watch import Watch
from store.clock import to_date
from tests.store.audit.conftest import NAME, Root, entry
from tests.store.audit.edits import records, segments
from tests.store.audit.test_expiring import expire, old
from tests.store.audit.test_verify import history

__all__ = ["history", "old"]


@pytest.fixture
def long(root: Root, monkeypatch: pytest.MonkeyPatch) -> tuple[Root, AuditLog]:
    monkeypatch.setattr(tail_module, "SEGMENT_BYTES_MAX", 900)
    log = root.open()
    for n in range(20):
        log.append([entry(n, secret=False)])
    assert len(list_segments(root.audit)) >= 3
    return root, log


# Opening


def test_a_log_without_a_checkpoint_or_without_its_beginning_is_not_opened(long: tuple[Root, AuditLog]) -> None:
    root, _ = long
    first = segments(root.audit)[0]
    content, notes = first.read_bytes(), (root.audit / "checkpoints").read_bytes()
    first.unlink()
    with pytest.raises(IntegrityError, match="segment of the audit log is missing"):
        root.open()
    first.write_bytes(content)
    (root.audit / "checkpoints").write_bytes(b"")
    with pytest.raises(IntegrityError, match="never completely made"):
        root.open()
    (root.audit / "checkpoints").write_bytes(notes)
    assert root.open().size == 21


def test_nodes_that_lead_nowhere_are_not_derived_again_where_leaves_are_gone(
    old: tuple[Root, AuditLog, list[str]],
) -> None:
    root, log, _ = old
    expire(root, log)
    (root.audit / "nodes").write_bytes(bytes((root.audit / "nodes").stat().st_size))
    with pytest.raises(IntegrityError, match="an expired segment cannot mend them"):
        root.open()


def test_a_segment_in_between_that_is_missing_is_told_when_all_nodes_are_derived_again(
    long: tuple[Root, AuditLog],
) -> None:
    root, _ = long
    segments(root.audit)[1].unlink()
    (root.audit / "nodes").write_bytes(bytes((root.audit / "nodes").stat().st_size))
    with pytest.raises(IntegrityError, match="segment of the audit log is missing"):
        root.open()


def test_a_head_that_goes_back_is_no_head_to_go_on_from(long: tuple[Root, AuditLog]) -> None:
    root, log = long
    (root.audit / "checkpoints").write_bytes(b"".join(records(root.audit)[:-1]))
    with pytest.raises(IntegrityError, match="the audit log was cut"):
        catch_up(root.audit, log._tail)


def test_a_file_of_checkpoints_in_which_none_is_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    path.write_bytes(b"x" * 3 * RECORD_BYTES_MAX)
    with pytest.raises(IntegrityError, match="damaged"):
        last_record(path)


def test_entries_of_a_segment_that_is_gone_are_missed(long: tuple[Root, AuditLog]) -> None:
    root, log = long
    assert len(list(log.entries())) == 21
    segments(root.audit)[-1].unlink()
    with pytest.raises(IntegrityError, match="missing"):
        list(log.entries())


# Reading on


def test_a_log_that_failed_once_is_not_read_again_though_its_files_are_put_back(root: Root) -> None:
    log = root.open()
    log.append([entry(1)])
    (path,) = segments(root.audit)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"disclosure.run", b"disclosure.ran"))
    one = Fold(log, ("disclosure.",), list[StoredEntry]().append)
    with pytest.raises(IntegrityError):
        one.catch_up()
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        one.catch_up()


def test_a_segment_that_stays_away_is_missed(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    log = root.open()
    log.append([entry(1)])
    names = list_segments(root.audit)
    segments(root.audit)[0].unlink()
    monkeypatch.setattr(fold, "list_segments", lambda _: names)
    with pytest.raises(IntegrityError, match="segment of the audit log is missing"):
        Fold(log, ("disclosure.",), list[StoredEntry]().append).catch_up()


@pytest.mark.parametrize(("grows", "reads"), [(False, 1), (True, 3)])
def test_what_does_not_fit_is_read_again_only_while_the_log_grows(
    root: Root, monkeypatch: pytest.MonkeyPatch, grows: bool, reads: int
) -> None:
    log, other = root.open(), root.open()
    log.append([entry(1)])
    seen: list[int] = []

    def misfit(_: Fold, tail: Tail) -> object:
        seen.append(tail.size)
        if grows:
            other.append([entry(2)])
        raise IntegrityError("it does not fit")

    monkeypatch.setattr(Fold, "_read", misfit)
    with pytest.raises(IntegrityError, match="does not fit"):
        Fold(log, ("disclosure.",), list[StoredEntry]().append).catch_up()
    assert len(seen) == reads
    assert log.distrusted == "it does not fit"


def test_a_segment_that_lost_its_last_line_has_fewer_entries(root: Root) -> None:
    log = root.open()
    log.append([entry(1), entry(2)])
    (path,) = segments(root.audit)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(IntegrityError, match="fewer entries"):
        Fold(log, ("disclosure.",), list[StoredEntry]().append).catch_up()


# The watch


def _next_name(audit: Path, size: int) -> Path:
    newest = segments(audit)[-1]
    return newest.with_name(".".join([f"{size:012d}", *newest.name.split(".")[1:]]))


def _add(path: Path, octets: bytes) -> None:
    path.write_bytes(path.read_bytes() + octets)


WATCHED = {
    "no segment is left": (
        "segment of the audit log is missing",
        lambda audit: [it.unlink() for it in segments(audit)],
    ),
    "an empty segment comes behind": (
        "segment of the audit log is missing",
        lambda audit: _next_name(audit, 21).write_bytes(b""),
    ),
    "no checkpoint is left": (
        "checkpoints of the audit log were cut or added to",
        lambda audit: (audit / "checkpoints").write_bytes(b""),
    ),
    "half a checkpoint comes behind": (
        "checkpoints of the audit log were cut or added to",
        lambda audit: _add(audit / "checkpoints", NAME.encode()),
    ),
    "half a line comes behind the newest segment": (
        "newest segment of the audit log was cut or added to",
        lambda audit: _add(segments(audit)[-1], b"{"),
    ),
    "half a line comes behind a closed segment": (
        "does not end with a complete entry",
        lambda audit: _add(segments(audit)[0], b"{"),
    ),
}


@pytest.mark.parametrize(("word", "attack"), WATCHED.values(), ids=WATCHED)
def test_the_watch_alone_tells_what_was_done(long: tuple[Root, AuditLog], word: str, attack) -> None:
    """Nobody reads on or mends before it looks."""
    root, log = long
    watch = Watch(root.audit, VerifierKey.parse(root.origin.strip()))
    watch.look(log._tail)
    attack(root.audit)
    with pytest.raises(IntegrityError, match=word):
        watch.look(log._tail)


def test_the_watch_compares_what_outlives_a_segment(old: tuple[Root, AuditLog, list[str]]) -> None:
    root, log, _ = old
    expire(root, log)
    log.check()
    path = list_segments(root.audit)[1].path(root.audit)
    path.write_bytes(path.read_bytes().replace(b'"batch":1', b'"batch":2', 1))
    with pytest.raises(IntegrityError, match="was changed"):
        root.open().check()


# Expiry


def test_a_segment_to_which_a_line_was_added_does_not_expire(
    old: tuple[Root, AuditLog, list[str]],
) -> None:
    root, log, _ = old
    path = list_segments(root.audit)[1].path(root.audit)
    _add(path, path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(AuditError, match="not whole"):
        expire_segments(log, log._keyring, to_date(root.clock.now_us()))
    assert path.exists()


def _drop_first(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))


def _other_month(path: Path) -> None:
    first, _, suffix = path.name.split(".")
    path.rename(path.with_name(f"{first}.2020-01.{suffix}"))


LEFT = {
    "a line twice": (1, "not in its form", lambda path: _add(path, path.read_bytes().splitlines(keepends=True)[0])),
    "no first entry": (0, "entry 0 is not the certificate of the first epoch", _drop_first),
    "another word": (
        1,
        "it, or its stored tree node, was changed",
        lambda path: path.write_bytes(path.read_bytes().replace(b'"batch":1', b'"batch":2', 1)),
    ),
    "another month": (1, "it, or its stored tree node, was changed", _other_month),
}


@pytest.mark.parametrize(("place", "word", "edit"), LEFT.values(), ids=LEFT)
def test_verification_says_what_is_wrong_with_what_is_left(
    old: tuple[Root, AuditLog, list[str]],
    place: int,
    word: str,
    edit,
) -> None:
    root, log, notes = old
    expire(root, log)
    assert verify_directory(root.audit, root.origin, notes[-1]) == []
    edit(list_segments(root.audit)[place].path(root.audit))
    assert word in verify_directory(root.audit, root.origin, notes[-1])[0]


def test_a_log_of_which_only_expired_segments_are_left_is_cut(
    old: tuple[Root, AuditLog, list[str]],
) -> None:
    root, log, notes = old
    expire(root, log)
    for name in list_segments(root.audit):
        if not name.expired:
            name.path(root.audit).unlink()
    assert "the newest segment of the log is missing" in verify_directory(root.audit, root.origin, notes[-1])


# The verifier, without files


def test_a_verifier_that_was_given_too_little_says_so(root: Root) -> None:
    origin = VerifierKey.parse(root.origin.strip())
    with pytest.raises(IntegrityError, match="no entries"):
        LogVerifier(origin, iter(())).finish()
    ((octets, _),) = read_leaves(segments(root.audit)[0])
    left = Expired(0, 1, month_of(decode_leaf(octets).time_us), {0: octets}, "")
    with pytest.raises(IntegrityError, match="tree nodes of the expired segment from entry 0 on are missing"):
        list(LogVerifier(origin, iter(())).add_expired(left, iter(())))
    assert list(LogVerifier(origin, iter(())).add_expired(left, iter([leaf_hash(octets)])))


def test_a_checkpoint_of_another_log_is_named_as_such(history: tuple[Root, str, str]) -> None:
    root, origin, kept = history
    text = kept.partition("\n\n")[0] + "\n"
    others = Signer("lagrum/other", bytes(32)).sign(text.replace(NAME, "lagrum/other", 1))
    assert "the kept checkpoint is another log's" in verify_directory(root.audit, origin, others)
