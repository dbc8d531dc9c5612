"""What the audit log says of holds and of the policy: the catalog must know it before anything goes for good.

The catalog can be edited by somebody who has no key. Whoever takes a hold out of it, or puts it back to an earlier end,
would let records go that are held; whoever takes out a version of the policy would let others go on another day. The
log has every hold with its end, every file that holds keep, and every version; so nothing goes while the catalog does
not know them, and `verify` tells.

A backup that was made before a hold was confirmed has neither the hold nor its entry. Its key tells of it: it is made
as the hold is confirmed and destroyed as it ends, and a restored store has the current keyring. So there, too, nothing
goes until two custodians have placed the hold again under its id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from schemas.errors import IntegrityError
from store.model import Problem
from store.retention.policies import ENFORCED

if TYPE_CHECKING:
    from store.audit import StoredEntry
    from store.store import Store

KIND: Final = "hold"
CONFIRMED: Final = "hold.confirm"
CARVED: Final = "hold.carved"
ENDED: Final = "hold.ended"

Kept = tuple[str, str, str, int, str]
"""Hold, partition, file, records and digest of what a hold keeps."""


@dataclass(slots=True)
class Commitments:
    """What the log says of holds that have not ended, and of the policy (`store.log_state`)."""

    ends: dict[str, str] = field(default_factory=dict)
    """The day that two custodians confirmed last, by hold."""
    kept: dict[str, set[Kept]] = field(default_factory=dict)
    """What each hold keeps."""
    over: set[str] = field(default_factory=set)
    """The holds that ended."""
    versions: dict[int, str] = field(default_factory=dict)
    """Digests of the policy's versions, by number."""

    def take(self, entry: StoredEntry) -> None:
        """Note what one more entry says; other kinds say nothing of this."""
        public, hold = entry.public, str(entry.public.get("hold"))
        if entry.kind == CONFIRMED and public.get("ends"):
            self.ends[hold] = str(public["ends"])
            self.over.discard(hold)
        elif entry.kind == CARVED and public["file"] is not None:
            one = (hold, public["partition"], public["file"], public["records"], public["sha256"])
            self.kept.setdefault(hold, set()).add(one)
        elif entry.kind == ENFORCED:
            self.versions[int(public["policy"]["version"])] = str(public["digest"])
        elif entry.kind == ENDED:
            self.ends.pop(hold, None)
            self.kept.pop(hold, None)
            self.over.add(hold)


def problems(store: Store) -> list[Problem]:
    """Return every hold, and everything that a hold keeps, of which the log knows and the catalog does not."""
    return _of_holds(store, store.log_state.commitments())


def _of_holds(store: Store, said: Commitments) -> list[Problem]:
    store.keyring.refresh()
    keyed = {ref.name for ref in store.keyring.refs() if ref.kind == KIND}  # a hold is in the catalog before its key
    known = {document.id: document.body for document in store.documents.list(KIND)}
    rows = store.catalog.query("SELECT hold_id, partition, file_id, rows, sha256 FROM held WHERE file_id IS NOT NULL")
    found = []
    for hold, day in sorted(said.ends.items()):
        if hold not in known:
            found.append(Problem(f"hold {hold}", "it is in force by the audit log, and the catalog does not know it"))
        elif str(known[hold]["ends"]) < day:
            found.append(Problem(f"hold {hold}", "it ends earlier than the audit log says"))
    found += [
        Problem(f"hold {hold}", "the keyring has its key, and the catalog does not know it: it came after the backup")
        for hold in sorted(keyed - known.keys() - said.ends.keys())
    ]
    found += [
        Problem(f"hold {hold}", "it ended by the audit log, and the catalog has it in force")
        for hold in sorted(said.over & known.keys())
        if known[hold]["state"] != "ended"
    ]
    over = {hold for hold, body in known.items() if body["state"] == "ended"}
    found += [
        Problem(f"hold {one[0]}, partition {one[1]}", "the audit log says what it keeps, the catalog does not")
        for one in sorted(set().union(*said.kept.values()) - set(rows))
        if one[0] not in over
    ]
    return found


def refuse_forgotten(store: Store) -> None:
    """Return if the catalog knows the holds and the policy that the log knows; asked before anything goes for good.

    Raises:
        IntegrityError: it does not: somebody edited it.
    """
    said = store.log_state.commitments()  # before the catalog is read: holds may come and end meanwhile
    stored = {version.number: version.digest for version in store.policies.current().versions[1:]}
    found = _of_holds(store, said) + [
        Problem(f"policy version {number}", "the audit log says that it is in force, the catalog does not know it")
        for number, digest in sorted(said.versions.items())
        if stored.get(number) != digest
    ]
    if found:
        hint = "nothing is erased; bring the catalog back from a backup, or place the hold again under its id"
        raise IntegrityError(f"{found[0].where}: {found[0].what}", hint=hint)


def is_kept(store: Store, hold: str, file_id: str) -> bool:
    """Tell whether the log says that a hold which has not ended keeps a file."""
    return any(one[2] == file_id for one in store.log_state.commitments().kept.get(hold, ()))
