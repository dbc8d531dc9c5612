"""Programs that write records, run on loopback by the tests; each is ended by who started it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest


def needs(**packages: str) -> None:
    """Skip where programs are not installed; `packages` says which Debian package brings each."""
    missing = sorted({package for program, package in packages.items() if find(program) is None})
    if missing:
        pytest.skip(f"needs the Debian packages {', '.join(missing)}")


def find(program: str) -> str | None:
    """Return a program's path; system programs lie where users do not look."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/lib/kannel/test")


@contextlib.contextmanager
def started(command: Sequence[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program with its children in a process group of its own, and end that group."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=environment(),
        )
    try:
        yield process
    finally:
        for number, wait_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(wait_s)
                break


def isolated(script: Path, *given: object, needs_root: bool = False) -> list[str]:
    """Return the command that runs a script in a network namespace of its own; skip where there can be none."""
    unshare = [find("unshare") or "unshare", "-n"] if os.getuid() == 0 else ["unshare", "-rn"]
    probe = [*unshare, "sh", "-c", "ip link set lo up" + (" && nft list tables && conntrack -L" * needs_root)]
    done = subprocess.run(probe, capture_output=True, check=False, env=environment())
    if done.returncode:
        pytest.skip("needs network namespaces" + (" with netfilter" * needs_root))
    return [*unshare, "sh", str(script), *map(str, given)]


def environment() -> dict[str, str]:
    """Return the environment with the folders of system programs in its path."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
