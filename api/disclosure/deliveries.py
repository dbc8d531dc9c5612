"""What is on file of a delivery: its parts' digests, who it is for, when it left, and when it goes. Values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

DAY_US: Final = 86_400 * 1_000_000
KEPT_DAYS_AFTER_ACKNOWLEDGEMENT: Final = 30
"""Our bound, not the law's: an authority that has confirmed what it opened has this long to find its copy damaged."""
KEPT_DAYS_UNACKNOWLEDGED: Final = 180
"""Our bound: a release that nobody confirms is not kept for ever."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a result: the digest of what it holds, and of the envelope around it.

    `first_record` is 1-based within the result. `sha256` and `bytes` are the inner file's, `envelope_*` the envelope's.
    """

    sequence: int
    first_record: int
    records: int
    bytes: int
    sha256: str
    envelope_bytes: int
    envelope_sha256: str


@dataclass(frozen=True, slots=True)
class Cover:
    """The envelope that a release adds: manifest, receipt, summary. `opening` is the digest that only its reader can
    tell, and that an acknowledgement signs."""

    opening: str
    envelope_bytes: int
    envelope_sha256: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A result at rest, as ciphertext to `authority` under `certificate_sha256`."""

    id: str
    task_id: str
    sha256: str
    """Of the manifest, which names every part's digest: what a release approves."""
    records: int
    authority: str
    certificate_sha256: str
    made_at_us: int
    parts: tuple[Part, ...] = ()
    evidence: Mapping[str, Any] | None = None
    """What the proof of completeness goes by (`api.disclosure.completeness`); the receipt names it."""
    cover: Cover | None = None
    released_at_us: int | None = None
    """Of its first release: another one brings a new cover, and no further time."""
    fetched: tuple[int, ...] = ()
    acknowledgement: Mapping[str, Any] | None = None
    acknowledged_at_us: int | None = None
    erased_at_us: int | None = None
    erased_reason: str | None = None
    releases: int = 0
    """How often it was released: each has a cover of its own."""
    pushed: Mapping[str, Any] | None = None
    """How its push ended (`api.disclosure.pushes`); None while it waits, or was never to be pushed."""

    @property
    def size_bytes(self) -> int:
        """What the envelopes take."""
        return sum(part.envelope_bytes for part in self.parts) + (self.cover.envelope_bytes if self.cover else 0)

    def as_body(self) -> dict[str, Any]:
        """Return the document's body."""
        body = asdict(self)
        return body | {"parts": list(body["parts"]), "fetched": list(self.fetched)}

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Delivery:
        """Return the delivery of a document's body."""
        return cls(
            **{
                **body,
                "parts": tuple(Part(**part) for part in body["parts"]),
                "cover": None if body["cover"] is None else Cover(**body["cover"]),
                "fetched": tuple(body["fetched"]),
            }
        )


def kept_until_us(delivery: Delivery) -> int | None:
    """Return when a released delivery's ciphertext goes; None before its release."""
    if delivery.released_at_us is None:
        return None
    if delivery.acknowledged_at_us is not None:
        return delivery.acknowledged_at_us + KEPT_DAYS_AFTER_ACKNOWLEDGEMENT * DAY_US
    return delivery.released_at_us + KEPT_DAYS_UNACKNOWLEDGED * DAY_US


def due(delivery: Delivery, *, now_us: int, awaited: bool) -> str | None:
    """Return why a delivery's ciphertext goes now, as a stable word; None when it stays.

    Args:
        delivery: what is on file.
        now_us: now.
        awaited: whether its task can still be released or fetched.
    """
    if delivery.erased_at_us is not None:
        return None
    until_us = kept_until_us(delivery)
    if until_us is None:
        return None if awaited else "not-released"
    if not awaited and not delivery.fetched:
        return "not-fetched"
    if now_us < until_us:
        return None
    return "acknowledged" if delivery.acknowledged_at_us is not None else "unacknowledged"
