"""A recorded history up to an instant, written anew as a disk might hold it after the power failed then.

What a sync covered is there. Of the rest, each change may be there, lost or torn, whatever became of the others: POSIX
promises no order, neither among bytes nor among names, and a sync of a file does not cover its name. A rename is one
change. `Loss` says how much is lost.
"""

from __future__ import annotations

import os
import random
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tests.fault.recording import ROOT, Change, Naming, Recording, Sync

PAGE_BYTES = 4096
SECTOR_BYTES = 512


@dataclass(frozen=True)
class Loss:
    """How much of what was not synced survives: the chance of a name, of a page of bytes, and of a torn page.

    With `until`, a share of it: changes up to that share of their order survive, the later ones do not. `sizes`: a file
    has the size that was written, with zeros where the bytes are lost.
    """

    name: str
    names: float
    pages: float
    torn: float = 0.0
    until: float | None = None
    sizes: bool = False


LOSSES = (
    Loss("everything unsynced is lost", 0, 0),
    Loss("nothing is lost", 1, 1),
    Loss("names survive, bytes do not", 1, 0),
    Loss("names and sizes survive, bytes do not", 1, 0, sizes=True),
    Loss("bytes survive, names do not", 0, 1),
    Loss("half of it, at random", 0.5, 0.5, torn=0.1),
    Loss("most of it, at random", 0.9, 0.9, torn=0.2),
    Loss("little of it, at random", 0.1, 0.1, torn=0.1, sizes=True),
    Loss("a beginning of it", 1, 1, torn=0.5, until=0.5),
    Loss("a beginning of it, short", 1, 1, torn=0.5, until=0.1),
)


CONTROLS = ("everything", "directories", "catalog", "parts", "audit")
"""What a control's syncs do nothing for, from the first acknowledgement on."""


def _is_ignored(control: str, recording: Recording, sync: Sync) -> bool:
    if not control or sync.begin < recording.said[0][0]:
        return False
    if control == "directories":
        return sync.file in recording.directories
    return control == "everything" or recording.paths.get(sync.file, "").startswith(control)


class Disk:
    """A recording, arranged for images at any instant; `control` names the syncs that did nothing."""

    def __init__(self, recording: Recording, *, control: str = "") -> None:
        self._recording = recording
        self._syncs: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for sync in recording.syncs:
            if not _is_ignored(control, recording, sync):
                self._syncs[sync.file].append((sync.begin, sync.end))
        for pairs in self._syncs.values():
            pairs.sort()
        events: list[Change | Naming] = [*recording.changes, *recording.namings]
        self._order = sorted(events, key=lambda event: event.begin)

    def _is_durable(self, event: Change | Naming, at: float) -> bool:
        pairs = self._syncs.get(event.file if isinstance(event, Change) else event.directory, [])
        first = bisect_left(pairs, (event.end, 0.0))
        return any(end <= at for _, end in pairs[first:])

    def write(self, target: Path, at: float, loss: Loss, chance: random.Random) -> None:
        """Write the image of the instant `at` to the empty directory `target`."""
        pending = [event for event in self._order if event.begin <= at and not self._is_durable(event, at)]
        cut = None
        if loss.until is not None and pending:
            cut = pending[min(len(pending) - 1, int(len(pending) * loss.until * chance.uniform(0, 2)))].begin
        files: dict[int, bytearray] = defaultdict(bytearray)
        directories: dict[int, dict[str, int]] = defaultdict(dict)
        for event in self._order:
            if event.begin > at:
                break
            durable = self._is_durable(event, at)
            lost = cut is not None and event.begin > cut and not durable
            if isinstance(event, Naming):
                if durable or (not lost and chance.random() < loss.names):
                    _rename(directories[event.directory], event)
            elif durable:
                _apply(files[event.file], event)
            elif not lost:
                _apply_some(files[event.file], event, loss, chance)
        _write_directory(target, ROOT, directories, files, self._recording.directories)


def everything(recording: Recording, target: Path) -> None:
    """Write the directory as it was at the end."""
    Disk(recording).write(target, recording.times[-1], LOSSES[1], random.Random(0))


def _rename(directory: dict[str, int], event: Naming) -> None:
    for name, file in event.names:
        if file is None:
            directory.pop(name, None)
        else:
            directory[name] = file


def _apply(content: bytearray, change: Change) -> None:
    if change.data is None:
        del content[change.offset :]
        content.extend(bytes(change.offset - len(content)))
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def _apply_some(content: bytearray, change: Change, loss: Loss, chance: random.Random) -> None:
    """Apply the pages of a change that survive; in a torn one, some sectors."""
    if change.data is None:
        if chance.random() < loss.pages:
            _apply(content, change)
        return
    if loss.sizes:
        content.extend(bytes(max(0, change.offset + len(change.data) - len(content))))
    start, end = change.offset, change.offset + len(change.data)
    while start < end:
        stop = min(end, (start // PAGE_BYTES + 1) * PAGE_BYTES)
        if chance.random() < loss.pages:
            step = SECTOR_BYTES if chance.random() < loss.torn else PAGE_BYTES
            for at in range(start // step * step, stop, step):
                low, high = max(at, start), min(at + step, stop)
                if step == PAGE_BYTES or chance.random() < 0.5:
                    data = change.data[low - change.offset : high - change.offset]
                    _apply(content, Change(0, 0, 0, low, data))
        start = stop


def _write_directory(
    path: Path, number: int, directories: dict[int, dict[str, int]], files: dict[int, bytearray], known: set[int]
) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    for name, file in directories[number].items():
        if file in known:
            _write_directory(path / name, file, directories, files, known)
        else:
            fd = os.open(path / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(fd, files[file])
            os.close(fd)
