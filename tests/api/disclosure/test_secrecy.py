"""Nobody learns who is a target: not from the disk, the log, the metrics, an error, an argument or a file's name."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
import pytest

from api.cli import main
from api.cli.program import lagrum
from api.client import Client
from api.disclosure.orders import SourceDocument, WrittenTarget
from api.people.signing import write_key_file
from api.settings import Settings
from schemas.errors import LagrumError
from store.clock import to_text
from tests.api.disclosure.conftest import AUTHORITY, WINDOW, Court
from tests.api.world import running
from tests.patience import PATIENCE_S

NUMBER, WRITTEN, IMSI, ADDRESS = "46701743219", "070-174 32 19", "240019988776655", "198.51.100.213"
REFERENCE = "B 9876-26"
FREE = Settings(port=0)
TARGETS = (WrittenTarget("number", WRITTEN), WrittenTarget("imsi", IMSI), WrittenTarget("ip", ADDRESS, 4711))


def needles() -> dict[str, list[bytes]]:
    """Each secret of the case in the forms in which it might be written."""
    found: dict[str, list[bytes]] = {}
    for digits in (NUMBER, IMSI):
        values = (int(digits), int("1" + digits))
        found[digits] = [value.to_bytes(8, order) for value in values for order in ("little", "big")]  # type: ignore[arg-type]
    for text in (NUMBER, NUMBER[2:], WRITTEN, IMSI, ADDRESS, REFERENCE):
        forms = found.setdefault(text, [])
        forms += [text.encode(), text.encode("utf-16-le")]
        forms += [base64.b64encode(b"\x00" * shift + text.encode())[4:-4] for shift in range(3)]
    return found


def hits(data: bytes) -> list[str]:
    return [name for name, forms in needles().items() if any(form in data for form in forms)]


def everything_below(root: Path) -> list[tuple[str, str]]:
    found = []
    for path in root.rglob("*"):
        found += [(path.name, name) for name in hits(str(path.relative_to(root)).encode())]
        if path.is_file():
            found += [(path.name, name) for name in hits(path.read_bytes())]
    return found


def order(**changes: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "basis": "secret-surveillance",
        "decision_reference": REFERENCE,
        "decided_on": "2026-11-20",
        "decided_by": "court",
        "authority": AUTHORITY,
        "country": "SE",
        "expires_at": "2026-12-22",
        "targets": [{"kind": target.kind, "value": target.value, "port": target.port} for target in TARGETS],
        "window": {"from": to_text(WINDOW.start_us), "to": to_text(WINDOW.end_us)},
    }
    return body | changes


def test_a_case_leaves_no_target_on_the_disk_at_any_step_and_none_in_the_log_of_the_process(
    court: Court, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    source = SourceDocument("text/plain", f"{REFERENCE}: {WRITTEN}, {IMSI}, {ADDRESS}".encode())
    wanted = {"targets": TARGETS, "decision_reference": REFERENCE, "source": source}
    root = court.store.root
    assert hits(source.content)  # the search finds what it looks for
    task = court.register(court.file(**wanted))
    assert everything_below(root) == []
    court.check(task.id)
    court.procedure.preflight(court.actor("approver-1"), task.id)
    court.approve(task.id)
    court.run(task.id)
    assert everything_below(root) == []
    court.release(task.id)
    court.deliver(task.id)
    court.store.flush_outbox(required=True)
    assert everything_below(root) == []
    said = capfd.readouterr()
    assert hits((said.out + said.err + caplog.text).encode()) == []
    public = json.dumps([entry.public for entry in court.log()])
    assert hits(public.encode()) == []


def test_metrics_errors_and_the_views_of_others_name_no_target(
    shared_court: Court, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    court = shared_court
    caplog.set_level(logging.DEBUG)
    task = court.released(targets=TARGETS, decision_reference=REFERENCE)
    with running(court.store, FREE), Client.local(court.store.root, court.clock) as client:
        answers = []
        for person in ("billing-1", "custodian-1", "dpo-1", "officer-2"):
            client.log_in(court.keys[person])
            for path in (f"/v1/disclosure/cases/{task.id}", "/v1/metrics", "/v1/holds", "/v1/usage", "/v1/sources"):
                answers.append(client._send("GET", path).content)
        client.log_in(court.keys["officer-1"])
        names = ("basis", "country", NUMBER, "decided_on", "decided_by", "targets")
        for wrong in [{name: NUMBER} for name in names]:
            answer = client._send("POST", "/v1/disclosure/authorisations", json=order(**wrong))
            assert answer.status_code >= 400
            answers.append(answer.content)
        # A number typed where an id belongs is not quoted either.
        answers.append(client._send("GET", f"/v1/disclosure/cases/{NUMBER}").content)
    said = capfd.readouterr()
    # What the asker's own HTTP library says of the address that the asker typed is the asker's.
    logged = [item.getMessage() for item in caplog.records if item.name.split(".")[0] not in ("httpx", "httpcore")]
    answers += [said.out.encode(), said.err.encode(), "\n".join(logged).encode()]
    assert [hits(answer) for answer in answers if hits(answer)] == []


def test_no_command_takes_a_target_as_an_argument() -> None:
    """What disclosure takes are ids, files and words of a fixed form; a target comes in a file or on standard input."""
    context = click.Context(lagrum)
    group = lagrum.get_command(context, "disclosure")
    assert isinstance(group, click.Group)
    commands = [group.get_command(context, name) for name in group.list_commands(context)]
    options = {(command.name, item.name): item for command in commands if command for item in command.params}
    assert ("authorise", "order") in options
    kinds = {"target", "targets", "imsi", "imei", "mac", "ip", "account", "address", "msisdn", "value"}
    assert not {name for _, name in options} & kinds
    # The one option called so counts documents of a case.
    numbers = {pair: item for pair, item in options.items() if pair[1] == "number"}
    assert all(isinstance(item.type, click.IntRange | click.types.IntParamType) for item in numbers.values()), numbers


def test_other_users_of_the_machine_see_no_target_in_the_process_list(shared_court: Court, tmp_path: Path) -> None:
    """Standard input brings the order, while the process list is read as often as can be."""
    court = shared_court
    key = tmp_path / "officer.key"
    write_key_file(key, court.keys["officer-1"])
    seen: list[bytes] = []
    done = threading.Event()

    def watch(pid: int) -> None:
        while not done.is_set():
            for name in ("cmdline", "environ", "comm"):
                try:
                    seen.append(Path(f"/proc/{pid}/{name}").read_bytes())
                except OSError:
                    return
            time.sleep(0.005)

    command = [str(Path(sys.executable).with_name("lagrum")), "--root", str(court.store.root), "--json"]
    command += ["disclosure", "authorise", "--as", str(key), "-"]
    with running(court.store, FREE):
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ)
        )
        watcher = threading.Thread(target=watch, args=(process.pid,))
        watcher.start()
        _, said = process.communicate(json.dumps(order()).encode(), timeout=PATIENCE_S)
        done.set()
        watcher.join()
    assert any(b"authorise" in item for item in seen)
    assert hits(b"".join(seen)) == []
    assert hits(said) == []


def test_a_target_typed_as_an_argument_is_refused_and_not_repeated(
    shared_court: Court, capfd: pytest.CaptureFixture[str]
) -> None:
    for argv in (["disclosure", "show", NUMBER], ["disclosure", "run", "--as", "/nowhere", NUMBER]):
        try:
            code = main(["--root", str(shared_court.store.root), *argv], clock=shared_court.clock)
        except LagrumError as error:
            assert NUMBER not in error.message
            continue
        assert code != 0
    said = capfd.readouterr()
    assert NUMBER not in said.out + said.err
