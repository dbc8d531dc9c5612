"""What a campaign found, and the file that it is written to."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAILURES_KEPT = 200


@dataclass
class Report:
    """Counts of one campaign; a failure is a case in which the store broke its word, and how.

    A control is `expected` to fail: it shows that the campaign can find something.
    """

    campaign: str
    expected: bool = True
    runs: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    more: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def note(self, case: str, outcome: str, problems: list[str]) -> None:
        """Count one run."""
        self.runs += 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        if problems:
            self.failed += 1
            if len(self.failures) < FAILURES_KEPT:
                self.failures.append({"case": case, "problems": problems[:10]})
            if self.expected:
                say(f"{self.campaign}: {case}: {problems[:3]}")
        if self.runs % 50 == 0:
            say(f"{self.campaign}: {self.runs} runs, {self.failed} failed, {self.seconds:.0f} s")

    @property
    def is_as_expected(self) -> bool:
        """Whether it ran, and the store kept its word; of a control, whether it did not."""
        return self.runs > 0 and (self.failed == 0) is self.expected

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began

    def as_dict(self) -> dict[str, Any]:
        names = ("campaign", "runs", "failed", "outcomes", "more", "failures")
        return {name: getattr(self, name) for name in names} | {"seconds": round(self.seconds, 1)}

    def write(self, directory: Path) -> Path:
        """Write the report as `torture-CAMPAIGN.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"torture-{self.campaign}.json"
        path.write_text(json.dumps(self.as_dict(), indent=1) + "\n")
        return path


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def complaint(code: int, stderr: str) -> list[str]:
    """Return what is wrong with the way in which a command ended."""
    problems = []
    if code not in (0, 1, 2):
        problems.append(f"it ended with {code}")
    if code and "error: " not in stderr:
        problems.append("it failed without an error")
    for word in ("Traceback", "internal error", "Exception ignored"):
        if word in stderr:
            line = next(line for line in stderr.split("\n") if word in line)
            problems.append(f"its stderr says: {line if word != 'Traceback' else stderr.strip().split(chr(10))[-1]}")
    return problems
