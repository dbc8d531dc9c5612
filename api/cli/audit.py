"""`lagrum audit`: the log that proves itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from api.cli.context import Context
from api.cli.output import emit
from api.cli.witness import witness
from schemas.errors import ConfigurationError


@click.group("audit")
def audit() -> None:
    """Checkpoint, verify and export the audit log.

    The log is a Merkle tree (RFC 6962). A checkpoint is a signed statement of its size and root (C2SP tlog-checkpoint).
    Keep checkpoints off this machine: whoever holds an older one can prove that nothing was removed since. Reading what
    the entries say is for auditors, through the service.
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
    from store.certificate_check import check_log

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
    if directory.exists():
        raise ConfigurationError("the folder exists already", hint="name a new one")
    with context.open_store() as store:
        text, size = store.audit.checkpoint(), store.audit.size
        shutil.copytree(store.root / "audit", directory)
    (directory / "checkpoint").write_text(text, encoding="utf-8")
    document = {"size": size, "directory": str(directory)}
    emit(context, document, lambda: click.echo(f"{size} entries: {directory}"))


def register(group: click.Group) -> None:
    """Add `audit`."""
    audit.add_command(witness)
    group.add_command(audit)
