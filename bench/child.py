"""Run a command and tell what it cost.

The command is a child of a small process of its own: the kernel counts a parent's memory as its child's until the child
has begun, so a large parent would be measured instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_WRAPPER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
out = process.stdout.read()
_, status, usage = os.wait4(process.pid, 0)
cost = {"seconds": time.perf_counter() - started, "exit": os.waitstatus_to_exitcode(status),
        "cpu_seconds": usage.ru_utime + usage.ru_stime, "memory_bytes": usage.ru_maxrss * 1024}
sys.stdout.write(json.dumps(cost) + "\\n" + out.decode())
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a command took: wall and processor seconds, peak resident bytes."""

    seconds: float
    cpu_seconds: float
    memory_bytes: int
    output: str


def run(command: Sequence[str]) -> Cost:
    """Run the command to its end.

    Raises:
        RuntimeError: it failed.
    """
    return ended(begin(command), command)


def begin(command: Sequence[str], stdin: int | None = None) -> subprocess.Popen[bytes]:
    """Start the command; it is the one child of the process that is returned, and has its standard input."""
    arguments = [sys.executable, "-S", "-c", _WRAPPER, *command]
    return subprocess.Popen(arguments, stdin=stdin, stdout=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes], command: Sequence[str]) -> Cost:
    """Wait for a command's end and tell what it cost.

    Raises:
        RuntimeError: it failed.
    """
    with process:
        assert process.stdout is not None
        head, _, output = process.stdout.read().decode().partition("\n")
    if process.returncode != 0 or not head:
        raise RuntimeError(f"{command[0]} could not be measured")
    cost = json.loads(head)
    if cost["exit"] != 0:
        raise RuntimeError(f"{command[0]} ended with {cost['exit']}")
    return Cost(cost["seconds"], cost["cpu_seconds"], cost["memory_bytes"], output)
