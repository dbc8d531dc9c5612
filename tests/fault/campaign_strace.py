"""A system call fails: EIO or ENOSPC at every Nth call of a name, of a whole command, SQLite's and Arrow's included.

strace counts the calls of each thread: at N, every thread that comes so far has one failure.
After each run: the command says clearly what happened or succeeds, the store is whole without the fault, and the same
command succeeds.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from tests.fault.nursery import Nursery, Template
from tests.fault.operations import OPERATIONS, Operation
from tests.fault.report import Report

FAULTS = {
    "write": ("EIO", "ENOSPC", "ENOSPC+"),
    "pwrite64": ("EIO", "ENOSPC", "ENOSPC+", "EIO!"),
    "fsync": ("EIO", "EIO+", "EIO!"),
    "fdatasync": ("EIO", "EIO+", "EIO!", "EIO+!"),
    "rename": ("EIO", "ENOSPC"),
    "openat": ("EIO", "ENOSPC"),
    "unlink": ("EIO",),
    "rmdir": ("EIO",),
    "ftruncate": ("EIO",),
    "mkdir": ("EIO", "ENOSPC"),
}
"""The errors of each call. After a + every call from the Nth on fails; after a ! the process is gone at its end without
closing anything."""
STEPS_MAX = 2000


class Campaign:
    """Runs operations with faults in `directory`."""

    def __init__(self, directory: Path, nursery: Nursery, template: Template) -> None:
        self._directory, self._nursery, self._template = directory, nursery, template
        self._log = directory / "strace.log"

    def inject(self, work: str, call: str, fault: str, step: int) -> tuple[str, str, list[str]] | None:
        """Return (case, outcome, problems) of one run; None when the operation has no such step."""
        operation = Operation.ready(work, self._template, self._directory / "run")
        errno = fault.rstrip("+!")
        when = f"{step}+" if "+" in fault else str(step)
        options = ["-y", "-e", f"trace={call}", "-e", f"inject={call}:error={errno}:when={when}"]
        way = ("abrupt", operation.clock, work) if "!" in fault else (work, operation.clock)
        child = self._nursery.trace(*way, operation.root, *operation.arguments, options=options, log=self._log)
        injected = [line for line in self._log.read_text().split("\n") if "(INJECTED)" in line]
        if not injected:
            return None
        case = f"{work} {call} {fault} {step}: {_short(injected[0])}"
        mute = any(re.search(r"write\([12]<", line) for line in injected)
        problems = operation.judge(self._nursery, child, mute=mute)
        return case, f"{work}: {'succeeded' if child.code == 0 else 'said no'}", problems

    def count(self, work: str) -> dict[str, int]:
        """Return how many calls of each name the busiest thread of an operation makes."""
        operation = Operation.ready(work, self._template, self._directory / "run")
        self._nursery.trace(
            work,
            operation.clock,
            operation.root,
            *operation.arguments,
            options=["-e", f"trace={','.join(FAULTS)}"],
            log=self._log,
        )
        found = Counter(re.findall(r"^(\d+) +(\w+)\(", self._log.read_text(), re.MULTILINE))
        return {call: max((n for (_, other), n in found.items() if other == call), default=0) for call in FAULTS}

    def every_step(
        self, report: Report, works: Sequence[str] = OPERATIONS, calls: Sequence[str] = tuple(FAULTS)
    ) -> None:
        """Fail every call of these names in these operations."""
        for work, call in product(works, calls):
            for fault in FAULTS[call]:
                for step in range(1, STEPS_MAX):
                    found = self.inject(work, call, fault, step)
                    if found is None:
                        report.more.setdefault("steps", {})[f"{work} {call} {fault}"] = step - 1
                        break
                    report.note(*found)

    def sample(self, report: Report, runs: int, seed: int) -> None:
        """Fail `runs` calls of each operation, chosen by the seed."""
        for work in OPERATIONS:
            counts = self.count(work)
            chance = random.Random(f"{seed} {work}")
            cases = [(call, fault) for call, faults in FAULTS.items() if counts[call] for fault in faults]
            for call, fault in _drawn(chance, cases, runs):
                found = self.inject(work, call, fault, chance.randint(1, counts[call]))
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
