"""What the audit log has told so far, kept in memory: whoever decides by the log does not read it anew each time.

Nothing of it is written down, and nothing but the log fills it (`store.audit.fold`): the catalog, which can be edited
by somebody who has no key, has no say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from store.audit.fold import Fold
from store.documents import GUARDED, NOTED
from store.retention.certificates import ANEW, DONE, held_name
from store.retention.commitments import CARVED, CONFIRMED, ENDED, Commitments
from store.retention.policies import ENFORCED

if TYPE_CHECKING:
    from store.audit import StoredEntry
    from store.model import RetiredPart
    from store.store import Store

MERGED: Final = "compaction"
_KINDS: Final = (CONFIRMED, CARVED, ENDED, ENFORCED, DONE, *ANEW, *(f"{kind}." for kind in GUARDED))


class LogState:
    """What one store's log tells of holds, policy, erasures and guarded documents; safe for threads."""

    def __init__(self, store: Store) -> None:
        self._commitments = Commitments()
        self._certificates: dict[str, tuple[int, str]] = {}
        self._anew: set[str] = set()
        self._documents: dict[str, str | None] = {}
        self._merged: set[str] = set()
        self._fold = Fold(store.audit, _KINDS, self._take)
        # Of its own: who merges nothing does not read what was merged.
        self._merges = Fold(store.audit, (MERGED,), lambda entry: self._merged.update(entry.public["removed"]))

    def commitments(self) -> Commitments:
        """Return what the log says of holds that have not ended, and of the policy.

        Raises:
            IntegrityError: the log is not as its last checkpoint signs it.
        """
        with self._fold.lock:
            self._fold.catch_up()
            said = self._commitments
            kept = {hold: set(files) for hold, files in said.kept.items()}
            return replace(said, ends=dict(said.ends), kept=kept, over=set(said.over), versions=dict(said.versions))

    def certificates(self) -> dict[str, tuple[int, str]]:
        """Return number and note of every certificate of erasure, by what was erased; raises as `commitments`."""
        with self._fold.lock:
            self._fold.catch_up()
            return dict(self._certificates)

    def written_anew(self) -> set[str]:
        """Return the partitions that were written anew; raises as `commitments`."""
        with self._fold.lock:
            self._fold.catch_up()
            return set(self._anew)

    def merged(self, retired: Callable[[], Sequence[RetiredPart]]) -> list[RetiredPart]:
        """Return which retired files the log holds as merged into others; only they may be unlinked.

        `retired` reads the catalog, after the log: no merge is in the log before its files are in the catalog as
        retired. A file that is none any more is not kept in mind. Raises as `commitments`.
        """
        with self._merges.lock:
            self._merges.catch_up()
            known = [part for part in retired() if part.file_id in self._merged]
            self._merged = {part.file_id for part in known}
            return known

    def documents(self) -> Mapping[str, str | None]:
        """Return what guarded documents are (`store.documents.NOTED`), None those that are gone; raises as above."""
        with self._fold.lock:
            self._fold.catch_up()
            return dict(self._documents)

    def document(self, name: str) -> tuple[bool, str | None]:
        """Tell whether the log speaks of a guarded document, and what it is; raises as `commitments`."""
        with self._fold.lock:
            self._fold.catch_up()
            return name in self._documents, self._documents.get(name)

    def remembered(self, name: str) -> tuple[bool, str | None] | None:
        """Tell as `document` what was read while the log could be read; None: it never could."""
        with self._fold.lock:
            return (name in self._documents, self._documents.get(name)) if self._fold.size else None

    def _take(self, entry: StoredEntry) -> None:
        public: dict[str, Any] = entry.public
        self._commitments.take(entry)
        self._documents.update(public.get(NOTED, {}))
        if entry.kind in ANEW:
            self._anew.add(str(public["partition"]))
        elif entry.kind in (DONE, ENDED) and "certificate" in public:
            name = held_name(str(public["hold"])) if entry.kind == ENDED else str(public["partition"])
            self._certificates.setdefault(name, (int(public["number"]), str(public["certificate"])))
