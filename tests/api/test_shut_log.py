"""A service and commands that start beside a damaged audit log: deliveries come in, and nobody reads anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.app import create_app
from api.people.credentials import Scope
from store import Store
from store.audit.segments import list_segments
from tests.api.cli.conftest import Run, calls, run
from tests.api.world import Http, World
from tests.conftest import FixedClock

__all__ = ["calls", "run"]  # fixtures of the command line


@contextmanager
def damaged(audit: Path) -> Iterator[None]:
    path = list_segments(audit)[-1].path(audit)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    try:
        yield
    finally:
        assert path.read_bytes() == whole[:-40]
        path.write_bytes(whole)


def test_a_service_that_starts_beside_it_takes_in_and_lets_nobody_read(world: World) -> None:
    switch, root = world.switch("pbx-east"), world.store.root
    metrics = {"Authorization": f"Bearer {world.credential(scope=Scope.METRICS)['token']}"}
    world.enrol("auditor-1", "auditor")
    size = world.store.audit.size
    with damaged(world.store.layout.audit), Store.open(root, clock=world.clock, takes_in=True) as store:
        http = Http(create_app(store, settings=world.settings))
        try:
            there = World(store, world.clock, world.settings, http, world.keys)
            assert there.deliver(switch).status_code == 200
            assert there.push(switch, idempotency_key="again").status_code in (200, 201, 202)
            for person in ("custodian-1", "auditor-1"):
                answer = http.post("/v1/sessions", headers=there.proof(there.keys[person], there.challenge()))
                assert answer.status_code >= 400
                assert "token" not in answer.text
            told = http.get("/v1/metrics", headers=metrics)
            assert told.status_code == 200
            assert "lagrum_audit_trusted 0.0" in told.text
        finally:
            http.close()
    with Store.open(root, clock=world.clock) as whole:
        assert "batch" in [entry.kind for entry in whole.audit.entries(size)]


def test_commands_that_take_in_do_and_others_say_what_to_do(
    run: Run, tmp_path: Path, clock: FixedClock, calls: Path
) -> None:
    root = tmp_path / "store"
    assert run("init", root, "--replica", tmp_path / "replica").code == 0
    with Store.open(root, clock=clock) as store:
        audit, size = store.layout.audit, store.audit.size
    words = ("--source", "core", "--format", "csv")
    drop = tmp_path / "drop"
    drop.mkdir()
    (drop / "more.csv").write_text(calls.read_text("utf-8").replace(",msc-1,", ",msc-2,"), "utf-8")
    with damaged(audit):
        took = run("--root", root, "--json", "ingest", *words, calls)
        assert (took.code, took.json["rows"]) == (0, 3), took.err
        watched = run("--root", root, "--json", "watch", "--once", *words, drop)
        assert (watched.code, watched.json["rows"]) == (0, 3), watched.err
        for refused in (("status",), ("verify",), ("retention", "expire"), ("audit", "checkpoint")):
            said = run("--root", root, *refused)
            assert said.code == 1, refused
            assert "A damaged audit log" in said.err
    with Store.open(root, clock=clock) as store:
        kinds = [entry.kind for entry in store.audit.entries(size)]
        assert kinds.count("batch") == 2
        assert "source.registered" in kinds
    assert run("--root", root, "verify").code == 0


def test_the_page_that_hints_name_has_the_section() -> None:
    page = Path(__file__).parents[2] / "docs/OPERATING.md"
    assert "## A damaged audit log" in page.read_text("utf-8")
