"""What the service's user does beside the service is in the audit log: every command of the tree, by its entry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from api.cli.manual import walk
from api.cli.program import lagrum
from store import Store
from tests.api.cli.conftest import HEADER, Run
from tests.conftest import FixedClock

PERIOD: Final = ("--from", "2026-10-01", "--to", "2026-11-01")
TOLD: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "ingest": ("batch", ("--source", "pbx", "--format", "csv", "{more}")),
    "quarantine replay": ("batch", ("2",)),
    "subscriptions import": ("subscriptions.imported", ("{subscriptions}",)),
    "subscriptions list": ("command.read", ("--account", "0077")),
    "usage": ("command.read", ("--account", "0077", *PERIOD)),
    "usage close": ("usage.closed", PERIOD),
    "usage adjustments": ("command.read", PERIOD),
    "usage periods": ("command.read", ()),
    "listen peer": ("intake.peer-registered", ("sgw-1", "--role", "flow", "--address", "192.0.2.7", "--source", "pbx")),
    "keys replicate": ("keyring.replicated", ("{replica}",)),
    "keys forget": ("keyring.replica-forgotten", ("{replica}",)),
    "keys rotate": ("keyring.rotated", ()),
    "compact": ("compaction", ("--all",)),
    "backup": ("backup.made", ("{copy}",)),
    "retention expire": ("erasure.done", ()),
}
"""Command -> the kind of its entry, and how it is called; in this order."""
ITS_BATCHES: Final = "every batch has its entry"
NUMBERS: Final = "numbers and dates; nothing about a person"
NO_STORE: Final = "opens no store"
QUIET: Final = {
    "init": "the first entry is of the store's making",
    "restore": "its entry stands in the store that it makes (tests/store/test_backup.py)",
    "serve": "the door logs every request",
    "watch": ITS_BATCHES,
    "consume": ITS_BATCHES,
    "listen radius": ITS_BATCHES,
    "listen flow": ITS_BATCHES,
    "listen status": NUMBERS,
    "sources status": NUMBERS,
    "reconcile": NUMBERS,
    "quarantine list": NUMBERS,
    "quarantine show": "positions and reasons, never a value",
    "keys status": NUMBERS,
    "status": NUMBERS,
    "retention status": NUMBERS,
    "retention calendar": NUMBERS,
    "retention explain": NUMBERS,
    "retention show": NUMBERS,
    "retention certificate list": NUMBERS,
    "retention certificate show": NUMBERS,
    "retention certificate verify": NO_STORE,
    "verify": "changes nothing and names parts",
    "doctor": NUMBERS,
    "audit checkpoint": "a tree's head; an entry for it would change what it tells",
    "audit export": "the log itself, sealed as it lies",
    "audit verify": NO_STORE,
    "audit verify-case": NO_STORE,
    "audit witness": NO_STORE,
    "person key": NO_STORE,
    "authority key": NO_STORE,
    "formats": NO_STORE,
    "formats try": NO_STORE,
    "disclosure bases": NO_STORE,
    "delivery open": NO_STORE,
    "delivery verify": NO_STORE,
}
"""Commands that leave no entry, and why that is right."""


def beside_the_service() -> Iterator[str]:
    """Give every command that does not act as a person through the service, whose door logs it."""
    for path, command in walk(lagrum):
        is_run = not isinstance(command, click.Group) or command.invoke_without_command
        if is_run and not any(item.name == "key_file" for item in command.params):
            yield path.removeprefix("lagrum ")


def test_every_command_is_told_or_has_its_reason() -> None:
    found = set(beside_the_service())
    assert found == TOLD.keys() | QUIET.keys()
    assert not TOLD.keys() & QUIET.keys()
    assert len(found) > 40


@pytest.fixture
def files(tmp_path: Path, calls: Path) -> dict[str, str]:
    subscriptions = tmp_path / "subscriptions.csv"
    subscriptions.write_text("kind,value,account,valid_from,valid_to\nnumber,46700000001,0077,2026-01-01,\n")
    more = tmp_path / "more.csv"
    lines = [
        "11,msc-1,voice,46700000001,46700000009,2026-11-20T12:00:00Z,61",
        "12,msc-1,voice,46700000001,46700000009,no time,61",
    ]
    more.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return {
        "calls": str(calls),
        "subscriptions": str(subscriptions),
        "more": str(more),
        "replica": str(tmp_path / "second"),
        "copy": str(tmp_path / "copy"),
    }


def test_what_is_told_is_told(run: Run, root: Path, clock: FixedClock, files: dict[str, str]) -> None:
    assert run("--root", root, "ingest", "--source", "pbx", "--format", "csv", files["calls"]).code == 0
    for name, (kind, words) in TOLD.items():
        if name == "retention expire":
            clock.advance(days=740)
        before = _kinds(root, clock)
        ran = run("--root", root, *name.split(), *(word.format(**files) for word in words))
        assert ran.code in (0, 1), (name, ran.err)
        after = _kinds(root, clock)
        assert kind in after[len(before) :], (name, ran.err)


def _kinds(root: Path, clock: FixedClock) -> list[str]:
    with Store.open(root, clock=clock) as store:
        store.flush_outbox(required=True)
        return [entry.kind for entry in store.audit.entries()]


def test_a_reading_says_which_command_and_who_and_seals_the_account(run: Run, root: Path, clock: FixedClock) -> None:
    assert run("--root", root, "usage", "--account", "46701740007", *PERIOD).code == 0
    with Store.open(root, clock=clock) as store:
        entry = list(store.audit.entries(reveal=True))[-1]
    assert entry.public["command"] == "usage" and isinstance(entry.public["uid"], int)
    assert "46701740007" not in str(entry.public)
    assert entry.secret == {"account": "46701740007"}
