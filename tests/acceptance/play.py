"""One case from order to court, with the real procedure: `python -m tests.acceptance.play` writes docs/demo anew.

All data is made up: numbers of ranges that Sweden keeps for examples, persons by their roles, records by a generator.
The clock is the tests' own and stands at the same day every time; keys, identifiers and signatures are new in every
play, so the files of two plays are compared with those left out (`normalised`).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from api.disclosure.model import Approval, order_of
from api.disclosure.procedure import SourceDocument
from api.handover.opening import Reader, open_to
from api.people.signing import decode_public_key
from api.routes.disclosure_models import OrderModel
from schemas.errors import LagrumError
from store import Store
from store.audit import bundle
from store.clock import to_text
from tests.api.disclosure.conftest import AUTHORITY, Court, peopled
from tests.api.handover.authority import side
from tests.conftest import FixedClock
from tests.store.records import NOW_US

FOLDER: Final = Path(__file__).parents[2] / "docs" / "demo"
MINUTE_S: Final = 60
DECISION: Final = """\
MADE-UP EXAMPLE                                                      B 1234-26
                                                          20 November 2026

DECISION

Secret surveillance of electronic communication, Code of Judicial Procedure, chapter 27, section 19.

The court permits the Police Authority to obtain from the operator the stored data on communication of the
telephone number 070-174 00 07, for the time from 14 November 2026 00:00 to 19 November 2026 00:00 (UTC).

The permission ends on 22 December 2026. It concerns data that is stored already, and no content.
"""
ORDER: Final = {
    "basis": "secret-surveillance",
    "decision_reference": "B 1234-26",
    "decided_on": "2026-11-20",
    "decided_by": "court",
    "authority": AUTHORITY,
    "country": "SE",
    "targets": [{"kind": "number", "value": "070-174 00 07"}],
    "window": {"from": "2026-11-14T00:00:00Z", "to": "2026-11-19T00:00:00Z"},
    "expires_at": "2026-12-22T00:00:00Z",
}
README: Final = """\
# One case, from order to court

These are the files of one case, as `python -m tests.acceptance.play` made them with the real procedure. Everything in them
is made up: the decision, the persons, the numbers (of a range that Sweden keeps for examples) and the {records} records.
A test plays the case anew and compares, and verifies the files that lie here.

| file | what it is | who made it |
|---|---|---|
| [decision.txt](decision.txt) | the court's decision, as it came | the authority |
| [order.json](order.json) | its fields: target, time, basis | officer-1 files it |
| [approved-order.json](approved-order.json) | exactly what the approver signs: the order with the number as it is searched for | the service |
| [approval-of-request.json](approval-of-request.json) | the signature over it | approver-1 |
| [approval-of-release.json](approval-of-release.json) | the signature over the result's digest, by another approver | approver-2 |
| [delivery/summary.html](delivery/summary.html) | **the page to begin with**: what was asked, found, and who answered for it | the service |
| [delivery/part-0001/records.csv](delivery/part-0001/records.csv) | the records | the service |
| [delivery/manifest.json](delivery/manifest.json) | digests of every file, counts, fields, the order | the service signs it |
| [delivery/receipt.json](delivery/receipt.json) | persons, both approvals, the log's checkpoint | the service signs it |
| [delivery-key.pub](delivery-key.pub) | the operator's public key for deliveries | |
| [audit/case.json](audit/case.json) | every entry of the log that names the case, each with its proof | auditor-1 |
| [audit/origin.pub](audit/origin.pub) | the log's public key, as it was pinned when the store was made | |
| [story.md](story.md) | what happened, step by step, the refused steps too | the log |
| [verification.txt](verification.txt) | what the two checks below answer | anybody |

The delivery lies here opened. It travelled encrypted to the authority's certificate, and the operator kept nothing else.

## Check it yourself
Neither command needs a secret, a network or the operator:

    lagrum delivery verify docs/demo/delivery --signed-by docs/demo/delivery-key.pub
    lagrum audit verify-case docs/demo/audit/case.json --key docs/demo/audit/origin.pub

Change one character of any file in `delivery/`, or of `case.json`, and they say so.
"""  # noqa: E501


class Play:
    """The case, step by step; each takes ten minutes."""

    def __init__(self, court: Court, folder: Path) -> None:
        self.court, self.folder = court, folder
        self.told: list[tuple[str, str, str, str]] = []

    def tell(self, who: str, what: str, outcome: str = "done") -> None:
        self.told.append((to_text(self.court.clock.now_us())[11:16], who, what, outcome))
        self.court.clock.advance(seconds=10 * MINUTE_S)

    def refused(self, who: str, what: str, act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except LagrumError as refusal:
            self.tell(who, what, f"**refused**: {refusal.message}")
            return
        raise AssertionError(f"{what} was not refused")

    def write(self, name: str, content: bytes | str | dict[str, Any]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            content = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def order(self) -> str:
        """The officer files and registers; nobody gets ahead of the others."""
        court = self.court
        self.write("decision.txt", DECISION)
        self.write("order.json", ORDER)
        order = OrderModel.model_validate(ORDER).order(DECISION.encode())
        order = replace(order, source=SourceDocument("text/plain", DECISION.encode()))
        self.refused("handler-1", "files the order", court.procedure.authorise, court.actor("handler-1"), order)
        filed = court.procedure.authorise(court.actor("officer-1"), order)
        self.tell("officer-1", "files the order with the court's decision")
        task = court.register(filed).id
        self.tell("officer-1", "registers the task")
        self.refused("handler-1", "starts the search before anybody checked", court.run, task)
        court.check(task)
        self.tell("handler-1", "has compared order and decision, and checks the task")
        self.refused("handler-1", "approves what handler-1 checked", court.approve, task, "handler-1")
        return task

    def approve(self, task: str) -> None:
        court = self.court
        about = court.procedure.preflight(court.actor("approver-1"), task)
        self.tell("approver-1", f"asks about how much there is: {about['records']} records on {about['days']} days")
        court.approve(task)
        self.tell("approver-1", "reads order and decision, and signs the request")
        case = court.procedure.casebook.case(task)
        self.write("approved-order.json", order_of(case.authorisation, case.task))
        self.write("approval-of-request.json", self.signed(case.task.request_approval))

    def signed(self, approval: Approval | None) -> dict[str, Any]:
        assert approval is not None
        return approval.as_body() | {"public_key": self.court.keys[approval.by.person_id].public_text}

    def search(self, task: str) -> None:
        court = self.court
        found = court.run(task)
        self.tell("handler-1", f"searches: {found.records} records, enclosed for the authority before they are written")
        self.refused("officer-1", "fetches what nobody released", court.deliver, task)
        released = court.release(task, "approver-2")
        self.tell("approver-2", "signs the result's release")
        self.write("approval-of-release.json", self.signed(released.release_approval))
        self.refused("officer-2", "fetches another officer's delivery", court.deliver, task, "officer-2")

    def deliver(self, task: str) -> None:
        """The officer fetches; the authority opens with its private key, which the operator never had."""
        court = self.court
        data = court.deliver(task)
        self.tell("officer-1", "fetches the delivery, encrypted to the Police Authority")
        office, key = side(AUTHORITY), court.procedure.vault.public_key()
        with tempfile.TemporaryDirectory() as place:
            path, opened = Path(place) / "delivery.zip", Path(place) / "opened"
            path.write_bytes(data)
            said = open_to(path, opened, Reader(office.certificate, office.key, decode_public_key(key)))
            shutil.copytree(opened, self.folder / "delivery")
        self.write("delivery-key.pub", key + "\n")
        court.acknowledge(task, said.opening)
        self.tell("officer-1", "acknowledges with a signature over what only the opened delivery tells")

    def prove(self, task: str) -> None:
        """The auditor exports the case's entries; anybody checks them, and the delivery."""
        court = self.court
        case = court.procedure.casebook.task(task)[0]
        content = bundle.bundle(court.store.audit, task, [task, case.authorisation_id])
        self.write("audit/case.json", content)
        self.write("audit/origin.pub", (court.store.root / "audit" / "origin.pub").read_bytes())
        self.tell("auditor-1", "exports the case's entries with their proofs")
        lines = ["# What happened", "", "| time (UTC) | who | what | outcome |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(line)} |" for line in self.told]
        lines += ["", "## What the log says of it", "", "| entry | person | reason |", "|---|---|---|"]
        for entry in court.log():
            if entry.kind.startswith("disclosure.") and entry.public.get("person"):
                reason = str(entry.public.get("reason", ""))
                lines.append(f"| {entry.kind} | {entry.public['person']} | {reason} |")
        self.write("story.md", "\n".join(lines) + "\n")
        self.write("verification.txt", verification(self.folder))
        records = case.records
        self.write("README.md", README.format(records=records))


def verification(folder: Path) -> str:
    """Return what the real program says of the files, as a person who trusts two public keys asks it."""
    commands = (
        ("delivery", "verify", "delivery", "--signed-by", "delivery-key.pub"),
        ("audit", "verify-case", "audit/case.json", "--key", "audit/origin.pub"),
    )
    told = []
    for command in commands:
        program = Path(sys.executable).with_name("lagrum")
        done = subprocess.run([program, *command], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stderr + done.stdout)
        lines = [line.rstrip() for line in done.stdout.splitlines()]
        told.append("\n".join([f"$ lagrum {' '.join(command)}", *lines, ""]))
    return "\n".join(told)


def play(folder: Path) -> None:
    """Play the case and write its files to `folder`."""
    clock = FixedClock(NOW_US)
    with tempfile.TemporaryDirectory() as place, Store.create(Path(place) / "root", clock=clock) as store:
        staged = Play(peopled(store, clock), folder)
        task = staged.order()
        staged.approve(task)
        staged.search(task)
        staged.deliver(task)
        staged.prove(task)


SECRETS: Final = re.compile(
    r"SE-([ATD])-[0-9a-f]{16}(-[0-9a-f]{8})?"
    r"|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{16,}|[A-Za-z0-9+/]{40,}=*"
)
"""Identifiers, keys, digests and signatures; no number and no time is so long."""


def normalised(folder: Path) -> dict[str, str]:
    """Return the files of a play, without what is new in every play: identifiers, keys, digests, signatures, proofs."""
    found = {}
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.endswith((".sig", ".pub")):
            found[name] = str(len(path.read_bytes()))
        elif name == "audit/case.json":
            body = json.loads(path.read_bytes())
            found[name] = json.dumps([sorted(body), len(body["entries"])])
        else:
            found[name] = SECRETS.sub(lambda match: f"<{match[1] or '…'}>", path.read_text(encoding="utf-8"))
    return found


def main() -> None:
    if FOLDER.exists():
        shutil.rmtree(FOLDER)
    FOLDER.mkdir()
    play(FOLDER)


if __name__ == "__main__":
    main()
