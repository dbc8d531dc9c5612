"""`lagrum audit`: the log that proves itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from api.cli.acting import Way, acting
from api.cli.context import Context
from api.cli.output import counted, emit, refuse_existing
from api.cli.witness import witness
from schemas.errors import ConfigurationError

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group("audit")
def audit() -> None:
    """Checkpoint, verify and export the audit log.

    The log is a Merkle tree (RFC 6962). A checkpoint is a signed statement of its size and root (C2SP tlog-checkpoint).
    Keep checkpoints off this machine: whoever holds an older one can prove that nothing was removed since. Reading what
    the entries say is for auditors, through the service.

    \b
    Example:
      lagrum audit checkpoint --out today.checkpoint
      lagrum audit export ./export
      lagrum audit verify ./export --key origin.pub --checkpoint today.checkpoint
    """


@audit.command("checkpoint")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file instead.")
@click.pass_obj
def checkpoint(context: Context, out: Path | None) -> None:
    """Print a signed checkpoint of the log as it stands.

    \b
    Example:
      lagrum audit checkpoint --out /mnt/witness/$(date -u +%F).checkpoint
    """
    with context.open_store() as store:
        text, size = store.audit.checkpoint(), store.audit.size
    if out is not None:
        out.write_text(text, encoding="utf-8")
    document = {"size": size, "checkpoint": text, "path": None if out is None else str(out)}
    emit(context, document, lambda: click.echo(text if out is None else f"{size} entries: {out}", nl=out is not None))


@audit.command("verify")
@click.argument("directory", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--key", "key_path", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The pinned public key."
)
@click.option(
    "--checkpoint",
    "checkpoint_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An older checkpoint: the log must still contain all that it covers.",
)
@click.pass_obj
def verify(context: Context, directory: Path | None, key_path: Path | None, checkpoint_path: Path | None) -> int:
    """Verify the log in DIRECTORY (default: the store's own) offline.

    Needs no secret: only the log's files and the public key that was pinned when the store was made
    (`DIR/audit/origin.pub`; give your own copy with --key, or the check proves nothing about who signed). Every erasure
    that the log tells of must have its certificate, in one chain without a gap.

    \b
    Examples:
      lagrum audit verify
      lagrum audit verify ./export --key origin.pub --checkpoint 2026-11-01.checkpoint

    \b
    Exit codes:
      0  the log is whole, signed by that key, and extends the checkpoint
      1  it is not; each finding is one line
    """
    from store.audit.verify import verify_directory
    from store.retention.certificate_check import check_log

    place = directory or context.require_root() / "audit"
    key = (key_path or place / "origin.pub").read_text(encoding="utf-8").strip()
    held = checkpoint_path.read_text(encoding="utf-8") if checkpoint_path else None
    problems = verify_directory(place, key, held) or check_log(place, key)
    document: dict[str, Any] = {"ok": not problems, "directory": str(place), "problems": problems}

    def render() -> None:
        for problem in problems:
            click.echo(problem)
        if not problems:
            click.echo("sound: the log is whole" + (" and extends the checkpoint" if held else ""))

    emit(context, document, render)
    return 1 if problems else 0


@audit.command("export")
@click.argument("directory", type=click.Path(path_type=Path))
@click.pass_obj
def export(context: Context, directory: Path) -> None:
    """Copy the log to DIRECTORY, for verification elsewhere.

    The copy is what the store holds: entries that name a target stay encrypted, and no key is among the files. A fresh
    checkpoint lies beside them.

    \b
    Example:
      lagrum audit export ./export && lagrum audit verify ./export --key origin.pub
    """
    from store.audit.extent import export as export_log

    if directory.exists():
        raise ConfigurationError("the folder exists already", hint="name a new one")
    with context.open_store() as store:
        text, size = store.audit.checkpoint(), store.audit.size
        export_log(store.layout.audit, directory)
    (directory / "checkpoint").write_text(text, encoding="utf-8")
    document = {"size": size, "directory": str(directory)}
    emit(context, document, lambda: click.echo(f"{size} entries: {directory}"))


@audit.command("completeness")
@click.argument("task")
@click.option("--thorough", is_flag=True, help="Read every record of the window instead of asking the index.")
@acting
def completeness(way: Way, task: str, thorough: bool) -> int:
    """Verify that the delivery of TASK has every record that the order reaches, and nothing else.

    For auditors. The service searches again over what was stored when the result was made, and compares with the
    evidence that the log names: which parts there were, what they held, how many records of each day left and what
    they said. The answer is numbers and days, never a record. Days that were erased or corrected since are counted
    apart.

    \b
    Example:
      lagrum audit completeness SE-T-5d0a0f6c1b2e3d4f --as auditor-1.key.json

    \b
    Exit codes:
      0  complete, or complete as far as it can still be compared
      1  something disagrees; each finding is one line
    """
    with way.open() as client:
        report: dict[str, Any] = client.post(f"/v1/audit/completeness/{task}?thorough={str(thorough).lower()}")

    def render() -> None:
        for problem in report["problems"]:
            click.echo(problem)
        apart = sum(report["days_not_comparable"].values())
        records, days = counted(report["records"], "record"), counted(report["days"], "day")
        click.echo(f"{report['verdict']}: {records}, {days} compared, {apart} not")

    emit(way.context, report, render)
    return 1 if report["problems"] else 0


@audit.command("case")
@click.argument("case")
@click.option("--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@click.option("--witnessed", type=click.IntRange(1), metavar="SIZE", help="Connect a kept checkpoint of that size.")
@acting
def export_case(way: Way, case: str, output: Path, witnessed: int | None) -> None:
    """Export every entry that names CASE (an authorisation or a task), each with its proof, to a file.

    For auditors. Sealed parts stay sealed; the file verifies offline.

    \b
    Example:
      lagrum audit case SE-T-5d0a0f6c1b2e3d4f --output case.json --as auditor-1.key.json
    """
    from store.files import write_atomic

    refuse_existing(output)
    query = "" if witnessed is None else f"?witnessed={witnessed}"
    with way.open() as client:
        data = client.download(f"/v1/audit/cases/{case}{query}")
    write_atomic(output, data)
    emit(way.context, {"case": case, "path": str(output)}, lambda: click.echo(str(output)))


@audit.command("verify-case")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", "key_path", required=True, type=FILE, help="The pinned public key: your own copy.")
@click.option("--checkpoint", "checkpoint_path", type=FILE, help="A checkpoint that somebody else kept.")
@click.pass_obj
def verify_case(context: Context, file: Path, key_path: Path, checkpoint_path: Path | None) -> int:
    """Verify an exported case offline: every entry is in the log, as it is, at its place.

    That no entry is missing shows only the whole log: `lagrum audit verify`.

    \b
    Example:
      lagrum audit verify-case case.json --key origin.pub --checkpoint 000000001234.checkpoint

    \b
    Exit codes:
      0  every entry is in the log
      1  one is not, or the file is another
    """
    from store.audit.bundle import verify_bundle
    from store.clock import to_text

    kept = checkpoint_path.read_text(encoding="utf-8") if checkpoint_path else None
    leaves = verify_bundle(file.read_bytes(), key_path.read_text(encoding="utf-8"), kept)
    case = str(json.loads(file.read_bytes())["case"])
    entries = [{"index": leaf.index, "time": to_text(leaf.time_us), "kind": leaf.kind} for leaf in leaves]

    def render() -> None:
        click.echo(f"case {case}")
        for entry in entries:
            click.echo(f"{entry['index']:>8}  {entry['time']}  {entry['kind']}")

    emit(context, {"ok": True, "case": case, "entries": entries}, render)
    return 0


def register(group: click.Group) -> None:
    """Add `audit`."""
    audit.add_command(witness)
    group.add_command(audit)
