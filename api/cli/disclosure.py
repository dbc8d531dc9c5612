"""`lagrum disclosure`: an authority's order, from filing to delivery, through the running service.

An order and its targets come from a file or from standard input, never from arguments: other users of the machine can
read those.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli import disclosure_orders, disclosure_reading, reports, worklist
from api.cli.acting import Way, acting
from api.cli.disclosure_common import FILE, case_id, flat, legible, read_json, tell
from api.cli.output import note, show_facts
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from api.client import Client


@click.group("disclosure")
def disclosure() -> None:
    """Register, approve, run and deliver an authority's order.

    Officer, case handler and approver are three persons; each step is one of theirs:

    \b
      officer       authorise, register, confirm, extend, suspend, resume,
                    cancel, deliver, acknowledge
      case handler  check, run, reject, suspend, notice, inform
      approver      preflight, approve, release, reject, suspend, resume, notice

    \b
    Example:
      lagrum disclosure authorise --as officer.key order.json
      lagrum disclosure register  --as officer.key SE-A-0f3c2a5e9b8d7416
      lagrum disclosure check     --as handler.key SE-T-7be1d0c4a2963f58
      lagrum disclosure approve   --as approver.key SE-T-7be1d0c4a2963f58
      lagrum disclosure explain   --as handler.key SE-T-7be1d0c4a2963f58
      lagrum disclosure run       --as handler.key SE-T-7be1d0c4a2963f58
      lagrum disclosure release   --as approver.key SE-T-7be1d0c4a2963f58
      lagrum disclosure deliver   --as officer.key SE-T-7be1d0c4a2963f58 --output delivery.zip
      lagrum disclosure acknowledge --as officer.key SE-T-7be1d0c4a2963f58 --receipt opened/receipt.json
    """


@disclosure.command("register")
@click.argument("authorisation")
@click.option("--task", "task_file", type=FILE, metavar="FILE", help="JSON: narrower targets, window, categories.")
@acting
def register_task(way: Way, authorisation: str, task_file: Path | None) -> None:
    """Register a task under an authorisation; without --task it asks for all of it.

    \b
    Examples:
      lagrum disclosure register SE-A-0f3c2a5e9b8d7416 --as officer.key
      lagrum disclosure register SE-A-0f3c2a5e9b8d7416 --task narrower.json --as officer.key
    """
    body = {} if task_file is None else read_json(task_file)
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/authorisations/{case_id(authorisation)}/tasks", body))


@disclosure.command("check")
@click.argument("task")
@click.option("--call-back", type=FILE, metavar="FILE", help="Of an emergency, JSON: the registered number was called.")
@acting
def check(way: Way, task: str, call_back: Path | None) -> None:
    """Confirm as the case handler that the task is what was decided; of an emergency after a call to the authority.

    \b
    Example of a call-back:
      {"spoken_with": "duty officer 12", "number": "+46771140000",
       "called_at": "2026-11-22T14:03:00+01:00"}

    \b
    Examples:
      lagrum disclosure check SE-T-7be1d0c4a2963f58 --as handler.key
      lagrum disclosure check SE-T-7be1d0c4a2963f58 --call-back call.json --as handler.key
    """
    body = None if call_back is None else {"call_back": read_json(call_back)}
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/tasks/{case_id(task)}/check", body))


@disclosure.command("preflight")
@click.argument("task")
@acting
def preflight(way: Way, task: str) -> None:
    """Ask as the approver about how much a task would find, before approving it; three times a task.

    Zero is also the answer to what is refused; `disclosure show` tells how many of the three are used.

    \b
    Example:
      lagrum disclosure preflight SE-T-7be1d0c4a2963f58 --as approver.key
    """
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/tasks/{case_id(task)}/preflight"))


@disclosure.command("approve")
@click.argument("task")
@click.option("--yes", is_flag=True, help="Sign without asking.")
@acting
def approve(way: Way, task: str, yes: bool) -> None:
    """Sign the request as the approver, after seeing the targets as they will be searched for, and the decision.

    \b
    Example:
      lagrum disclosure approve SE-T-7be1d0c4a2963f58 --as approver.key
    """
    _sign(way, task, yes, action="disclosure.approve", digest_name="request_digest", step="approve")


@disclosure.command("run")
@click.argument("task")
@acting
def run(way: Way, task: str) -> None:
    """Search as the case handler; the result is kept encrypted until it is released.

    \b
    Example:
      lagrum disclosure run SE-T-7be1d0c4a2963f58 --as handler.key
    """
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/tasks/{case_id(task)}/run"))


@disclosure.command("explain")
@click.argument("task")
@acting
def explain(way: Way, task: str) -> None:
    """Show as the case handler what the search would read: counts of parts, row groups and bytes, and no record.

    \b
    Example:
      lagrum disclosure explain SE-T-7be1d0c4a2963f58 --as handler.key
    """
    with way.open() as client:
        tell(way, client.get(f"/v1/disclosure/tasks/{case_id(task)}/plan"))


@disclosure.command("release")
@click.argument("task")
@click.option("--yes", is_flag=True, help="Sign without asking.")
@acting
def release(way: Way, task: str, yes: bool) -> None:
    """Sign the result's release as an approver.

    \b
    Example:
      lagrum disclosure release SE-T-7be1d0c4a2963f58 --as approver.key
    """
    _sign(way, task, yes, action="disclosure.release", digest_name="result_digest", step="release")


@disclosure.command("deliver")
@click.argument("task")
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there."
)
@acting
def deliver(way: Way, task: str, output: Path) -> None:
    """Fetch the delivery as the officer, encrypted to the authority; an existing file is never overwritten.

    `lagrum delivery open` opens it with the authority's private key.

    \b
    Example:
      lagrum disclosure deliver SE-T-7be1d0c4a2963f58 --output delivery.zip --as officer.key
    """
    headers: dict[str, str] = {}
    with way.open() as client:
        size = client.download_to(f"/v1/disclosure/tasks/{case_id(task)}/delivery", output, headers)
    tell(way, {"file": str(output), "bytes": size, "task": task, "push": headers.get("lagrum-push")})
    if not way.context.json:
        note("Next: lagrum delivery open, with the authority's key; then lagrum disclosure acknowledge")


@disclosure.command("acknowledge")
@click.argument("task")
@click.option(
    "--receipt",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="receipt.json of the opened delivery.",
)
@acting
def acknowledge(way: Way, task: str, receipt: Path) -> None:
    """Confirm as the officer that the delivery was opened and is whole; the operator's copy then has its last days.

    \b
    Example:
      lagrum disclosure acknowledge SE-T-7be1d0c4a2963f58 --receipt opened/receipt.json --as officer.key
    """
    digest = hashlib.sha256(receipt.read_bytes()).hexdigest()
    with way.open() as client:
        approval = client.approve(action="disclosure.acknowledge", case=case_id(task), digest=digest)
        tell(way, client.post(f"/v1/disclosure/tasks/{case_id(task)}/acknowledge", {"approval": approval}))


@disclosure.command("reject")
@click.argument("case")
@click.option("--reason", required=True, metavar="WORD", help="One word of a-z and '-'.")
@acting
def reject(way: Way, case: str, reason: str) -> None:
    """Refuse an authorisation, a request or a release.

    \b
    Example:
      lagrum disclosure reject SE-T-7be1d0c4a2963f58 --reason window-too-wide --as approver.key
    """
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/cases/{case_id(case)}/reject", {"reason": reason}))


@disclosure.command("cancel")
@click.argument("case")
@click.option("--reason", required=True, metavar="WORD", help="One word of a-z and '-'.")
@acting
def cancel(way: Way, case: str, reason: str) -> None:
    """Withdraw an authorisation or a task as its officer.

    \b
    Example:
      lagrum disclosure cancel SE-A-0f3c2a5e9b8d7416 --reason investigation-closed --as officer.key
    """
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/cases/{case_id(case)}/cancel", {"reason": reason}))


@disclosure.command("suspend")
@click.argument("authorisation")
@click.option("--reason", required=True, metavar="WORD", help="One word of a-z and '-'.")
@acting
def suspend(way: Way, authorisation: str, reason: str) -> None:
    """Let an authorisation rest, as its officer, a case handler or an approver.

    \b
    Example:
      lagrum disclosure suspend SE-A-0f3c2a5e9b8d7416 --reason decision-appealed --as officer.key
    """
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/authorisations/{case_id(authorisation)}/suspend", {"reason": reason}))


@disclosure.command("resume")
@click.argument("authorisation")
@acting
def resume(way: Way, authorisation: str) -> None:
    """Let a suspended authorisation go on: its officer if the authority suspended it, else an approver.

    \b
    Example:
      lagrum disclosure resume SE-A-0f3c2a5e9b8d7416 --as officer.key
    """
    with way.open() as client:
        tell(way, client.post(f"/v1/disclosure/authorisations/{case_id(authorisation)}/resume"))


def register(group: click.Group) -> None:
    """Put the command into the group."""
    found = (*disclosure_orders.COMMANDS, *disclosure_reading.COMMANDS, *worklist.COMMANDS, *reports.COMMANDS)
    for command in found:
        disclosure.add_command(command)
    group.add_command(disclosure)


def _sign(way: Way, task: str, yes: bool, *, action: str, digest_name: str, step: str) -> None:
    with way.open() as client:
        case = client.get(f"/v1/disclosure/cases/{case_id(task)}")
        digest = case.get(digest_name)
        if not digest:
            raise ConfigurationError("there is nothing to sign yet, or it is not yours to sign")
        if not yes:
            _ask(client, case)
        approval = client.approve(action=action, case=task, digest=digest)
        tell(way, client.post(f"/v1/disclosure/tasks/{case_id(task)}/{step}", {"approval": approval}))


def _ask(client: Client, case: Mapping[str, Any]) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to confirm on", hint="look at `disclosure show`, then --yes")
    show_facts(flat(case), stderr=True)
    kept = case["authorisation"]["documents"]
    text = legible(kept[-1]["media_type"], client.download(f"/v1/disclosure/cases/{case_id(case['id'])}/document"))
    if text is not None:
        click.echo(f"The decision, document {len(kept)} of {len(kept)}, as it came:\n\n{text}\n", err=True)
    note(f"Compare it with the decision: lagrum disclosure document {case['id']} --output FILE")
    click.confirm("Sign this?", abort=True, err=True)
