"""Power fails at any instant of a real process's life; what no sync covered may be lost, torn or half there.

A process makes a store and works with it under strace; its system calls are the recording. Each image of the disk is
opened: `verify` clean, what was acknowledged by then stored, nothing twice, nothing half visible. A control replays the
same recording with syncs of some kind ignored: it must lose something, or the campaign could not find anything.
"""

from __future__ import annotations

import filecmp
import random
import shutil
from bisect import bisect_right
from pathlib import Path

from store import Store
from tests.fault.ledger import START_US, Ledger, SharedClock, ago, check, ending, first_deliveries
from tests.fault.nursery import Nursery
from tests.fault.recording import CALLS, OPTIONS, recorded
from tests.fault.replay import LOSSES, Disk, Loss, everything
from tests.fault.report import Report
from tests.fault.work import OLD_KEY

DELIVERIES_LONG = 60
NOT_BYTES = ("catalog.sqlite-shm",)
"""Written through shared memory, which no system call shows; made anew at every first opening."""


class History:
    """A recorded life of a store, and what was delivered and acknowledged in it."""

    def __init__(self, directory: Path, nursery: Nursery, *, deliveries: int) -> None:
        home, files = directory / "life", directory / "files"
        for path in (home, files):
            path.mkdir(parents=True)
        self.root, self.clock, self.ledger = home / "root", SharedClock(START_US), Ledger()
        first_deliveries(self.ledger, self.clock)
        clock, later = self.clock, self.clock.later(1)
        new = [self.ledger.new(50, ago(clock, 3), ending(clock, 1)), self.ledger.new(40, ago(clock, 2))]
        new += [self.ledger.new(1, ago(clock, 2)) for _ in range(6)]
        new += [self.ledger.new(30, ago(later, day), ending(later, 2)) for day in (1, 2, 3)]
        new += [self.ledger.new(1, ago(later, 1)) for _ in range(3)]
        new += [self.ledger.new(5, ago(later, 1 + at % 3)) for at in range(deliveries)]
        child = nursery.trace(
            "history",
            clock,
            home,
            *(item.write(files) for item in new),
            options=[*OPTIONS, f"trace={CALLS}"],
            log=directory / "trace",
        )
        assert child.code == 0, child.complained
        self.ledger.asked = {OLD_KEY}
        self.recording = recorded(directory / "trace", self.root)
        for path in directory.glob("trace.*"):
            path.unlink()
        self._prove(directory / "proof")

    def _prove(self, target: Path) -> None:
        """Check that the recording tells everything: replayed in whole, it gives the directory that is there."""
        everything(self.recording, target)
        differing = _differences(filecmp.dircmp(self.root, target, ignore=list(NOT_BYTES)))
        assert differing == [], differing
        shutil.rmtree(target)

    def at(self, time: float) -> tuple[Ledger, SharedClock]:
        """Return what was acknowledged by an instant, and the day that it was."""
        words = "".join(text for said, text in self.recording.said if said <= time).split("\n")
        ledger = self.ledger.copy()
        ledger.acknowledge(int(word) for word in words if word.isdigit())
        return ledger, self.clock.later(1) if "day 1" in words else self.clock

    def counts(self) -> dict[str, int]:
        """Return what the recording holds."""
        held = self.recording
        return {"writes": len(held.changes), "names": len(held.namings), "syncs": len(held.syncs)}


def _differences(found: filecmp.dircmp[str]) -> list[str]:
    own = [*found.left_only, *found.right_only, *found.funny_files]
    own += filecmp.cmpfiles(found.left, found.right, found.common_files, shallow=False)[1]
    return own + [name for sub in found.subdirs.values() for name in _differences(sub)]


class Campaign:
    """Opens images of a history; an image is chosen by its number."""

    def __init__(self, directory: Path, history: History) -> None:
        self._image = directory / "image"
        self._history = history
        self._times = history.recording.times

    def images(self, report: Report, count: int, seed: int, *, first: int = 0, control: str = "") -> None:
        """Open the images `first` to `count`; `control` names the syncs that do nothing in them."""
        disk = Disk(self._history.recording, control=control)
        for number in range(first, count):
            chance = random.Random(f"{seed} {number}")
            at = self._instant(number, count, chance)
            loss = LOSSES[number % len(LOSSES)]
            outcome, problems = self.open(disk, at, loss, chance)
            report.note(
                f"image {number} of seed {seed}: {loss.name}, at {at - self._times[0]:.6f} s", outcome, problems
            )

    def _instant(self, number: int, count: int, chance: random.Random) -> float:
        """Return an instant: the numbers are spread over the events, every third lies just after an acknowledgement."""
        if number % 3 == 2:
            said = chance.choice(self._history.recording.said)[0]
            return self._times[min(len(self._times) - 1, bisect_right(self._times, said) + chance.randrange(3))]
        return self._times[min(len(self._times) - 1, int((number + chance.random()) / count * len(self._times)))]

    def open(self, disk: Disk, at: float, loss: Loss, chance: random.Random) -> tuple[str, list[str]]:
        """Write one image, open the store in it and check it; tell whether there was a store."""
        if self._image.exists():
            shutil.rmtree(self._image)
        disk.write(self._image, at, loss, chance)
        ledger, clock = self._history.at(at)
        if not (self._image / "lagrum.json").exists() and not ledger.acknowledged:
            return "not made yet", _made(self._image, clock)
        return "made", check(self._image, clock, ledger)


def _made(root: Path, clock: SharedClock) -> list[str]:
    """Check that what an interrupted making left does not stand in the way of the next one."""
    try:
        Store.create(root, clock=clock).close()
    except Exception as error:
        return [f"the store cannot be made again: {type(error).__name__}: {error}"]
    return check(root, clock, Ledger())
