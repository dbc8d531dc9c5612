"""The outbox of pushes: what a release puts into it, and what is told of one delivery's push."""

from __future__ import annotations

from typing import Any

from api.disclosure.deliveries import Delivery
from api.disclosure.pushes import KIND, WAITING, Push
from api.people import authorities
from schemas.errors import NotFoundError
from store import Put, Store
from store.clock import to_text


def queued(store: Store, delivery: Delivery, now_us: int) -> list[Put]:
    """Return what puts a released delivery into the outbox, in its release's transaction; nothing without endpoint.

    A delivery that is released once more is pushed once more, with its new cover.
    """
    authority = authorities.find(store, delivery.authority)
    if authority is None or authority.terms.endpoint is None:
        return []
    return [Put(KIND, delivery.id, Push(delivery.id, delivery.task_id, now_us, now_us).as_body())]


def waiting(store: Store) -> list[tuple[Push, int]]:
    """Return what waits and can be read, with its revision, oldest release first."""
    return outbox(store)[0]


def outbox(store: Store) -> tuple[list[tuple[Push, int]], list[str]]:
    """Return what waits, with its revision, oldest release first; and the deliveries whose push cannot be read."""
    legible, damaged = store.documents.legible(KIND)
    found: list[tuple[Push, int]] = []
    for item in legible:
        try:
            found.append((Push.from_body(item.body), item.revision))
        except TypeError:
            damaged.append(item.id)
    return sorted(found, key=lambda item: (item[0].since_us, item[0].delivery_id)), damaged


def push_of(store: Store, delivery: Delivery) -> dict[str, Any] | None:
    """Return how a delivery's push stands; None when there is and was none."""
    facts = delivery.pushed
    if facts is None:
        try:
            push = Push.from_body(store.documents.get(KIND, delivery.id).body)
        except NotFoundError:
            return None
        facts = push.facts(WAITING, push.since_us)
    return {
        "state": facts["state"],
        "envelopes": f"{facts['envelopes']} of {len(delivery.parts) + 1}",
        "attempts": facts["attempts"],
        "reason": facts["reason"],
        "since": to_text(facts["since_us"]),
        "ended_at": None if facts["state"] == WAITING else to_text(facts["changed_us"]),
        "next_at": None if facts["next_us"] is None else to_text(facts["next_us"]),
    }
