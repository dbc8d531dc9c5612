"""The end of a hold: its key is destroyed, what it kept is unlinked, and a signed certificate tells of it.

(1) state `ending`, the draft of the certificate and the intent's audit entry, in one transaction; (2) the key is
destroyed; (3) files are unlinked; (4) state `ended` without targets, the signed certificate, and the audit entry that
carries it, in one transaction; then the rows go. Every step is repeatable; (1) is followed by the rest at the latest
with the next expiry run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from store import files
from store.audit import AuditEntry
from store.documents import Put
from store.retention import certificates, commitments
from store.retention.hold import ACTIVE, ENDED, ENDING, Hold

if TYPE_CHECKING:
    from store.store import Store

END_INTENDED: Final = "hold.end-intended"


def end(store: Store, hold: Hold, *, reason: str, actors: Sequence[str] = ()) -> None:
    """End a hold; one whose ending was begun goes on, one that ended is left as it is.

    Raises:
        AuditError: the intent could not be logged.
    """
    if hold.state == ENDED:
        return
    certificates.adopt(store)
    document = store.documents.get(commitments.KIND, hold.id)
    if hold.state == ACTIVE:
        told = {
            "id": hold.id,
            "basis": hold.basis.id,
            "citation": hold.basis.citation,
            "reason": reason,
            "persons": len(set(actors)),
        }
        body = {**document.body, "state": ENDING, "end_reason": reason, "end_actors": list(actors)}
        entry = AuditEntry(END_INTENDED, {"hold": hold.id, "reason": reason, "actors": sorted(actors)}, None)
        size_bytes = store.catalog.query("SELECT total(bytes) FROM held WHERE hold_id = ?", (hold.id,))[0][0]
        put = Put(commitments.KIND, hold.id, body, expect=document.revision)
        store.documents.prepare([put])
        with store.catalog.transaction() as cursor:  # (1)
            store.documents.put(cursor, [put])
            certificates.begin(
                cursor, certificates.draft_held(store, hold.id, hold.ref, told, _kept(store, hold.id), int(size_bytes))
            )
            store.outbox.put(cursor, [entry])
        store.flush_outbox(required=True)
    _finish(store, hold)


def forget(store: Store, hold_id: str) -> None:
    """Remove the rows of what a hold kept, once it ended."""
    with store.catalog.transaction() as cursor:
        cursor.execute("DELETE FROM held WHERE hold_id = ?", (hold_id,))


def _finish(store: Store, hold: Hold) -> None:
    """Steps (2) to (4)."""
    if store.keyring.has(hold.ref):
        store.keyring.destroy([hold.ref])
    files.remove_dirs([store.layout.held / hold.id], store.layout.held)
    document = store.documents.get(commitments.KIND, hold.id)
    body = {**document.body, "state": ENDED, "accounts": [], "targets": []}
    public = {
        "hold": hold.id,
        "basis": hold.basis.id,
        "reason": body.get("end_reason", ""),
        "actors": sorted(body.get("end_actors", ())),
        "partitions": _kept(store, hold.id),
        "keyring_generation": store.keyring.generation,
    }
    put = Put(commitments.KIND, hold.id, body, expect=document.revision)
    verdict = store.clock_guard.verdict()
    store.documents.prepare([put])
    with store.catalog.transaction() as cursor:
        for issued in certificates.issue(store, cursor, [certificates.held_name(hold.id)], verdict):
            public |= {"number": issued["number"], "certificate": issued["certificate"]}
        store.documents.put(cursor, [put])
        store.outbox.put(cursor, [AuditEntry(commitments.ENDED, public, None)])
    store.flush_outbox(required=True)
    forget(store, hold.id)


def _kept(store: Store, hold_id: str) -> list[dict[str, Any]]:
    rows = store.catalog.query("SELECT partition, rows, sha256 FROM held WHERE hold_id = ?", (hold_id,))
    return [{"partition": row[0], "records": row[1], "sha256": row[2]} for row in rows]
