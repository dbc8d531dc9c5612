"""Verification against the audit log: the catalog must tell the same story as the log, which nobody can rewrite.

Compared are batches and their counts, the parts that each published, withdrawals, corrections and erasures. A
catalog in which somebody hid a part, marked a batch as withdrawn or a partition as dropped, took a correction away, or
changed a count, is told here.

The catalog is read before and after the log: what it held before must be in the log, and what the log names must be in
the catalog after. So writers and erasers may go on meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import LagrumError
from store import outbox
from store.audit.verify import verify_directory
from store.model import Problem
from store.partitions import PartitionKey
from store.retention.certificates import ANEW

if TYPE_CHECKING:
    from store.store import Store

_COUNTS: Final = ("records", "accepted", "duplicates", "conflicts", "rejected", "rows")

MERGED: Final = 0
"""The batch of a part that was merged of several."""

Part = tuple[int, str, str, int, str, str, str]
"""Batch, partition, file, rows and the digests of both files."""
Located = tuple[str, str, str]
"""Sibling, file and digest of a part's location."""
Batch = tuple[int, str, str, int, int, int, int, int, int]
"""Batch, source, format and its counts."""


@dataclass(slots=True)
class _Story:
    batches: set[Batch] = field(default_factory=set)
    parts: set[Part] = field(default_factory=set)
    located: set[Located] = field(default_factory=set)
    withdrawn: set[int] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    leaving: set[str] = field(default_factory=set)
    """Partitions whose erasure was begun."""
    corrected: set[tuple[str, str, str]] = field(default_factory=set)
    """Corrections of single records in force: id, kind, partition."""


def audit_story(store: Store) -> list[Problem]:
    """Verify the audit log offline, then compare the catalog with it."""
    before = _of_catalog(store)
    try:
        store.outbox.flush()
        origin = (store.layout.audit / "origin.pub").read_text(encoding="ascii").strip()
        problems = [Problem("audit log", what) for what in verify_directory(store.layout.audit, origin, None)]
        if problems:
            return problems
        told, twice = _of_log(store)
    except LagrumError as error:
        return [Problem("audit log", error.message)]
    except (OSError, ValueError):
        return [Problem("audit log", "its pinned public key is missing or not readable")]
    after = _of_catalog(store)
    problems += [Problem("audit log", f"it holds entry {reference} of the catalog twice") for reference in twice]
    problems += _in_log(before, told, after)
    return problems + _in_catalog(told, after)


def _in_log(before: _Story, told: _Story, after: _Story) -> list[Problem]:
    problems = [
        Problem(f"batch {batch[0]}", "its source, format or counts are not those of the audit log")
        for batch in sorted(before.batches - told.batches)
    ]
    problems += [
        Problem(f"part {part[2]} of partition {part[1]}", "the audit log has no such manifest")
        for part in sorted((before.parts & after.parts) - told.parts)
    ]
    problems += [
        Problem(f"part {one[1]} of partition {one[0]}", "the audit log has no such manifest")
        for one in sorted((before.located & after.located) - told.located)
    ]
    problems += [
        Problem(f"batch {batch_id}", "it is withdrawn, but the audit log does not say so")
        for batch_id in sorted(before.withdrawn - told.withdrawn)
    ]
    problems += [
        Problem(f"partition {name}", "it is dropped, but the audit log does not say so")
        for name in sorted(before.erased - told.erased)
    ]
    problems += [
        Problem(f"partition {name}", "its erasure was begun, but the audit log does not say so")
        for name in sorted(before.leaving - told.leaving)
    ]
    problems += [
        Problem(f"correction {one[0]}", "it is in force, but the audit log does not say so")
        for one in sorted(before.corrected - told.corrected)
    ]
    return problems


def _in_catalog(told: _Story, after: _Story) -> list[Problem]:
    known = {batch[0] for batch in after.batches}
    problems = [
        Problem(f"batch {batch[0]}", "the audit log names it, the catalog does not")
        for batch in sorted(told.batches)
        if batch[0] not in known
    ]
    gone = after.erased | after.leaving
    problems += [
        Problem(f"part {part[2]} of partition {part[1]}", "the audit log names it, the catalog does not")
        for part in sorted(told.parts - after.parts)
        if part[1] not in gone
    ]
    problems += [
        Problem(f"part {one[1]} of partition {one[0]}", "the audit log names it, the catalog does not")
        for one in sorted(told.located - after.located)
        if one[0] not in gone and str(PartitionKey.parse(one[0]).core) not in gone
    ]
    problems += [
        Problem(f"batch {batch_id}", "the audit log says that it is withdrawn, the catalog does not")
        for batch_id in sorted(told.withdrawn - after.withdrawn)
    ]
    problems += [
        Problem(f"correction {one[0]}", "the audit log says that it is in force, the catalog does not")
        for one in sorted(told.corrected - after.corrected)
        if one[2] not in gone
    ]
    problems += [
        Problem(f"partition {name}", "the audit log says that it is dropped, the catalog does not")
        for name in sorted(told.erased - after.erased)
    ]
    return problems


def _of_catalog(store: Store) -> _Story:
    story = _Story()
    with store.catalog.snapshot():
        for row in store.catalog.query(f"SELECT batch_id, source, format, {', '.join(_COUNTS)} FROM batches"):  # noqa: S608
            story.batches.add((row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8]))
        for part in store.catalog.parts():
            story.parts.add(
                (
                    part.batch_id or MERGED,
                    str(part.partition),
                    part.file_id,
                    part.rows,
                    part.sha256,
                    part.identities_sha256,
                    part.index_sha256,
                )
            )
            if part.location_bytes:
                story.located.add((str(part.partition.location), part.file_id, part.location_sha256))
        story.withdrawn = {
            row[0] for row in store.catalog.query("SELECT batch_id FROM batches WHERE withdrawn_us IS NOT NULL")
        }
        for key, state in [*store.catalog.partition_states().items(), *store.catalog.location_states().items()]:
            if state == "dropped":
                story.erased.add(str(key))
            if state != "live":
                story.leaving.add(str(key))
        story.corrected = {
            (row[0], row[1], row[2])
            for row in store.catalog.query(
                "SELECT act, kind, end_date || '/' || retention_class || '/' || key_domain "
                "FROM corrections JOIN partitions USING (partition_id) WHERE confirmed_us IS NOT NULL"
            )
        }
    return story


def _of_log(store: Store) -> tuple[_Story, list[str]]:
    story, references, twice = _Story(), set(), []
    store.audit.refresh()
    for entry in store.audit.entries(0, store.audit.size, reveal=False):
        public: dict[str, Any] = entry.public
        reference = public.get(outbox.REFERENCE)
        if isinstance(reference, str):
            if reference in references:
                twice.append(reference)
            references.add(reference)
        if entry.kind == "batch":
            batch_id = public["batch"]
            counts = [public[name] for name in _COUNTS]
            story.batches.add((batch_id, public["source"], public["format"], *counts))
            story.parts |= {_told(batch_id, one) for one in public["parts"]}
            story.located |= _located(public["parts"])
        elif entry.kind == "compaction":
            removed = set(public["removed"])
            story.parts = {part for part in story.parts if part[2] not in removed}
            story.parts |= {_told(MERGED, one) for one in public["parts"]}
            story.located = {one for one in story.located if one[1] not in removed} | _located(public["parts"])
        elif entry.kind == "batch.withdrawn":
            story.withdrawn.add(public["batch"])
        elif entry.kind == "record.corrected":
            story.corrected.add((public["act"], public["kind"], public["partition"]))
        elif entry.kind in ANEW:
            story.parts |= {_told(MERGED, one) for one in public["parts"]}
            story.located |= _located(public["parts"])
            story.corrected = {_moved(one, public) for one in story.corrected if one[0] not in public["ended"]}
        elif entry.kind == "store.restored":  # erased after the backup was made: the newer log that said so is gone
            story.leaving |= set(public["erased_since"])
            story.erased |= set(public["erased_since"])
        elif entry.kind == "erasure.intended":
            story.leaving.add(public["partition"])
        elif entry.kind == "erasure.done":
            story.erased.add(public["partition"])
    return story, twice


def _moved(one: tuple[str, str, str], public: dict[str, Any]) -> tuple[str, str, str]:
    """Return a correction in force after its partition was written anew."""
    return (one[0], one[1], public["into"]) if one[2] == public["partition"] else one


def _located(parts: list[dict[str, Any]]) -> set[Located]:
    return {
        (str(PartitionKey.parse(one["partition"]).location), one["file"], one["location_sha256"])
        for one in parts
        if "location_sha256" in one
    }


def _told(batch_id: int, one: dict[str, Any]) -> Part:
    return (
        batch_id,
        one["partition"],
        one["file"],
        one["rows"],
        one["sha256"],
        one["identities_sha256"],
        one["index_sha256"],
    )
