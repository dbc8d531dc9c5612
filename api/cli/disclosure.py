"""`lagrum disclosure`: an authority's order, from filing to delivery, through the running service.

An order and its targets come from a file or from standard input, never from arguments: other users of the machine can
read those.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from api.cli.acting import Way, acting
from api.cli.context import Context
from api.cli.output import emit, show_facts, show_table
from schemas.errors import ConfigurationError, InputError, IntegrityError

ORDER_BYTES_MAX: Final = 1 << 20
_FILE: Final = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.group("disclosure")
def disclosure() -> None:
    """Register, approve, run and deliver an authority's order.

    Officer, case handler and approver are three persons; each step is one of theirs:

    \b
      officer       authorise, register, cancel, deliver
      case handler  check, run, reject
      approver      approve, release, reject

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
      lagrum disclosure verify    delivery.zip --key delivery.pub
    """


@disclosure.command("authorise")
@click.argument("order", type=_FILE)
@acting
def authorise(way: Way, order: Path) -> None:
    """File what was decided; ORDER is a JSON file, or - for standard input.

    \b
    Example of an order:
      {"basis": "secret-surveillance", "decision_reference": "B 1234-26", "decided_on": "2026-11-20",
       "authority": "Police Authority", "country": "SE", "expires_at": "2026-12-22",
       "targets": [{"kind": "number", "value": "070-123 45 67"}],
       "window": {"from": "2026-10-01", "to": "2026-11-01"}}
    """
    body = _read(order)
    with way.open() as client:
        _tell(way, client.post("/v1/disclosure/authorisations", body))


@disclosure.command("register")
@click.argument("authorisation")
@click.option("--task", "task_file", type=_FILE, metavar="FILE", help="JSON: narrower targets, window, categories.")
@acting
def register_task(way: Way, authorisation: str, task_file: Path | None) -> None:
    """Register a task under an authorisation; without --task it asks for all of it."""
    body = {} if task_file is None else _read(task_file)
    with way.open() as client:
        _tell(way, client.post(f"/v1/disclosure/authorisations/{_id(authorisation)}/tasks", body))


@disclosure.command("check")
@click.argument("task")
@acting
def check(way: Way, task: str) -> None:
    """Confirm as the case handler that the task is what was decided."""
    with way.open() as client:
        _tell(way, client.post(f"/v1/disclosure/tasks/{_id(task)}/check"))


@disclosure.command("approve")
@click.argument("task")
@click.option("--yes", is_flag=True, help="Sign without asking.")
@acting
def approve(way: Way, task: str, yes: bool) -> None:
    """Sign the request as the approver, after seeing the targets as they will be searched for."""
    _sign(way, task, yes, action="disclosure.approve", digest_name="request_digest", step="approve")


@disclosure.command("run")
@click.argument("task")
@acting
def run(way: Way, task: str) -> None:
    """Search as the case handler; the result is kept encrypted until it is released."""
    with way.open() as client:
        _tell(way, client.post(f"/v1/disclosure/tasks/{_id(task)}/run"))


@disclosure.command("explain")
@click.argument("task")
@acting
def explain(way: Way, task: str) -> None:
    """Show as the case handler what the search would read: counts of parts, row groups and bytes, and no record."""
    with way.open() as client:
        _tell(way, client.get(f"/v1/disclosure/tasks/{_id(task)}/plan"))


@disclosure.command("release")
@click.argument("task")
@click.option("--yes", is_flag=True, help="Sign without asking.")
@acting
def release(way: Way, task: str, yes: bool) -> None:
    """Sign the result's release as an approver."""
    _sign(way, task, yes, action="disclosure.release", digest_name="result_digest", step="release")


@disclosure.command("deliver")
@click.argument("task")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE")
@acting
def deliver(way: Way, task: str, output: Path) -> None:
    """Fetch the signed package as the officer; an existing file is never overwritten."""
    from store.files import write_atomic

    if output.exists():
        raise ConfigurationError("there is a file of this name already")
    with way.open() as client:
        package = client.download(f"/v1/disclosure/tasks/{_id(task)}/delivery")
    write_atomic(output, package)
    _tell(
        way,
        {"file": str(output), "bytes": len(package), "sha256": hashlib.sha256(package).hexdigest(), "task": task},
    )


@disclosure.command("reject")
@click.argument("case")
@click.option("--reason", required=True, metavar="WORD", help="One word of a-z and '-'.")
@acting
def reject(way: Way, case: str, reason: str) -> None:
    """Refuse an authorisation, a request or a release."""
    with way.open() as client:
        _tell(way, client.post(f"/v1/disclosure/cases/{_id(case)}/reject", {"reason": reason}))


@disclosure.command("cancel")
@click.argument("case")
@click.option("--reason", required=True, metavar="WORD", help="One word of a-z and '-'.")
@acting
def cancel(way: Way, case: str, reason: str) -> None:
    """Withdraw an authorisation or a task as its officer."""
    with way.open() as client:
        _tell(way, client.post(f"/v1/disclosure/cases/{_id(case)}/cancel", {"reason": reason}))


@disclosure.command("list")
@acting
def list_cases(way: Way) -> None:
    """List the cases that you may see."""
    with way.open() as client:
        document = client.get("/v1/disclosure/cases")
    rows = [
        {"task": task["id"], "task_state": task["state"], **case}
        for case in document["cases"]
        for task in (case["tasks"] or [{"id": None, "state": None}])
    ]
    columns = (
        ("id", "authorisation"),
        ("state", "state"),
        ("basis", "basis"),
        ("decision_reference", "reference"),
        ("task", "task"),
        ("task_state", "state"),
    )
    emit(way.context, document, lambda: show_table(rows, columns))


@disclosure.command("show")
@click.argument("case")
@acting
def show(way: Way, case: str) -> None:
    """Show an authorisation or a task, with its targets as they are searched for."""
    with way.open() as client:
        _tell(way, client.get(f"/v1/disclosure/cases/{_id(case)}"))


@disclosure.command("key")
@acting
def key(way: Way) -> None:
    """Show the public key under which packages verify."""
    with way.open() as client:
        document = client.get("/v1/disclosure/delivery-key")
    emit(way.context, document, lambda: click.echo(document["public_key"]))


@disclosure.command("bases")
@click.pass_obj
def bases(context: Context) -> None:
    """List the legal bases that orders may name."""
    from api.disclosure.views import bases as all_bases

    document = {"bases": all_bases()}
    columns = (
        ("id", "basis"),
        ("version", "version"),
        ("citation", "citation"),
        ("window_days_max", "days"),
        ("effective_from", "from"),
        ("effective_to", "to"),
    )
    emit(context, document, lambda: show_table(document["bases"], columns))


@disclosure.command("verify")
@click.argument("package", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--key", "key_text", required=True, metavar="PUB", help="The delivery key: base64, or a file with it.")
@click.pass_obj
def verify(context: Context, package: Path, key_text: str) -> int:
    """Check a package offline: signature, digests, counts, and that nothing else is in it.

    \b
    Exit codes:
      0  whole and signed by this key
      1  not
    """
    from api.disclosure.package import PACKAGE_BYTES_MAX
    from api.disclosure.package import verify as verify_package
    from api.signing import decode_public_key

    path = Path(key_text)
    text = path.read_text("ascii").strip() if len(key_text) < 4096 and path.is_file() else key_text
    if package.stat().st_size > PACKAGE_BYTES_MAX:
        raise IntegrityError("the package is larger than packages are")
    try:
        manifest = verify_package(package.read_bytes(), decode_public_key(text))
    except IntegrityError as error:
        problem = error.message
        emit(context, {"verified": False, "problem": problem}, lambda: click.echo(f"not verified: {problem}"))
        return 1
    facts = {
        "verified": True,
        "delivery": manifest["delivery"]["id"],
        "task": manifest["order"]["task"],
        "decision": manifest["order"]["decision_reference"],
        "result": manifest["result"],
        "records": manifest["counts"]["records"],
        "conflicts": manifest["counts"]["conflicts"],
    }
    emit(context, {**facts, "manifest": manifest}, lambda: show_facts(facts))
    return 0


def register(group: click.Group) -> None:
    """Put the command into the group."""
    group.add_command(disclosure)


def _sign(way: Way, task: str, yes: bool, *, action: str, digest_name: str, step: str) -> None:
    with way.open() as client:
        case = client.get(f"/v1/disclosure/cases/{_id(task)}")
        digest = case.get(digest_name)
        if not digest:
            raise ConfigurationError("there is nothing to sign yet, or it is not yours to sign")
        if not yes:
            _ask(case)
        approval = client.approve(action=action, case=task, digest=digest)
        _tell(way, client.post(f"/v1/disclosure/tasks/{_id(task)}/{step}", {"approval": approval}))


def _ask(case: Mapping[str, Any]) -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to confirm on", hint="look at `disclosure show`, then --yes")
    for name, value in _flat(case).items():
        click.echo(f"{name}: {value}", err=True)
    click.confirm("Sign this?", abort=True, err=True)


def _tell(way: Way, document: Mapping[str, Any]) -> None:
    emit(way.context, document, lambda: show_facts(_flat(document)))


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a case as lines for people."""
    facts: dict[str, Any] = {}
    for name, value in document.items():
        match value:
            case {"from": start, "to": end}:
                facts[name] = f"{start} to {end}"
            case {"person_id": person}:
                facts[name] = person
            case {"by": {"person_id": person}, "statement": {"time": time}}:
                facts[name] = f"{person}, {time}"
            case dict():
                facts[name] = value.get("id")
            case list():
                facts[name] = ", ".join(_target(item) if isinstance(item, dict) else str(item) for item in value)
            case _:
                facts[name] = value
    return facts


def _target(item: Mapping[str, Any]) -> str:
    port = "" if item.get("port") is None else f" port {item['port']}"
    return f"{item.get('kind')} {item.get('value')}{port} (written {item.get('as_written')})"


def _read(path: Path) -> Any:
    import orjson

    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(ORDER_BYTES_MAX + 1)
        else:
            with path.open("rb") as file:
                content = file.read(ORDER_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"the file cannot be read: {error.strerror}") from None
    if len(content) > ORDER_BYTES_MAX:
        raise InputError("an order is at most 1 MiB of JSON")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raise InputError("an order is JSON") from None


def _id(text: str) -> str:
    if not text or not all(character.isalnum() or character == "-" for character in text):
        raise ConfigurationError("a case is named by its id, such as SE-T-7be1d0c4a2963f58")
    return text
