"""An init that ends at any durable step stands in nobody's way; a store that was made is never taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ConfigurationError
from store import Store
from tests.conftest import FixedClock
from tests.fault.disk import Disk, run_until
from tests.store.conftest import deliver
from tests.store.records import records


@pytest.mark.parametrize("kind", ["crash", "power", "io-error"])
def test_a_making_that_ends_at_a_durable_step_can_be_repeated(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The power campaign (`make torture CAMPAIGN=power`) looks at every instant; this at every eighth step."""
    step, remade = {"crash": -2, "power": -1, "io-error": 0}[kind], 0
    while True:
        step += 8
        root, replica = tmp_path / f"root-{step}", tmp_path / f"replica-{step}"
        disk = Disk(fail_at=step, io_error=kind == "io-error")

        def make(root: Path = root, replica: Path = replica) -> None:
            Store.create(root, clock=clock, replicas=[replica]).close()

        try:
            finished = run_until(monkeypatch, disk, make)
        except Exception as error:  # an injected fault shows in whatever form it reaches the caller
            assert kind == "io-error", error
            finished = False
        if not finished and kind == "power":
            disk.lose_power()
        if not (root / "lagrum.json").exists():
            make()
            remade += 1
        with Store.open(root, clock=clock) as store:
            deliver(store, records(3))
            assert store.verify() == [], step
        if finished and len(disk.steps) < step:
            break
    assert remade > 5


def test_a_store_that_lost_its_marker_is_not_made_anew(tmp_path: Path, clock: FixedClock) -> None:
    root = tmp_path / "root"
    Store.create(root, clock=clock).close()
    (root / "lagrum.json").rename(tmp_path / "lagrum.json")
    with pytest.raises(ConfigurationError, match="not empty"):
        Store.create(root, clock=clock)
    (tmp_path / "lagrum.json").rename(root / "lagrum.json")
    assert Store.open(root, clock=clock).verify() == []


@pytest.mark.parametrize("name", ["parts/2026-11-20", "notes.txt"])
def test_a_directory_with_anything_else_in_it_is_refused(tmp_path: Path, clock: FixedClock, name: str) -> None:
    root = tmp_path / "root"
    (root / name).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="not empty"):
        Store.create(root, clock=clock)
