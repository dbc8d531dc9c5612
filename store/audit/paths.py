"""Where the log keeps what: pure path functions, each with its parser.

origin.pub                          the pinned public key (a vkey, one line)
checkpoints                         every checkpoint, in order, each followed by an empty line
segments/000000000000.2026-11.leaves  leaves from that index on, of one calendar month, one a line
segments/000000000000.2026-11.kept  the same of a segment that expired: only the leaves that outlive it
nodes                               complete tree nodes of 32 octets, in the order of completion (re-derivable)
epochs/000001.key                   the private key of the epoch in force, sealed under the keyring
cosigned                            the newest checkpoint with the cosignature of the witness, where there is one
distrusted                          why the log is not taken any more, where somebody found it cut or changed
lock                                taken by whoever appends
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

_SEGMENT: Final = re.compile(r"([0-9]{12})\.([0-9]{4})-([0-9]{2})\.(leaves|kept)")
_EPOCH: Final = re.compile(r"([0-9]{6})\.key")


def origin_path(directory: Path) -> Path:
    """Return the path of the pinned origin key."""
    return directory / "origin.pub"


def checkpoints_path(directory: Path) -> Path:
    """Return the path of the checkpoints."""
    return directory / "checkpoints"


def nodes_path(directory: Path) -> Path:
    """Return the path of the tree nodes."""
    return directory / "nodes"


def cosigned_path(directory: Path) -> Path:
    """Return the path of the newest checkpoint that the witness cosigned."""
    return directory / "cosigned"


def distrusted_path(directory: Path) -> Path:
    """Return the path of the word that the log was found cut or changed."""
    return directory / "distrusted"


def expiring_path(directory: Path) -> Path:
    """Return where what is left of a segment is written before it takes its place."""
    return directory / "expiring"


def expired_path(directory: Path) -> Path:
    """Return where a segment that expired is overwritten."""
    return directory / "expired"


def lock_path(directory: Path) -> Path:
    """Return the path of the lock."""
    return directory / "lock"


def segments_path(directory: Path) -> Path:
    """Return the directory of the segments."""
    return directory / "segments"


def epochs_path(directory: Path) -> Path:
    """Return the directory of the sealed epoch keys."""
    return directory / "epochs"


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """Which leaves a segment holds: those from index `first` on, all of one calendar month (its first day)."""

    first: int
    month: date
    expired: bool = False

    def path(self, directory: Path) -> Path:
        """Return the segment's path under the log's directory."""
        return segments_path(directory) / f"{self.first:012d}.{self.month:%Y-%m}.{'kept' if self.expired else 'leaves'}"

    @classmethod
    def parse(cls, name: str) -> SegmentName | None:
        """Return what a file name says, or None if it names no segment."""
        match = _SEGMENT.fullmatch(name)
        if match is None or not 1 <= int(match[3]) <= 12 or int(match[2]) == 0:
            return None
        return cls(int(match[1]), date(int(match[2]), int(match[3]), 1), match[4] == "kept")


def epoch_path(directory: Path, number: int) -> Path:
    """Return the path of one epoch's sealed private key."""
    return epochs_path(directory) / f"{number:06d}.key"


def parse_epoch(name: str) -> int | None:
    """Return the epoch that a file name names, or None."""
    match = _EPOCH.fullmatch(name)
    return int(match[1]) if match else None
