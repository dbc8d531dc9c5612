"""What waits to be pushed to an authority, and how the wait goes on. Values, no I/O.

    waiting        an envelope was not taken yet, or none was tried
    acknowledged   the authority's system has taken every envelope; the officer's acknowledgement is another thing
    ended          it is not pushed any more, for the reason that stands beside it; polling is not touched by that

A push lives in the outbox (kind `push`, under the delivery's id) from the transaction of its release on, until it is
acknowledged or ended; then its last facts are the delivery's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

KIND: Final = "push"
WAITING, ACKNOWLEDGED, ENDED = "waiting", "acknowledged", "ended"
BACK_OFF_SECONDS_MIN: Final = 30
BACK_OFF_SECONDS_MAX: Final = 3_600
ALARM_SECONDS: Final = 3_600
"""Our bound: a release whose envelopes are not taken by then is told as undelivered, once."""


@dataclass(frozen=True, slots=True)
class Push:
    """One delivery on its way.

    `acknowledged` counts envelopes that were taken, in sequence from the cover's 0; `failures` those in a row since the
    last one; `began_us` is when the first octet may have left. `endpoint` is the digest of where they were taken:
    another endpoint begins with the cover again.
    """

    delivery_id: str
    task_id: str
    since_us: int
    next_us: int
    acknowledged: int = 0
    attempts: int = 0
    failures: int = 0
    began_us: int | None = None
    endpoint: str | None = None
    reason: str | None = None
    alarmed: bool = False

    def as_body(self) -> dict[str, Any]:
        """Return the document's body."""
        return asdict(self)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Push:
        """Return the push of a document's body."""
        return cls(**body)

    def facts(self, state: str, now_us: int) -> dict[str, Any]:
        """Return what is told of it; a reason is a stable word."""
        return {
            "state": state,
            "envelopes": self.acknowledged,
            "attempts": self.attempts,
            "reason": self.reason,
            "since_us": self.since_us,
            "changed_us": now_us,
            "next_us": self.next_us if state == WAITING else None,
        }


def back_off_us(failures: int) -> int:
    """Return how long to wait after so many failures in a row: doubling from half a minute to an hour."""
    seconds = BACK_OFF_SECONDS_MIN << min(failures - 1, 20)
    return min(seconds, BACK_OFF_SECONDS_MAX) * 1_000_000
