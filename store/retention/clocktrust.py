"""May the clock be trusted? Pure: everything that is known about time comes in as values, a verdict goes out.

No single clock is believed. Beside the wall clock stand the counter of the running machine (`Uptime`), the mark that
the last observation left, the newest ends of records by their sources' clocks, and the audit log's last entry:

    proven_us   what time it is at least: the mark, plus what the counter has counted since
    doubt_us    how far the wall clock is ahead of that
    steps_us    the part of the doubt that is a contradiction: the wall clock moved more than the counter
    peak_us     the latest instant at which a partition was told to be over; never goes back

    (1) behind   the wall clock is earlier than what is proven, or than the log's last entry, by more than STEP_MAX_US
    (2) stepped  the wall clock went ahead of the running machine's counter by more than STEP_MAX_US, all steps together
    (3) gap      nobody watched the clock for longer than GAP_MAX_US: the machine was off, or its clock was set
    (4) otherwise it is trusted. Records that sources say ended since then prove that time has passed: they end a gap.

Whatever the verdict, nothing is erased that is not over at `proven_us`. So a clock that runs ahead, by an hour or by
two years, erases nothing early; a verdict against it makes noise and stops what would be wrong for readers. A gap up to
GAP_MAX_US is no contradiction: erasure goes on, held back by the gap until sources deliver. An idle store whose service
runs has no gap at all.

Source: the design's promises 5 and 6.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from schemas.errors import ClockError
from schemas.policy import DEFAULT_POLICY, Policy
from store.clock import Uptime
from store.partitions import PartitionKey, expires_at, to_us
from store.retention.reclassification import rules_of

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 60 * _MINUTE_US
_DAY_US: Final = 24 * _HOUR_US

STEP_MAX_US: Final = 5 * _MINUTE_US
"""So far may the wall clock contradict the counter, or stand behind what is proven."""
GAP_MAX_US: Final = 14 * _DAY_US
"""So long may nobody watch; beyond it two persons confirm the clock."""
QUIET_US: Final = _HOUR_US
"""Up to this doubt readers are told by the wall clock that a period is over; beyond it they get an error."""

Reason = Literal["behind", "stepped", "gap"]
Standing = Literal["kept", "over", "doubtful"]

WORDS: Final[dict[str, str]] = {
    "behind": "the clock stands behind an instant that has passed already",
    "stepped": "the clock went ahead of the machine's own counter: it was set forward",
    "gap": "nobody watched the clock for too long: the machine was off, or its clock was set",
}
HINT: Final = "`lagrum retention status` says why; two custodians confirm the time with `lagrum retention clock`"


@dataclass(frozen=True, slots=True)
class Mark:
    """What an observation leaves behind; instants in µs since 1970 UTC."""

    boot: str
    counter_us: int
    wall_us: int
    proven_us: int
    peak_us: int
    steps_us: int = 0
    alarm: str = ""
    """The reason of the alarm that was last logged; empty when the clock was trusted."""
    beat_us: int = 0
    """`proven_us` of the last heartbeat in the audit log."""

    @classmethod
    def first(cls, wall_us: int, uptime: Uptime) -> Mark:
        """Return the mark of a new store: its clock is believed once, for there is nothing to compare it with."""
        return cls(uptime.boot, uptime.counter_us, wall_us, wall_us, wall_us)


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read at one instant."""

    wall_us: int
    uptime: Uptime
    sources_us: int | None = None
    """The newest end of records that sources agree on; None without sources."""
    logged_us: int | None = None
    """When the audit log's last entry was written."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to think of the clock now."""

    wall_us: int
    proven_us: int
    peak_us: int
    steps_us: int
    reason: Reason | None
    policy: Policy = DEFAULT_POLICY
    """By which a partition's period is told."""

    @property
    def is_trusted(self) -> bool:
        """Whether the clock is trusted."""
        return self.reason is None

    @property
    def doubt_us(self) -> int:
        """How far the wall clock is ahead of what is proven."""
        return max(0, self.wall_us - self.proven_us)

    @property
    def erase_us(self) -> int:
        """The instant by which erasure goes: no clock says an earlier one."""
        return min(self.wall_us, self.proven_us)

    @property
    def over_us(self) -> int:
        """What is over at this instant is over for every reader."""
        certain = max(self.peak_us, self.proven_us)
        return max(certain, self.wall_us) if self.is_trusted and self.doubt_us <= QUIET_US else certain

    @property
    def possible_us(self) -> int:
        """The latest instant that it may be, as far as anybody can tell."""
        if self.reason == "behind":
            return self.over_us + GAP_MAX_US
        return max(self.wall_us, self.over_us)

    def standing(self, key: PartitionKey) -> Standing:
        """Tell whether a partition's period is over: certainly, not at all, or nobody can tell."""
        return self._standing(to_us(expires_at(key, self.policy)))

    def is_over(self, key: PartitionKey) -> bool:
        """Tell whether a partition's period is over.

        Raises:
            ClockError: it may be, and the clock at hand cannot tell.
        """
        return self.has_come(to_us(expires_at(key, self.policy)))

    def services_over(self, key: PartitionKey, services: Iterable[str]) -> frozenset[str]:
        """Return those categories of service whose records in a partition are over, though the partition is not.

        Raises:
            ClockError: one may be, and the clock at hand cannot tell.
        """
        rules = rules_of(self.policy, key, services)
        return frozenset(name for rule, names in rules if self.has_come(to_us(rule.ends)) for name in names)

    def is_kept(self, key: PartitionKey, services: Iterable[str]) -> bool:
        """Tell whether neither a partition's period nor that of one of these categories in it may be over."""
        ends = [to_us(rule.ends) for rule, _ in rules_of(self.policy, key, services)]
        return self.standing(key) == "kept" and all(self._standing(end_us) == "kept" for end_us in ends)

    def has_come(self, instant_us: int) -> bool:
        """Tell whether an instant at which something ends for readers has come.

        Raises:
            ClockError: it may have, and the clock at hand cannot tell.
        """
        standing = self._standing(instant_us)
        if standing == "doubtful":
            raise ClockError("the clock cannot tell whether a partition's period is over", hint=HINT)
        return standing == "over"

    def _standing(self, instant_us: int) -> Standing:
        if self.over_us >= instant_us:
            return "over"
        return "doubtful" if self.possible_us >= instant_us else "kept"

    def require_trusted(self) -> None:
        """Return if the clock is trusted.

        Raises:
            ClockError: it is not.
        """
        if self.reason is not None:
            raise ClockError(f"the clock is not trusted: {WORDS[self.reason]}", hint=HINT)


def judge(mark: Mark, reading: Reading) -> tuple[Verdict, Mark]:
    """Return the verdict, and the mark to leave behind; the numbers are those of the module's docstring."""
    uptime, wall_us = reading.uptime, reading.wall_us
    same_run = mark.boot == uptime.boot and uptime.counter_us >= mark.counter_us
    passed_us = uptime.counter_us - mark.counter_us if same_run else 0
    proven_us = mark.proven_us + passed_us
    doubt_us = max(0, wall_us - proven_us)
    step_us = wall_us - mark.wall_us - passed_us if same_run else 0
    steps_us = min(max(0, mark.steps_us + step_us), doubt_us)
    reason: Reason | None = None
    if proven_us - wall_us > STEP_MAX_US or _behind_log(mark, reading):  # (1)
        reason = "behind"
    elif steps_us > STEP_MAX_US:  # (2)
        reason = "stepped"
    elif doubt_us - steps_us > GAP_MAX_US:  # (3)
        reason = "gap"
    elif reading.sources_us is not None:  # (4)
        proven_us = max(proven_us, min(reading.sources_us, wall_us))
        steps_us = min(steps_us, max(0, wall_us - proven_us))
    verdict = Verdict(wall_us, proven_us, mark.peak_us, steps_us, reason)
    verdict = replace(verdict, peak_us=verdict.over_us)
    left = replace(
        mark,
        boot=uptime.boot,
        counter_us=uptime.counter_us,
        wall_us=wall_us,
        proven_us=proven_us,
        peak_us=verdict.peak_us,
        steps_us=steps_us,
    )
    return verdict, left


def confirmed(mark: Mark, seen_us: int) -> Mark:
    """Return the mark after two persons confirmed that it is `seen_us`; what was told to be over stays over."""
    return replace(mark, proven_us=seen_us, wall_us=max(seen_us, mark.wall_us), steps_us=0)


def _behind_log(mark: Mark, reading: Reading) -> bool:
    """Tell whether the log has entries of a later time; while an alarm stands, it may have them rightly."""
    return not mark.alarm and reading.logged_us is not None and reading.logged_us - reading.wall_us > STEP_MAX_US
