"""What one run found wrong with single files: all are counted, the first ones are kept with their names.

A file of which every record was rejected is durable in the quarantine, and yet something is wrong with it: most likely
it is of another format. Only records that are past their period, or of a kind that is not stored, are rejected in the
ordinary course of things.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.rejects import RejectReason

FINDINGS_MAX: Final = 20
"""So many are told; who names a wrong format does so for every file of a folder."""

ORDINARY: Final = frozenset({RejectReason.EXPIRED.value, RejectReason.UNSUPPORTED.value})
"""Reasons that say nothing against a file."""


def took_nothing(records: int, rejected: int, reasons: Mapping[str, int]) -> bool:
    """Tell whether every record of a delivery was rejected, and not in the ordinary course of things."""
    return 0 < records == rejected and not ORDINARY.issuperset(reasons)


@dataclass(slots=True)
class Findings:
    """Files and what is wrong with each; names are for who asked on a terminal, and never for a log."""

    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        """Count a file, and keep it if it is among the first."""
        self.count += 1
        if len(self.first) < FINDINGS_MAX:
            self.first.append((printable(name), reason))

    def lines(self) -> Iterator[str]:
        """Yield a line for each of the first, and one for all others."""
        for name, reason in self.first:
            yield f"{name}: {reason}"
        if self.count > len(self.first):
            yield f"and {self.count - len(self.first):,} more"


def printable(name: str) -> str:
    """Return a file's name as a terminal may show it: whatever it holds, it ends no line and moves no cursor."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in name)
