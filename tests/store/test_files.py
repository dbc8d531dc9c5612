"""The durable file operations."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from unittest import mock

import pytest

from schemas.errors import BusyError, IntegrityError, NotFoundError, PermissionsError
from store import files
from store.shared_dirs import refuse_shared_dir
from tests.fault.disk import Disk, run_until, steps_of


@pytest.fixture(params=["process", "power"])
def loss(request: pytest.FixtureRequest) -> str:
    """What is lost in a crash: the process only, or everything that was not synced."""
    return str(request.param)


def test_an_atomic_write_interrupted_at_any_step_leaves_the_old_or_the_new_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    path = tmp_path / "file"
    steps = steps_of(monkeypatch, lambda: files.write_atomic(path, b"old"))
    for n in range(1, steps + 1):
        files.write_atomic(path, b"old")
        disk = Disk(n)
        assert not run_until(monkeypatch, disk, lambda: files.write_atomic(path, b"new content"))
        if loss == "power":
            disk.lose_power()
        assert path.read_bytes() in (b"old", b"new content")
        for left in files.temporaries(tmp_path):
            files.overwrite_and_unlink(left)
        assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_an_atomic_write_that_returned_survives_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    disk = Disk()
    assert run_until(monkeypatch, disk, lambda: files.write_atomic(path, b"content"))
    disk.lose_power()
    assert path.read_bytes() == b"content"


def test_a_failed_atomic_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    steps = steps_of(monkeypatch, lambda: files.write_atomic(path, b"old"))
    for n in range(1, steps + 1):
        with pytest.raises(OSError, match="injected"):
            run_until(monkeypatch, Disk(n, io_error=True), lambda: files.write_atomic(path, b"new"))
        assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_the_mode_of_a_written_file_is_exact_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        files.write_atomic(tmp_path / "secret", b"x")
        files.write_atomic(tmp_path / "public", b"x", mode=0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "public").stat().st_mode) == 0o644


def test_what_was_appended_is_synced_and_can_be_cut_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        files.append_durable(file, b"one")
        files.append_durable(file.fileno(), memoryview(b"two"))
        disk = Disk()
        run_until(monkeypatch, disk, lambda: files.append_durable(file, b"three"))
        assert [operation for operation, _ in disk.steps] == ["write", "fsync"]
        files.truncate_durable(file, 6)
    assert path.read_bytes() == b"onetwo"


def test_overwriting_reaches_the_bytes_themselves_before_the_name_goes(tmp_path: Path) -> None:
    path, other_name = tmp_path / "secret", tmp_path / "hard link"
    path.write_bytes(b"a secret" * 300_000)
    os.link(path, other_name)
    with other_name.open("rb") as still_open:
        files.overwrite_and_unlink(path)
        assert b"a secret" not in still_open.read()
    assert not path.exists()


def test_overwriting_what_is_gone_is_an_error_unless_it_may_be_missing(tmp_path: Path) -> None:
    files.overwrite_and_unlink(tmp_path / "none", missing_ok=True)
    files.unlink_durable(tmp_path / "none", missing_ok=True)
    with pytest.raises(FileNotFoundError):
        files.overwrite_and_unlink(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        files.unlink_durable(tmp_path / "none")


def test_overwriting_interrupted_at_any_step_never_leaves_the_whole_secret_synced_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"secret")
    steps = steps_of(monkeypatch, lambda: files.overwrite_and_unlink(path))
    for n in range(1, steps + 1):
        path.write_bytes(b"secret")
        disk = Disk(n)
        assert not run_until(monkeypatch, disk, lambda: files.overwrite_and_unlink(path))
        if loss == "power":
            disk.lose_power()
        files.overwrite_and_unlink(path, missing_ok=True)
        assert not path.exists()


def test_a_directory_is_made_with_its_parents_and_survives_power_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "b" / "c"
    disk = Disk()
    run_until(monkeypatch, disk, lambda: files.make_dir(path))
    disk.lose_power()
    assert path.is_dir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    files.make_dir(path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="exists"):
        files.make_dir(tmp_path / "file")


def test_a_rename_over_another_file_survives_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.make_dir(tmp_path / "from")
    src, dst = tmp_path / "from" / "a", tmp_path / "b"
    files.write_atomic(src, b"new")
    files.write_atomic(dst, b"old")
    disk = Disk()
    run_until(monkeypatch, disk, lambda: files.replace_durable(src, dst))
    disk.lose_power()
    assert dst.read_bytes() == b"new"
    assert not src.exists()


def test_many_names_move_with_one_sync_of_each_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.make_dir(tmp_path / "to")
    moves = [(tmp_path / name, tmp_path / "to" / name) for name in ("a", "b", "c")]
    for src, _ in moves:
        files.write_atomic(src, src.name.encode())
    disk = Disk()
    steps: list[str] = []
    monkeypatch.setattr(files, "_hook", mock.Mock(before=lambda operation, path, target: steps.append(operation)))
    files.replace_all(moves)
    assert steps == ["rename"] * 3 + ["fsync_dir"] * 2
    monkeypatch.undo()
    for src, dst in moves:
        dst.replace(src)
    run_until(monkeypatch, disk, lambda: files.replace_all(moves))
    disk.lose_power()
    assert [dst.read_bytes() for _, dst in moves] == [b"a", b"b", b"c"]
    assert not any(src.exists() for src, _ in moves)


def test_many_names_go_with_one_sync_of_their_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths[:2]:
        path.write_bytes(b"x")
    files.fsync_dir(tmp_path)
    steps: list[str] = []
    monkeypatch.setattr(files, "_hook", mock.Mock(before=lambda operation, path, target: steps.append(operation)))
    files.unlink_all(paths)
    assert steps == ["unlink"] * 3 + ["fsync_dir"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o601, 0o700, 0o666, 0o4600])
def test_a_secret_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(PermissionsError) as caught:
        files.read_secret(path)
    assert caught.value.hint
    path.chmod(0o400)
    assert files.read_secret(path) == b"x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    files.write_atomic(path, b"x")
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionsError, match="another user"):
        files.read_secret(path)


def test_a_secret_that_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "secret", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe"):
        with pytest.raises(PermissionsError):
            files.read_secret(tmp_path / name)
    with pytest.raises(NotFoundError):
        files.read_secret(tmp_path / "none")
    with pytest.raises(IntegrityError):
        files.read_secret(tmp_path / "secret", size_bytes_max=0)


def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    refuse_shared_dir(tmp_path)
    for mode in (0o770, 0o702):
        tmp_path.chmod(mode)
        with pytest.raises(PermissionsError):
            refuse_shared_dir(tmp_path)


def tree(top: Path) -> list[Path]:
    """Two directories in one, one in another, and a neighbour's in a third; return those to remove."""
    chosen = [top / "a" / "x", top / "a" / "y", top / "b" / "x", top / "c" / "x"]
    for path in [*chosen, top / "c" / "y"]:
        path.mkdir(parents=True, exist_ok=True)
        for name in "12":
            (path / name).write_bytes(b"data")
    return chosen


def test_directories_go_with_their_files_and_what_they_leave_empty_under_one_sync_of_each_that_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, disk = tree(tmp_path), Disk()
    assert run_until(monkeypatch, disk, lambda: files.remove_dirs(chosen, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1", "2", "c", "y"]
    operations = [operation for operation, _ in disk.steps]
    synced = [path for operation, path in disk.steps if operation == "fsync_dir"]
    assert operations[-2:] == ["fsync_dir", "fsync_dir"] and set(synced) == {tmp_path, tmp_path / "c"}
    disk.lose_power()
    assert not any(path.exists() for path in chosen)


def test_the_removal_of_directories_ends_at_any_step_and_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    steps = steps_of(monkeypatch, lambda: files.remove_dirs(tree(tmp_path), tmp_path))
    for n in range(1, steps + 1):
        chosen, disk = tree(tmp_path), Disk(n)
        assert not run_until(monkeypatch, disk, lambda paths=chosen: files.remove_dirs(paths, tmp_path))  # type: ignore[misc]
        if loss == "power":
            disk.lose_power()
        again = Disk()
        assert run_until(monkeypatch, again, lambda paths=chosen: files.remove_dirs(paths, tmp_path))  # type: ignore[misc]
        again.lose_power()
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["1", "2", "c", "y"], n


def test_a_directory_that_cannot_be_removed_for_another_reason_than_its_content_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tree(tmp_path)
    with pytest.raises(OSError), monkeypatch.context() as patch:
        patch.setattr(files, "_hook", Disk(3, io_error=True))
        files.remove_dirs(chosen, tmp_path)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        files.remove_dirs([tmp_path / "file"], tmp_path)


def test_an_exclusive_lock_excludes_and_shared_locks_do_not_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with files.lock(path, exclusive=True), pytest.raises(BusyError), files.lock(path, exclusive=False, blocking=False):
        pass
    shared = [files.lock(path, exclusive=False, blocking=False) for _ in range(2)]
    with shared[0], shared[1], pytest.raises(BusyError), files.lock(path, exclusive=True, blocking=False):
        pass
    with files.lock(path, exclusive=True, blocking=False):
        pass


def test_a_blocking_lock_waits_for_its_holder(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", []

    def wait() -> None:
        with files.lock(path, exclusive=True):
            order.append("second")

    with files.lock(path, exclusive=True):
        thread = threading.Thread(target=wait)
        thread.start()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_only_this_module_syncs_renames_and_unlinks() -> None:
    root = Path(files.__file__).parent.parent
    words = ("fsync(", "fdatasync(", ".unlink(", "os.rename", "os.replace", "os.remove", "rmtree(", "shutil.move")
    for package in ("schemas", "store", "ingest", "api"):
        for path in (root / package).rglob("*.py"):
            if path != Path(files.__file__):
                text = path.read_text()
                assert not [word for word in words if word in text], path.name
