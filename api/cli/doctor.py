"""`lagrum doctor`: the machine, the root and the clock, as the service will find them."""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from api.cli.context import Context
from api.cli.output import bytes_text, counted, emit, show_table
from schemas.errors import LagrumError
from store.clock import to_datetime
from store.retention.clocktrust import WORDS
from store.retention.retention_status import status

FREE_BYTES_MIN: Final = 5 << 30
OPEN_FILES_MIN: Final = 1024
_HEALTH: Final = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_ANSWER_BYTES_MAX: Final = 65_536
SANE_YEARS: Final = range(2026, 2100)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `state` is ok, warning or wrong."""

    check: str
    state: str
    text: str


@click.command("doctor")
@click.pass_obj
def doctor(context: Context) -> int:
    """Check the machine, the root and the clock, and say what to mend.

    Looks and changes nothing. Run it as the service's user, before the first start and whenever something is odd.

    \b
    Example:
      lagrum doctor

    \b
    Exit codes:
      0  nothing is wrong; warnings may stand
      1  something is wrong
    """
    findings = list(examine(context))
    wrong = sum(finding.state == "wrong" for finding in findings)
    document = {"ok": wrong == 0, "findings": [asdict(finding) for finding in findings]}
    columns = [("check", "check"), ("state", "state"), ("text", "finding")]
    emit(context, document, lambda: show_table([asdict(finding) for finding in findings], columns))
    return 1 if wrong else 0


def register(group: click.Group) -> None:
    """Add `doctor`."""
    group.add_command(doctor)


def examine(context: Context) -> Iterator[Finding]:
    """Yield the findings; a check that cannot run is a finding too."""
    yield _python()
    yield _clock(context)
    yield _open_files()
    yield _core_dumps()
    if context.root is None:
        yield Finding("root", "warning", "no store is named: give --root DIR or set LAGRUM_ROOT")
        return
    root = context.root
    if not (root / "lagrum.json").is_file():
        yield Finding("root", "wrong", "there is no store; `lagrum init DIR` makes one")
        return
    yield _folder(root)
    yield from _secrets(root)
    yield from _custodians(root)
    yield from _settings(root)
    yield _space(root)
    yield from _immutable(root)
    yield _service(root)
    yield from _open(context)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", "ok" if sys.version_info >= (3, 11) else "wrong", f"{version}; 3.11 or newer is needed")


def _clock(context: Context) -> Finding:
    now = to_datetime(context.clock.now_us())
    text = f"{now:%Y-%m-%dT%H:%M:%SZ}; retention is counted with it, so keep it synchronised"
    return Finding("clock", "ok" if now.year in SANE_YEARS else "wrong", text)


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft == resource.RLIM_INFINITY or soft >= OPEN_FILES_MIN
    return Finding("open files", "ok" if enough else "warning", f"limit {soft}; {OPEN_FILES_MIN} or more is good")


def _core_dumps() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    text = "off" if soft == 0 else "on: a crash would write keys to the disk; set the limit `core` to 0"
    return Finding("core dumps", "ok" if soft == 0 else "warning", text)


def _folder(root: Path) -> Finding:
    found = root.stat()
    if found.st_uid != os.geteuid():
        return Finding("root", "wrong", "belongs to another user; only the service's user may read keys")
    if found.st_mode & 0o077:
        return Finding("root", "wrong", "others may enter it; chmod 700")
    return Finding("root", "ok", "belongs to this user alone")


def _secrets(root: Path) -> Iterator[Finding]:
    for path in sorted((root / "keys").glob("*.key")):
        found = path.lstat()
        sound = stat.S_ISREG(found.st_mode) and not found.st_mode & 0o177 and found.st_uid == os.geteuid()
        text = "mode 0600, this user's" if sound else "must be a file of this user with mode 0600"
        yield Finding(path.name, "ok" if sound else "wrong", text)


def _custodians(root: Path) -> Iterator[Finding]:
    """Whoever has both key files is two persons; `init` leaves them together."""
    from api.people.bootstrap import FIRST_CUSTODIANS, default_folder, key_file_path

    folder = default_folder(root)
    if any(os.path.lexists(key_file_path(folder, person_id)) for person_id in FIRST_CUSTODIANS):
        text = f"their key files lie in {folder}: give each to its person, away from this machine, and remove it"
        yield Finding("custodians", "warning", text)


def _settings(root: Path) -> Iterator[Finding]:
    from api.settings import load
    from api.tls import is_shared_key

    try:
        chosen = load(root)
        if not (chosen.witness_directory or chosen.witness_url):
            text = (
                "none keeps the log's checkpoints elsewhere, so a cut at its end leaves no trace; set one in [witness]"
            )
            yield Finding("witness", "warning", text)
        elif chosen.witness_directory:
            there = (root / chosen.witness_directory).is_dir()
            yield Finding("witness", "ok" if there else "warning", "its folder is there" if there else "no such folder")
        named = chosen.tls_key
        if named:
            shared = is_shared_key(root / named)
            text = "others may read it, and `lagrum serve` refuses it; chmod 600" if shared else "is its owner's alone"
            yield Finding("TLS key", "wrong" if shared else "ok", text)
    except OSError as error:
        yield Finding("TLS key", "wrong", f"cannot be looked at: {error.strerror}")
    except LagrumError as error:
        yield Finding("settings", "wrong", error.message)


def _space(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    return Finding("disk", "ok" if free >= FREE_BYTES_MIN else "warning", f"{bytes_text(free)} free")


def _immutable(root: Path) -> Iterator[Finding]:
    from store import files
    from store.store import IMMUTABLE

    if IMMUTABLE not in (root / "lagrum.json").read_text(encoding="ascii"):
        return
    probe = root / "run" / f"probe-{secrets.token_hex(6)}"
    files.create_private(probe)
    allowed = files.protect(probe)
    files.unlink_durable(probe)
    text = "can be set here" if allowed else "the file system, or a missing CAP_LINUX_IMMUTABLE, does not allow it"
    yield Finding("immutable parts", "ok" if allowed else "warning", text)


def _service(root: Path) -> Finding:
    path = root / "run" / "lagrum.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            connection.connect(str(path))
            connection.sendall(_HEALTH)
            answer = b"".join(iter(lambda: connection.recv(_ANSWER_BYTES_MAX), b""))[:_ANSWER_BYTES_MAX]
        except OSError:
            return Finding("service", "warning", "does not answer on its unix socket; `lagrum serve` starts it")
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 200 "):
        return Finding("service", "ok", "answers on its unix socket")
    try:
        told = json.loads(body)
        return Finding("service", "wrong", f"takes nothing: {told['detail']}; {told['hint']}")
    except (ValueError, KeyError, TypeError):
        return Finding("service", "wrong", "does not answer as a service does; restart it")


def _open(context: Context) -> Iterator[Finding]:
    try:
        with context.open_store() as store:
            copies = len(store.keyring.replicas)
            text = (
                counted(copies, "replica") if copies else "a single copy; `lagrum keys replicate DIR` registers another"
            )
            yield Finding("keyring", "ok" if copies else "warning", text)
            looked = status(store)
            if looked.clock.reason is None:
                yield Finding("clock guard", "ok", "the clock is trusted")
            else:
                text = f"{WORDS[looked.clock.reason]}; nothing expires until it is mended or two custodians confirm it"
                yield Finding("clock guard", "wrong", text)
            due = len(looked.due)
            text = f"past their period: {counted(due, 'partition')}; `lagrum retention expire` erases them"
            yield Finding("retention", "warning" if due else "ok", text if due else "nothing is due")
    except LagrumError as error:
        yield Finding("store", "wrong", "; ".join(filter(None, (error.message, error.hint))))
