"""Auditors ask the service for proofs; nobody else does; each question is logged, and no record is in an answer."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.cli import main
from api.people.signing import write_key_file
from api.settings import Settings
from schemas.errors import IntegrityError
from store.audit import AuditEntry
from store.audit.bundle import verify_bundle
from tests.api.disclosure.conftest import TARGET, Court
from tests.api.world import running


@dataclass
class Desk:
    """The command line of everybody, on one running service."""

    court: Court
    keys: Path
    capture: pytest.CaptureFixture[str]

    def audit(self, *argv: str, person: str = "auditor-1", expect: int = 0) -> Any:
        path = self.keys / f"{person}.key"
        if not path.exists():
            write_key_file(path, self.court.keys[person])
        self.capture.readouterr()
        acting = ("--as", str(path)) if argv[0] != "verify-case" else ()
        root = str(self.court.store.root)
        code = main(["--root", root, "--json", "audit", *argv, *acting], clock=self.court.clock)
        said = self.capture.readouterr()
        assert code == expect, said.err
        return json.loads(said.out) if said.out else said.err


@pytest.fixture
def desk(shared_court: Court, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with running(shared_court.store, Settings(port=0)):
        yield Desk(shared_court, tmp_path, capfd)


def test_an_auditor_has_a_delivery_proven_and_the_log_tells_who_asked(desk: Desk) -> None:
    task = desk.court.run(desk.court.approved().id)
    before = desk.court.store.audit.size
    for more in ((), ("--thorough",)):
        report = desk.audit("completeness", task.id, *more)
        assert (report["verdict"], report["records"], report["problems"]) == ("complete", task.records, [])
        assert TARGET not in json.dumps(report)
    asked = [entry for entry in desk.court.log(before) if entry.kind == "audit.completeness"]
    assert [entry.public["thorough"] for entry in asked] == [False, True]
    assert {entry.public["person"] for entry in asked} == {"auditor-1"}


def test_a_question_that_has_no_answer_is_in_the_log_too_and_quotes_nothing(desk: Desk) -> None:
    before = desk.court.store.audit.size
    desk.audit("completeness", desk.court.approved().id, expect=1)
    desk.audit("completeness", TARGET, expect=1)
    asked = [entry for entry in desk.court.log(before) if entry.kind == "audit.completeness"]
    assert [entry.public["verdict"] for entry in asked] == ["NotFoundError", "NotFoundError"]
    assert TARGET not in json.dumps([entry.public for entry in asked])


@pytest.mark.parametrize("person", ["officer-1", "handler-1", "approver-1", "custodian-1", "dpo-1", "billing-1"])
def test_nobody_else_asks(desk: Desk, person: str) -> None:
    task = desk.court.run(desk.court.approved().id)
    desk.audit("completeness", task.id, person=person, expect=1)
    desk.audit("case", task.id, "--output", str(desk.keys / "x"), person=person, expect=1)
    assert not (desk.keys / "x").exists()


@pytest.fixture
def exported(desk: Desk, tmp_path: Path) -> tuple[str, Path, str]:
    """The id of a task, its exported case, and a checkpoint of before."""
    desk.court.store.audit.rotate_epoch()
    task = desk.court.run(desk.court.approved().id)
    kept, size = desk.court.store.audit.checkpoint(), desk.court.store.audit.size
    path = tmp_path / "case.json"
    desk.audit("case", task.id, "--output", str(path), "--witnessed", str(size))
    return task.id, path, kept


def test_the_entries_of_a_case_verify_offline(desk: Desk, exported: tuple[str, Path, str], tmp_path: Path) -> None:
    task_id, path, kept = exported
    (tmp_path / "kept").write_text(kept)
    origin = desk.court.store.layout.audit / "origin.pub"
    told = desk.audit("verify-case", str(path), "--key", str(origin), "--checkpoint", str(tmp_path / "kept"))
    assert told["case"] == task_id
    kinds = [entry["kind"] for entry in told["entries"]]
    steps = ["authorised", "registered", "checked", "approved", "run", "result"]
    assert [kind for kind in kinds if kind.startswith("disclosure.")] == [f"disclosure.{word}" for word in steps]
    assert kinds[-1] == "audit.exported"
    assert TARGET.encode() not in path.read_bytes()
    desk.audit("case", task_id, "--output", str(path), expect=2)  # never over another file
    desk.audit("case", TARGET, "--output", str(tmp_path / "none"), expect=1)


def test_every_edit_of_an_exported_case_is_found(desk: Desk, exported: tuple[str, Path, str]) -> None:
    task_id, path, kept = exported
    origin = (desk.court.store.layout.audit / "origin.pub").read_text()
    assert len(verify_bundle(path.read_bytes(), origin, kept)) == 7
    desk.court.store.log(AuditEntry("disclosure.test", {"task": task_id}))

    def broken(change: Any, *, checkpoint: str | None = kept, key: str = origin) -> None:
        content = json.loads(path.read_text())
        change(content)
        with pytest.raises(IntegrityError):
            verify_bundle(json.dumps(content).encode(), key, checkpoint)

    def altered(content: Any) -> None:
        leaf = base64.b64decode(content["entries"][2]["leaf"])
        content["entries"][2]["leaf"] = base64.b64encode(leaf.replace(b"handler-1", b"handler-9")).decode()

    broken(altered)
    broken(lambda content: content["entries"].reverse())
    broken(lambda content: content["entries"].append(content["entries"][0]))
    broken(lambda content: content["entries"].clear())
    broken(lambda content: content["entries"][0]["inclusion"].pop())
    broken(lambda content: content["epochs"].pop(0))
    broken(lambda content: content["epochs"].pop())
    broken(lambda content: content["consistency"]["hashes"].append(content["entries"][0]["inclusion"][0]))
    broken(lambda content: content["consistency"].update({"from": 1}))
    broken(lambda content: content.update(words=["SE-T-0000000000000000"]))
    other = desk.court.released().id
    broken(lambda content: content.update(case=other))
    broken(lambda content: content.update(case=other, words=[other, content["words"][1]]))
    broken(lambda content: content["words"].append(other))
    broken(lambda content: content.update(words=[task_id, other]))
    broken(lambda content: content.update(more=1))
    broken(lambda content: content.pop("epochs"))
    broken(lambda content: content.update(checkpoint=kept))
    broken(lambda content: None, checkpoint=desk.court.store.audit.checkpoint())  # a later one: not made for it
    broken(lambda content: None, key="lagrum/other+00000000+AAAA")
    with pytest.raises(IntegrityError):
        verify_bundle(b"[]", origin)
    with pytest.raises(IntegrityError):
        verify_bundle(b"\xff", origin)
