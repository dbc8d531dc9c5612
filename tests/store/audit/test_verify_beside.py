"""A log is verified, and copied, beside those who append to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import BusyError
from store import files
from store.audit import paths, verify, verify_directory
from store.audit.extent import export
from store.audit.segments import list_segments
from tests.store.audit.conftest import Root, entry
from tests.store.audit.edits import segments
from tests.store.audit.test_verify import history  # noqa: F401


def test_others_append_while_a_log_is_verified(history: tuple[Root, str, str], tmp_path: Path) -> None:  # noqa: F811
    """A long verification keeps no entry waiting, and none that comes meanwhile is taken for damage."""
    kept_root, origin, kept = history
    root = kept_root.copy(tmp_path / "root")
    log, add = root.open(), verify.LogVerifier.add
    before = log.size

    def add_slowly(verifier: verify.LogVerifier, octets: bytes) -> list[bytes]:
        if log.size < before + 3:
            log.append([entry(1)])
        return list(add(verifier, octets))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify.LogVerifier, "add", add_slowly)
        assert verify_directory(root.audit, origin, kept) == []
    assert log.size == before + 3
    assert verify_directory(root.audit, origin, kept) == []


def test_what_another_process_mends_meanwhile_is_looked_at_again(
    history: tuple[Root, str, str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept_root, origin, kept = history
    root = kept_root.copy(tmp_path / "root")
    last, looks = segments(root.audit)[-1], []
    with last.open("ab") as torn:
        torn.write(b'{"torn')
    assert verify_directory(root.audit, origin, kept) != []
    begin = verify._check_origin

    def check_origin(*about: object) -> list[str]:
        looks.append(last.stat().st_size)
        if len(looks) == 1:
            root.open().append([entry(1)])  # cuts the torn end first
        return begin(*about)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "_check_origin", check_origin)
    assert verify_directory(root.audit, origin, kept) == []
    assert len(looks) == 2


@pytest.mark.parametrize(("place", "told"), [(0, "not the certificate"), (-1, "changed")], ids=["first", "newest"])
def test_what_was_changed_is_told_however_busy_the_log_is(
    history: tuple[Root, str, str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: int,
    told: str,
) -> None:
    """Who keeps the log busy hides nothing: the last look is believed, and no verification goes on without end."""
    kept_root, origin, kept = history
    root = kept_root.copy(tmp_path / "root")
    log, begin, looks = root.open(), verify._check_origin, []
    changed = segments(root.audit)[place]
    data = bytearray(changed.read_bytes())
    at = data.index(b'"kind":"') + len(b'"kind":"')
    data[at] ^= 1
    changed.write_bytes(data)

    def check_origin(*about: object) -> list[str]:
        looks.append(log.append([entry(1)]))
        return begin(*about)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "_check_origin", check_origin)
    problems = verify_directory(root.audit, origin, kept)
    assert problems and all(told in problem for problem in problems)
    assert len(looks) == verify._LOOKS_MAX


def test_a_copy_is_of_one_moment_and_without_a_key(
    history: tuple[Root, str, str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept_root, origin, kept = history
    root, copied = kept_root.copy(tmp_path / "root"), files.copy_durable
    log = root.open()

    def copy_slowly(src: Path, dst: Path, **more: int) -> tuple[int, str]:
        log.append([entry(1)])
        return copied(src, dst, **more)

    monkeypatch.setattr(files, "copy_durable", copy_slowly)
    size = log.size
    export(root.audit, tmp_path / "copy")
    assert log.size > size
    assert verify_directory(tmp_path / "copy", origin, kept) == []
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "checkpoints",
        "nodes",
        "origin.pub",
        "segments",
    ]


@pytest.mark.parametrize("behind", ["nodes", "000000000000.2026-11.leaves"], ids=["before", "after"])
def test_a_copy_of_which_a_segment_expires_meanwhile_is_none(
    history: tuple[Root, str, str],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    behind: str,
) -> None:
    root, copied = history[0].copy(tmp_path / "root"), files.copy_durable
    first = list_segments(root.audit)[0].path(root.audit)

    def copy_slowly(src: Path, dst: Path, **more: int) -> tuple[int, str]:
        done = copied(src, dst, **more)
        if dst.name == behind:
            first.rename(paths.expired_path(root.audit))
        return done

    monkeypatch.setattr(files, "copy_durable", copy_slowly)
    with pytest.raises(BusyError):
        export(root.audit, tmp_path / "copy")
