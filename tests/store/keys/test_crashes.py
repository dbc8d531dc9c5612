"""A crash, a power loss or an I/O error at every durable step of every change."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.errors import BusyError, IntegrityError, LagrumError, NotFoundError
from store.keys import FileRoots, Keyring, keyring_copies, layout, ringfile
from tests.fault.disk import Disk, run_until, steps_of
from tests.store.keys.conftest import STORE_ID, Place, partition

KEPT, VICTIM, NEW = partition(1), partition(2), partition(3)


@pytest.fixture(params=["process", "power"])
def loss(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass
class Before:
    """The store before the change, to go back to, and what an attacker might have kept in mind of it."""

    place: Place
    template: Path
    keys: dict[str, bytes]
    root_key: bytes
    ring_file: bytes

    def reset(self) -> Keyring:
        shutil.rmtree(self.place.base, ignore_errors=True)
        shutil.copytree(self.template, self.place.base)
        return self.place.open()


@pytest.fixture
def before(quick_path: Path, plain_place: Place) -> Before:
    plain_place.base = quick_path / "place"
    ring = plain_place.create()
    ring.ensure([KEPT, VICTIM])
    template = quick_path / "template"
    shutil.copytree(plain_place.base, template)
    data = layout.root_path(plain_place.root, 1).read_bytes()
    root_key = bytes.fromhex(data.split(b'"key":"')[1][:64].decode())
    keys = {ref.text: ring.key(ref) for ref in (KEPT, VICTIM)}
    return Before(plain_place, template, keys, root_key, layout.ring_path(plain_place.root, 1).read_bytes())


def check_tidy(place: Place, ring: Keyring) -> None:
    """One generation in every home, the same one; no leftovers."""
    names = {f"keys/root-{ring.generation:06d}.key", f"keyring/{ring.generation:06d}.keyring", "keyring/current"}
    contents = set()
    for home in place.homes:
        found = {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}
        assert found - {"keyring/lock", "keyring/replica.json"} == names
        contents.add(tuple((home / name).read_bytes() for name in sorted(names)))
    assert len(contents) == 1


def check_old_root_is_gone(before: Before, ring: Keyring) -> None:
    stored = before.place.all_bytes()
    for form in (before.root_key, before.root_key.hex().encode()):
        assert form not in stored
    with pytest.raises(IntegrityError):
        ringfile.decode(before.ring_file, FileRoots().open(before.place.root, STORE_ID, ring.generation))


def check_kept(before: Before, ring: Keyring) -> None:
    assert ring.key(KEPT) == before.keys[KEPT.text]


def check_after_destroy(before: Before, ring: Keyring) -> bool:
    check_kept(before, ring)
    check_tidy(before.place, ring)
    if ring.has(VICTIM):
        assert ring.generation == 1
        assert ring.key(VICTIM) == before.keys[VICTIM.text]
        return False
    assert ring.generation == 2
    check_old_root_is_gone(before, ring)
    return True


def test_a_destruction_interrupted_at_any_step_is_whole_after_reopening(
    before: Before, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    ring = before.reset()
    steps = steps_of(monkeypatch, lambda: ring.destroy([VICTIM]))
    outcomes = []
    for n in range(1, steps + 1):
        ring = before.reset()
        disk = Disk(n)
        assert not run_until(monkeypatch, disk, lambda ring=ring: ring.destroy([VICTIM]))  # type: ignore[misc]
        if loss == "power":
            disk.lose_power()
        outcomes.append(check_after_destroy(before, before.place.open()))
    # Once the intent is durable there is no way back.
    assert outcomes == sorted(outcomes)
    assert outcomes.index(True) <= 6
    assert steps > 30


def test_a_recovery_that_is_interrupted_itself_is_finished_by_the_next(
    before: Before, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    ring = before.reset()
    steps = steps_of(monkeypatch, lambda: ring.destroy([VICTIM]))
    chance = random.Random(7)
    for n in range(7, steps + 1, 3):
        for m in chance.sample(range(1, steps), 4):
            ring = before.reset()
            for step, action in ((n, lambda ring=ring: ring.destroy([VICTIM])), (m, before.place.open)):
                disk = Disk(step)
                if not run_until(monkeypatch, disk, action) and loss == "power":
                    disk.lose_power()
            assert check_after_destroy(before, before.place.open())


def test_an_addition_interrupted_at_any_step_loses_no_older_key(
    before: Before, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    ring = before.reset()
    steps = steps_of(monkeypatch, lambda: ring.ensure([NEW]))
    for n in range(1, steps + 1):
        ring = before.reset()
        disk = Disk(n)
        assert not run_until(monkeypatch, disk, lambda ring=ring: ring.ensure([NEW]))  # type: ignore[misc]
        if loss == "power":
            disk.lose_power()
        ring = before.place.open()
        check_kept(before, ring)
        check_tidy(before.place, ring)
        assert ring.key(VICTIM) == before.keys[VICTIM.text]
        ring.ensure([NEW])
        key = ring.key(NEW)
        assert before.place.open().key(NEW) == key


def test_what_ensure_and_destroy_have_returned_survives_power_loss(
    before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = before.reset()
    disk = Disk()
    assert run_until(monkeypatch, disk, lambda: ring.ensure([NEW]))
    key = ring.key(NEW)
    disk.lose_power()
    assert before.place.open().key(NEW) == key
    for home in before.place.replicas:
        assert keyring_copies.load(home, FileRoots())[0].unwrap(NEW.text) == key
    disk = Disk()
    assert run_until(monkeypatch, disk, lambda: ring.destroy([VICTIM]))
    disk.lose_power()
    assert check_after_destroy(before, before.place.open())


def test_a_creation_interrupted_at_any_step_can_be_repeated(
    quick_path: Path, plain_place: Place, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    place = plain_place
    place.base = quick_path / "place"
    steps = steps_of(monkeypatch, place.create)
    for n in range(1, steps + 1):
        shutil.rmtree(place.base)
        disk = Disk(n)
        assert not run_until(monkeypatch, disk, place.create)
        if loss == "power":
            disk.lose_power()
        try:
            ring = place.open()
        except (NotFoundError, FileNotFoundError):
            ring = place.create()
        ring.ensure([NEW])
        check_tidy(place, ring)


def change_add_replica(place: Place) -> Callable[[Keyring], object]:
    return lambda ring: ring.add_replica(place.base / "replica-c")


def change_destroy(_: Place) -> Callable[[Keyring], object]:
    return lambda ring: ring.destroy([VICTIM])


def change_ensure(_: Place) -> Callable[[Keyring], object]:
    return lambda ring: ring.ensure([NEW])


def change_rotate(_: Place) -> Callable[[Keyring], object]:
    return lambda ring: ring.rotate()


@pytest.mark.parametrize("change", [change_add_replica, change_destroy, change_ensure, change_rotate])
def test_after_an_io_error_at_any_step_the_same_keyring_goes_on(
    before: Before, monkeypatch: pytest.MonkeyPatch, change: Callable[[Place], Callable[[Keyring], object]]
) -> None:
    act = change(before.place)
    ring = before.reset()
    steps = steps_of(monkeypatch, lambda: act(ring))
    refused = 0
    for n in range(1, steps + 1):
        ring = before.reset()
        try:
            run_until(monkeypatch, Disk(n, io_error=True), lambda ring=ring: act(ring))  # type: ignore[misc]
        except BusyError as exc:
            refused += 1
            assert exc.hint
            act(ring)
        ring.ensure([NEW])
        check_kept(before, ring)
        again = before.place.open()
        check_kept(before, again)
        assert again.key(NEW) == ring.key(NEW)
        assert again.has(VICTIM) == (change is not change_destroy)
        if again.generation > 1:
            check_old_root_is_gone(before, again)
        assert again.lagging == ()
        if change is not change_add_replica:
            check_tidy(before.place, again)
    assert refused > steps // 2


@pytest.mark.parametrize("change", [change_destroy, change_ensure, change_rotate])
def test_a_sync_that_failed_is_not_believed_when_it_is_repeated(
    before: Before, monkeypatch: pytest.MonkeyPatch, change: Callable[[Place], Callable[[Keyring], object]]
) -> None:
    act = change(before.place)
    ring = before.reset()
    steps = steps_of(monkeypatch, lambda: act(ring))
    for n in range(1, steps + 1):
        ring = before.reset()
        disk = Disk(n, io_error=True)

        def twice(ring: Keyring = ring) -> None:
            with suppress(BusyError):
                act(ring)
            act(ring)
            ring.ensure([NEW])

        assert run_until(monkeypatch, disk, twice)
        disk.lose_power()
        for home in before.place.homes:
            there = keyring_copies.load(home, FileRoots())[0]
            assert there.unwrap(NEW.text) == ring.key(NEW)
        again = before.place.open()
        assert again.generation == ring.generation
        assert again.refs() == ring.refs()


def test_a_half_made_generation_is_overwritten_before_it_is_made_anew(
    before: Before, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = before.reset()
    half_made = layout.ring_path(before.place.root, 2)
    n = 1
    while not half_made.exists():
        ring = before.reset()
        run_until(monkeypatch, Disk(n), lambda ring=ring: ring.destroy([VICTIM]))  # type: ignore[misc]
        n += 1
    disk = Disk()
    run_until(monkeypatch, disk, before.place.open)
    overwritten = {path.name for operation, path in disk.steps if operation == "overwrite"}
    assert {"root-000002.key", "000002.keyring", "root-000001.key", "000001.keyring"} <= overwritten


def test_an_interrupted_registration_never_leaves_a_copy_that_is_not_registered(
    before: Before, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    act = change_add_replica(before.place)
    ring = before.reset()
    steps = steps_of(monkeypatch, lambda: act(ring))
    for n in range(1, steps + 1):
        ring = before.reset()
        disk = Disk(n)
        run_until(monkeypatch, disk, lambda ring=ring: act(ring))  # type: ignore[misc]
        if loss == "power":
            disk.lose_power()
        ring = before.place.open()
        target = before.place.base / "replica-c"
        if any((target / "keys").glob("*.key")):
            assert target in ring.replicas
        ring.add_replica(target)
        ring.destroy([VICTIM])
        check_old_root_is_gone(before, ring)


WRITER = """
import sys
from pathlib import Path
from store.keys import Keyring, KeyRef
ring = Keyring.open(Path(sys.argv[1]))
for n in range(10_000):
    ref, doomed = KeyRef("work", "", sys.argv[2], str(n)), KeyRef("doomed", "", sys.argv[2], str(n))
    ring.ensure([ref, doomed])
    print("made", ref.text, ring.key(ref).hex(), flush=True)
    ring.destroy([doomed])
    print("gone", doomed.text, "-", flush=True)
"""


def test_two_processes_killed_while_they_write_lose_nothing_that_they_acknowledged(plain_place: Place) -> None:
    plain_place.create()
    made: dict[str, bytes] = {}
    gone: set[str] = set()
    for turn in range(2):
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(plain_place.root), f"{turn}-{name}"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in "ab"
        ]
        for lines, worker in enumerate(workers):
            assert worker.stdout is not None
            for _ in range(7 + turn + lines):
                assert worker.stdout.readline()
            worker.kill()
        for worker in workers:
            for line in worker.communicate()[0].splitlines():
                word, *rest = line.split(" ")
                if len(rest) == 2 and word == "gone":
                    gone.add(rest[0])
                elif len(rest) == 2 and len(rest[1]) == 64:
                    made[rest[0]] = bytes.fromhex(rest[1])
    ring = plain_place.open()
    stored = {ref.text: ring.key(ref) for ref in ring.refs()}
    assert made.items() <= stored.items()
    assert not gone & stored.keys()
    check_tidy(plain_place, ring)


def test_a_begun_destruction_that_was_tampered_with_is_refused(before: Before, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = before.reset()
    assert not run_until(monkeypatch, Disk(8), lambda: ring.destroy([VICTIM]))
    path = layout.intent_path(before.place.root)
    data = path.read_bytes()
    for changed in (data[:-1] + bytes([data[-1] ^ 1]), b"", b"{}\n", data.replace(b"1}", b'"x"}'), b"[]\n" + data):
        path.write_bytes(changed)
        with pytest.raises(LagrumError):
            before.place.open()
    path.write_bytes(data)
    assert check_after_destroy(before, before.place.open())
