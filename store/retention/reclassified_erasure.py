"""Erasing what a version of the policy moved to a class that ends sooner: its partition is written anew without it.

(0) The clock is trusted; the category's new period is over by every clock, and the floor is passed.
(1) What holds in force name of these records is copied out; files that no row names yet.
(2) The partition is written anew without them (`store.retention.rewriting`). The rows of the held files come with its
transaction, which is begun anew if a hold, a delivery or a merge came meanwhile: a hold that came before wins.
(3) All partitions of a run are erased together: one generation of the keyring, a certificate for each.

What stays keeps its class and its end. A partition that cannot be read is left as it is and told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.errors import BusyError, IntegrityError, KeyUnavailableError, RetentionError
from store import files
from store.model import rfc3339
from store.retention import certificates, commitments, erasing, expiry, rewriting
from store.retention.clocktrust import Verdict
from store.retention.policies import statement
from store.retention.reclassification import Moved, stored_moves

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

ENTRY: Final = "category.ended"


def due(store: Store, verdict: Verdict) -> list[Moved]:
    """Return what is to be erased of partitions that are not due themselves."""
    now_us = verdict.erase_us
    whole = {item.key for item in expiry.due(store.catalog.partitions(verdict.policy), now_us, verdict.policy)}
    waiting = stored_moves(store, verdict.policy)
    return [item for item in waiting if item.is_due(now_us) and item.key not in whole]


def refuse_early(item: Moved, now_us: int) -> None:
    """Raise when records would go before their period is over or before the floor; the last check before they do.

    Raises:
        RetentionError: the floor or the policy forbids it.
    """
    if not item.is_due(now_us):
        raise RetentionError(f"no record of partition {item.key} may be erased before {rfc3339(item.erasable_at)}")


def expire(store: Store, run: expiry.Expired, *, step: Callable[[str], None] | None = None) -> expiry.Expired:
    """Erase what is over of partitions that are not, after a run of expiry; return that run with what it did.

    Raises:
        ClockError: the clock is not trusted; nothing is begun.
        IntegrityError: the catalog does not know the holds and the policy that the audit log knows; nothing is begun.
        AuditError: the intent could not be logged; the next run that can finishes the erasure.
    """
    if not store.policies.current().has_moves:
        return run
    if run.dry_run:
        return replace(run, moved=tuple(due(store, store.clock_guard.verdict())))
    report = step or (lambda _: None)
    done, unsound = [], []
    with files.lock(store.layout.erasure_lock, exclusive=True, blocking=True):
        expiry.finish(store, report)
        verdict = store.clock_guard.require_trusted()
        certificates.adopt(store)
        begun = set()
        waiting = due(store, verdict)
        if waiting:
            commitments.refuse_forgotten(store)
        for item in waiting:
            if item.key in begun:
                continue  # what ends by another rule lies in the next generation now: the next round
            try:
                _end(store, item, verdict, report)
            except (IntegrityError, KeyUnavailableError):
                unsound.append(item.key)
            except BusyError:
                continue  # the next run
            else:
                begun.add(item.key)
                done.append(item)
        if done:
            rewriting.finish(store, report)
    run = replace(run, moved=(*run.moved, *done), unsound=(*run.unsound, *unsound), generation=store.keyring.generation)
    again = done and not unsound and due(store, verdict)
    return expire(store, run, step=step) if again else run


def _end(store: Store, item: Moved, verdict: Verdict, report: Callable[[str], None]) -> None:
    """Steps (1) and (2) for one partition and one rule.

    Raises:
        RetentionError: it is too early.
        BusyError: deliveries keep coming, or the location of the partition is being erased.
        IntegrityError, KeyUnavailableError: a part cannot be read.
    """
    for _ in range(rewriting.ATTEMPTS):
        try:
            _try(store, item, verdict, report)
        except rewriting.ChangedError:
            continue
        return
    raise BusyError("deliveries to the partition keep coming", hint="the next expiry run ends it")


def _try(store: Store, item: Moved, verdict: Verdict, report: Callable[[str], None]) -> None:
    refuse_early(item, verdict.erase_us)
    holds = rewriting.holds_now(store)
    gone: set[tuple[int, int]] = set()
    goes = _of_services(item.services, _corrected(store, item), gone)
    with store.writers.holding():  # nobody takes the new files for orphans
        held = store.holds.copied(item.key, item.services)
        report("held")
        made = rewriting.rewrite(store, item.key, goes)
        report("written")
        with store.catalog.transaction() as cursor:
            rewriting.refuse_changed(store, made, holds)
            words = {**rewriting.certificate_fields(made, item.rule.period.citation), "services": list(item.services)}
            drafted = certificates.draft(store, item.key, held.counts, verdict, words, item.rule)
            store.holds.note(cursor, held)
            public = {"policy": statement(verdict.policy, item.key, item.rule)}
            rewriting.publish(store, cursor, made, drafted, gone, (ENTRY, public, None))


def _corrected(store: Store, item: Moved) -> set[tuple[int, int]]:
    """Return the records of a partition of which a correction is requested or in force."""
    corrections = [one for one in store.corrections.all() if one.partition == item.key]
    return {place for one in corrections for place in erasing.places(one)}


def _of_services(services: tuple[str, ...], watched: rewriting.Places, gone: set[tuple[int, int]]) -> rewriting.Goes:
    """Tell the records of these categories from others; those of `watched` that go are added to `gone`."""
    wanted = pa.array(services, pa.string())
    numbers = [position for _, position in watched]

    def goes(
        records: pa.Table, batches: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        if "service_type" not in records.column_names:
            return np.zeros(len(positions), np.bool_)
        found = pc.is_in(records.column("service_type").cast(pa.string()), value_set=wanted)
        mask = np.asarray(found.to_numpy(zero_copy_only=False))
        for row in np.flatnonzero(mask & np.isin(positions, numbers)) if watched else ():
            place = (int(batches[row]), int(positions[row]))
            if place in watched:
                gone.add(place)
        return mask

    return goes
