"""Decisions about a drop folder, without touching it: what a file is, whether it is ready, which numbers are missing.

The conventions of those who put files there (SFTP servers, switches, shell scripts):

* a name that begins with `_` or `.`, or ends like a temporary one, is still being written and gets its name later;
* without a temporary name, a file is ready when its size and time have not changed for a while (`settle_s`);
* `NAME.done` (or `STEM.done`) says that NAME is complete; `NAME.md5` and `NAME.sha256` hold its checksum.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from schemas.errors import ConfigurationError

DONE: Final = "done"
FAILED: Final = "failed"
REASON_SUFFIX: Final = ".reason"
CHECKSUMS: Final = {".md5": "md5", ".sha256": "sha256"}
COMPANIONS: Final = (".done", *CHECKSUMS)
TEMPORARY: Final = (
    ".tmp",
    ".temp",
    ".part",
    ".partial",
    ".filepart",
    ".crdownload",
    ".inprogress",
    ".writing",
    ".upload",
    ".swp",
    "~",
)
NAME_BYTES_MAX: Final = 255
"""So long may a name be on the file systems of Linux."""
MISSING_MAX: Final = 10_000
"""So many missing numbers of one sequence are remembered by themselves."""
_DIGITS_MAX: Final = 18
_DAY_US: Final = 86_400_000_000
_DIGEST: Final = re.compile(r"\b([0-9a-fA-F]{32}|[0-9a-fA-F]{64})\b")


class Verdict(StrEnum):
    """What to do with a name in the folder."""

    IGNORE = "ignore"  # no delivery: a companion, a note of ours, a temporary name
    WAIT = "wait"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class WatchRules:
    """How a drop folder is read.

    `require` names a companion (`done`, `md5`, `sha256`) without which nothing is taken. `sequence` finds the group
    `seq` in a file's name, and perhaps `group`. Files in done/ are deleted `keep_done_days` after their receipt; None
    keeps them.
    """

    settle_s: float = 5.0
    require: str | None = None
    sequence: re.Pattern[str] | None = None
    keep_done_days: int | None = 7

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigurationError: one cannot work.
        """
        if self.sequence is not None and "seq" not in self.sequence.groupindex:
            raise ConfigurationError("the sequence pattern has no group (?P<seq>[0-9]+)")
        if self.require is not None and f".{self.require}" not in COMPANIONS:
            raise ConfigurationError("a companion is done, md5 or sha256")


def is_delivery(name: str) -> bool:
    """Tell whether a name may be a delivery's: none of those that are temporary, companions or notes."""
    return not name.startswith(("_", ".")) and not name.lower().endswith((*TEMPORARY, *COMPANIONS, REASON_SUFFIX))


def companions(name: str, suffix: str) -> tuple[str, ...]:
    """Return the names that a companion of a file may have: NAME.done, and STEM.done."""
    stem, dot, _ = name.rpartition(".")
    return (name + suffix, stem + suffix) if dot and stem else (name + suffix,)


def suffixed(name: str, suffix: str, *, spare_bytes: int = 0) -> str:
    """Return a name with a suffix, cut so that a file may have it; `spare_bytes` are left for more."""
    room = NAME_BYTES_MAX - spare_bytes - len(os.fsencode(suffix))
    return os.fsdecode(os.fsencode(name)[:room]) + suffix


def judge(name: str, *, still_s: float, has_done: bool, has_required: bool, rules: WatchRules) -> Verdict:
    """Decide about one name; `still_s` is for how long its size and time have not changed."""
    if not is_delivery(name):
        return Verdict.IGNORE
    if not has_required:
        return Verdict.WAIT
    return Verdict.READY if has_done or still_s >= rules.settle_s else Verdict.WAIT


def checksum(text: str, suffix: str) -> str | None:
    """Return the digest that a checksum file holds, in small letters; None when it holds none."""
    length = 32 if suffix == ".md5" else 64
    found = [one for one in _DIGEST.findall(text) if len(one) == length]
    return found[0].lower() if found else None


def is_due(received_us: int, now_us: int, keep_done_days: int | None) -> bool:
    """Tell whether a file that was received then is deleted now."""
    return keep_done_days is not None and now_us - received_us >= keep_done_days * _DAY_US


@dataclass(frozen=True, slots=True)
class Sequence:
    """The numbers of one series of files: the newest, and which before it have not come."""

    last: int | None = None
    missing: frozenset[int] = field(default_factory=frozenset)
    lost: int = 0
    """Missing numbers beyond those that are remembered."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {"last": self.last, "missing": sorted(self.missing), "lost": self.lost}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Sequence:
        """Return the sequence of `as_dict`'s data."""
        return cls(body["last"], frozenset(body["missing"]), body["lost"])


@dataclass(frozen=True, slots=True)
class Step:
    """What one more file says: how many numbers are missing now that were not known to be, or that it fills a gap."""

    sequence: Sequence
    gap: tuple[int, int] | None = None
    """First and last missing number, inclusive; the last is below the first where the numbers wrapped in between."""
    gap_files: int = 0
    fills: bool = False


def span_of(digits: int, before: Sequence) -> int | None:
    """Return after how many numbers a series of file names begins anew; None: it never does.

    Its newest number says too how many digits there are: where names are not padded, 7 that comes again after 12 is no
    new beginning.
    """
    digits = max(digits, len(str(before.last or 0)))
    return 10**digits if digits <= _DIGITS_MAX else None


def follow(before: Sequence, number: int, span: int | None) -> Step:
    """Take one number into a sequence that begins anew after `span` numbers, or never.

    A number far below the newest is the series beginning anew after its last possible one.
    """
    last = before.last
    if last is None:
        return Step(Sequence(number))
    if number in before.missing:
        return Step(Sequence(last, before.missing - {number}, before.lost), fills=True)
    ahead = number - last if span is None else (number - last) % span
    if ahead <= 0 or (span is not None and ahead > span // 2):
        return Step(before)  # older than the newest, and not missed: it came before

    def after_last(step: int) -> int:
        return last + step if span is None else (last + step) % span

    missed = [after_last(step) for step in range(1, min(ahead, MISSING_MAX + 1))]
    kept = frozenset([*before.missing, *missed][-MISSING_MAX:])
    lost = before.lost + len(before.missing) + (ahead - 1) - len(kept)
    after = Sequence(number, kept, lost)
    if ahead == 1:
        return Step(after)
    return Step(after, (after_last(1), after_last(ahead - 1)), ahead - 1)
