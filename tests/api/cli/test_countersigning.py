"""The second custodian sees what the first one requested, and can say no, before anything is signed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from api.cli import main
from api.people.signing import PersonKey
from api.settings import Settings
from tests.api.world import World, running

NUMBER = "46701740007"


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


class Desk:
    """Two custodians, each at a terminal of the own."""

    def __init__(
        self, world: World, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._world, self._folder, self._capfd, self._monkeypatch = world, folder, capfd, monkeypatch

    def run(self, by: int, *words: str, given: io.StringIO | None = None) -> tuple[int, Any, str]:
        """Return the code, the answer and what the person was shown."""
        code, out, err = self._run(by, *words, "--json", given=given)
        return code, json.loads(out) if out else None, err

    def told(self, by: int, *words: str) -> str:
        """Return what is noted to a person besides the answer."""
        return self._run(by, *words)[2]

    def _run(self, by: int, *words: str, given: io.StringIO | None = None) -> tuple[int, str, str]:
        self._monkeypatch.setattr("sys.stdin", given or io.StringIO())
        self._capfd.readouterr()
        key = str(self._folder / "keys" / f"custodian-{by}.key.json")
        argv = ["--root", str(self._world.store.root), *words, "--as", key]
        code = main(argv, clock=self._world.clock)
        out, err = self._capfd.readouterr()
        return code, out, " ".join(err.split())


@pytest.fixture
def desk(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(world, tmp_path, capfd, monkeypatch)


def hold(desk: Desk) -> str:
    words = ("--basis", "preservation", "--reference", "K 4711-26", "--owner", "legal desk")
    days = ("--from", "2026-01-01", "--to", "2026-12-01", "--ends", "2027-02-01")
    _, made, _ = desk.run(1, "hold", "add", *words, *days, given=io.StringIO(f"number +{NUMBER}\n"))
    return str(made["hold"])


def test_a_hold_is_confirmed_after_whom_it_names_and_how_long_was_seen(world: World, desk: Desk) -> None:
    with running(world.store, Settings(port=0)):
        named = hold(desk)
        code, answer, seen = desk.run(2, "hold", "confirm", named, given=Terminal("n\n"))
        assert (code, answer) == (130, None)
        for word in (f"number +{NUMBER}", "K 4711-26", "legal desk", "2027-02-01", "custodian-1", "Sign this?"):
            assert word in seen
        assert world.store.holds.all() == []
        code, answer, _ = desk.run(2, "hold", "confirm", named, given=Terminal("y\n"))
        assert (code, answer["state"]) == (0, "active")
        desk.run(1, "hold", "release", named, "--reason", "the order was lifted")
        _, _, seen = desk.run(2, "hold", "confirm", named, given=Terminal("n\n"))
        assert "the order was lifted" in seen
        assert "K 4711-26" in seen  # what is about to be destroyed


def test_where_nobody_looks_nothing_is_shown(world: World, desk: Desk) -> None:
    with running(world.store, Settings(port=0)):
        code, answer, seen = desk.run(2, "hold", "confirm", hold(desk))
    assert (code, answer["state"]) == (0, "active")
    assert NUMBER not in seen


def test_an_enrolment_is_seen_before_it_is_signed(world: World, desk: Desk) -> None:
    public = PersonKey.generate("handler-9").public_text
    words = ("--name", "Handler 9", "--role", "case-handler", "--public-key", public)
    with running(world.store, Settings(port=0)):
        told = desk.told(1, "person", "request", "handler-9", *words)
        assert told == "Next: another custodian: lagrum person confirm handler-9"
        _, _, seen = desk.run(2, "person", "confirm", "handler-9", given=Terminal("n\n"))
        assert "Handler 9" in seen
        assert "case-handler" in seen
        assert public in seen
        assert desk.run(2, "person", "confirm", "handler-9", given=Terminal("y\n"))[1]["state"] == "active"
        assert desk.told(1, "person", "revoke", "handler-9", "--reason", "left").startswith("Next: another custodian")
        desk.run(2, "person", "withdraw", "handler-9")


def test_that_no_version_of_the_policy_waits_is_an_answer(world: World, desk: Desk) -> None:
    with running(world.store, Settings(port=0)):
        code, answer, told = desk.run(2, "retention", "policy", "pending")
    assert (code, answer) == (0, {"version": None})
    assert told == "no version of the policy waits"
