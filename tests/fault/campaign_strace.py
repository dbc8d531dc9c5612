"""A system call fails: EIO or ENOSPC at every Nth call of a kind, of a whole command, SQLite's and Arrow's included.

strace counts by thread and call: at N, every thread that comes so far has one failure of each of the kind's calls.
After each run: the command says clearly what happened or succeeds, the store is whole without the fault, and the same
command succeeds.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.fault.nursery import Nursery, Template
from tests.fault.operations import OPERATIONS, Operation
from tests.fault.report import Report

KINDS = {
    "write": "write,pwrite64,writev,pwritev",
    "sync": "fsync,fdatasync",
    "rename": "rename,renameat,renameat2",
    "open": "openat",
    "unlink": "unlink,unlinkat,rmdir",
    "truncate": "ftruncate",
    "mkdir": "mkdir,mkdirat",
}
FAULTS = {
    "write": ("EIO", "ENOSPC", "ENOSPC+"),
    "sync": ("EIO", "EIO+"),
    "rename": ("EIO", "ENOSPC"),
    "open": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "truncate": ("EIO",),
    "mkdir": ("EIO", "ENOSPC"),
}
"""A + is a disk that fails from the Nth call on."""
STEPS_MAX = 2000


class Campaign:
    """Runs operations with faults in `directory`."""

    def __init__(self, directory: Path, nursery: Nursery, template: Template) -> None:
        self._directory, self._nursery, self._template = directory, nursery, template
        self._log = directory / "strace.log"

    def inject(self, work: str, kind: str, fault: str, step: int) -> tuple[str, str, list[str]] | None:
        """Return (case, outcome, problems) of one run; None when the operation has no such step."""
        operation = Operation.ready(work, self._template, self._directory / "run")
        calls, errno = KINDS[kind], fault.rstrip("+")
        when = f"{step}+" if fault.endswith("+") else str(step)
        options = ["-y", "-e", f"trace={calls}", "-e", f"inject={calls}:error={errno}:when={when}"]
        arguments = (operation.root, *operation.arguments)
        child = self._nursery.trace(work, operation.clock, *arguments, options=options, log=self._log)
        injected = [line for line in self._log.read_text().split("\n") if "(INJECTED)" in line]
        if not injected:
            return None
        case = f"{work} {kind} {fault} {step}: {_short(injected[0])}"
        mute = any(re.search(r"write\([12]<", line) for line in injected)
        problems = operation.judge(self._nursery, child, mute=mute)
        return case, f"{work}: {'succeeded' if child.code == 0 else 'said no'}", problems

    def count(self, work: str) -> dict[str, int]:
        """Return how many calls of each kind the busiest thread of an operation makes."""
        operation = Operation.ready(work, self._template, self._directory / "run")
        calls = ",".join(KINDS.values())
        self._nursery.trace(
            work,
            operation.clock,
            operation.root,
            *operation.arguments,
            options=["-e", f"trace={calls}"],
            log=self._log,
        )
        found: Counter[tuple[str, str]] = Counter()
        for thread, call in re.findall(r"^(\d+) +(\w+)\(", self._log.read_text(), re.MULTILINE):
            found[thread, next(kind for kind, names in KINDS.items() if call in names.split(","))] += 1
        return {kind: max((n for (_, other), n in found.items() if other == kind), default=0) for kind in KINDS}

    def every_step(self, report: Report, works: tuple[str, ...] = OPERATIONS) -> None:
        """Fail every call of every kind in every operation."""
        for work in works:
            for kind, faults in FAULTS.items():
                for fault in faults:
                    for step in range(1, STEPS_MAX):
                        found = self.inject(work, kind, fault, step)
                        if found is None:
                            report.more.setdefault("steps", {})[f"{work} {kind} {fault}"] = step - 1
                            break
                        report.note(*found)

    def sample(self, report: Report, runs: int, seed: int) -> None:
        """Fail `runs` calls of each operation, chosen by the seed."""
        for work in OPERATIONS:
            counts = self.count(work)
            chance = random.Random(f"{seed} {work}")
            cases = [(kind, fault) for kind, faults in FAULTS.items() if counts[kind] for fault in faults]
            for kind, fault in _drawn(chance, cases, runs):
                found = self.inject(work, kind, fault, chance.randint(1, counts[kind]))
                if found is not None:
                    report.note(*found)


def _drawn(chance: random.Random, cases: list[tuple[str, str]], runs: int) -> Iterator[tuple[str, str]]:
    for at in range(runs):
        if at % len(cases) == 0:
            chance.shuffle(cases)
        yield cases[at % len(cases)]


def _short(line: str) -> str:
    """Return a line of the trace without the bytes of a write."""
    return re.sub(r'"[^"]*"\.*', '"…"', line, count=1)[:160] if "write" in line else line[:200]
