"""Which rows are refused: times that cannot be, records of the future, labels and figures out of range. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from ingest.row_faults import RowFaults
from ingest.source_config import FUTURE_ALLOWANCE
from schemas.buffers import Column, Ints, Mask, pc, valid_mask
from schemas.fields import SERVICE_TYPES, Field
from schemas.rejects import RejectReason

TIME_MIN_US: Final = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""Earlier times are a switch's clock that was never set."""

DURATION_MAX_MS: Final = 10 * 366 * 86_400_000
"""Longer durations are a counter that overflowed."""

ANSWER_TOLERANCE_US: Final = 2_000_000
"""Start, answer and end are each cut or rounded to whole seconds, each in its own way."""

_ALLOWANCE_US: Final = FUTURE_ALLOWANCE // timedelta(microseconds=1)
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "source_port": (0, 65_535),
    "destination_port": (0, 65_535),
    "nat_port_first": (0, 65_535),
    "nat_port_last": (0, 65_535),
    "utc_offset_s": (-18 * 3600, 18 * 3600),
    "billable_duration_ms": (0, DURATION_MAX_MS),
    "volume_up_bytes": (0, 2**63 - 1),
    "volume_down_bytes": (0, 2**63 - 1),
    "partial_sequence": (0, 2**31 - 1),
}

Values: TypeAlias = tuple[Ints, "Mask | None"]
"""64-bit values, and which of them are valid; None means all."""


class Times(NamedTuple):
    """The times of a stretch as delivered, in µs since 1970 UTC; the duration in ms."""

    start: Values
    answer: Values
    end: Values
    duration: Values
    complete: Mask
    """Records and closing events: these need an end."""
    opens: Mask


class FilledTimes(NamedTuple):
    """The times of a stretch with end and duration filled in."""

    start: Values
    end: Values
    duration: Values
    inferred: Mask
    uncertain: Mask
    """The answer lies before the start or after the end: one of the three is wrong, and nothing tells which."""


def fill_times(times: Times, now_us: int, faults: RowFaults) -> FilledTimes:
    """Fill in end and duration, and refuse rows whose times cannot be.

    An end that was not delivered is start + duration, or the start itself; both count as inferred. A duration that was
    not delivered is end - start, unless the end was inferred.
    """
    start, has_start = times.start
    end, has_end = times.end
    duration, has_duration = times.duration
    if has_duration is None or has_duration.any():
        wrong = (duration < 0) | (duration > DURATION_MAX_MS)
        faults.add(_where(wrong, has_duration), RejectReason.BAD_FIELD, "duration_ms")
        if wrong.any():
            duration = np.clip(duration, 0, DURATION_MAX_MS)
    needed = times.complete | times.opens
    if has_start is not None:
        closes = _where(times.complete, has_end)  # a closing event may know only its end
        faults.add(needed & ~has_start & ~closes, RejectReason.MISSING_FIELD, "start_time")
    _check_absurd(times.start, now_us, faults, "start_time")
    _check_absurd(times.answer, now_us, faults, "answer_time")
    inferred = np.zeros(len(start), np.bool_)
    if has_end is not None:
        known = times.complete if has_start is None else times.complete & has_start
        inferred = known & ~has_end
        step = duration * 1000 if has_duration is None else np.where(has_duration, duration, 0) * 1000
        computed = start + step
        end = np.where(has_end, end, computed)
        delivered, has_end = has_end, has_end | inferred
    else:
        delivered = np.ones(len(start), np.bool_)
    _check_absurd((end, has_end), now_us, faults, "end_time")
    both = delivered if has_start is None else delivered & has_start
    uncertain = _answered_outside(times, (end, delivered))
    faults.add(both & (end < start), RejectReason.BAD_TIME, "end_time")
    if has_duration is not None:
        gap = both & ~has_duration & ~faults.mask
        if gap.any():
            duration = np.where(gap, (end - start) // 1000, duration)
        has_duration = has_duration | gap
    all_ends = None if has_end is None or has_end.all() else has_end
    return FilledTimes((start, has_start), (end, all_ends), (duration, has_duration), inferred, uncertain)


def _answered_outside(times: Times, delivered_end: Values) -> Mask:
    """Tell which rows were answered before they began, or after an end that was delivered."""
    answer, has_answer = times.answer
    if has_answer is not None and not has_answer.any():
        return has_answer
    start, has_start = times.start
    end, has_end = delivered_end
    early = _where(answer < start - ANSWER_TOLERANCE_US, has_start)
    late = _where(answer > end + ANSWER_TOLERANCE_US, has_end)
    return _where(early | late, has_answer)


def _where(mask: Mask, valid: Mask | None) -> Mask:
    return mask if valid is None else mask & valid


def _check_absurd(values: Values, now_us: int, faults: RowFaults, field: str) -> None:
    """Refuse times before 2000, and times further ahead than the allowance."""
    time, valid = values
    if not len(time) or (valid is not None and not valid.any()):
        return
    if time.min() < TIME_MIN_US:
        faults.add(_where(time < TIME_MIN_US, valid), RejectReason.BAD_TIME, field)
    latest = now_us + _ALLOWANCE_US
    if time.max() > latest:
        faults.add(_where(time > latest, valid), RejectReason.FUTURE, field)


def check_labels(made: Mapping[str, Column], faults: RowFaults) -> None:
    """Refuse rows without a service type, or with an unknown one."""
    service = made.get("service_type")
    if service is None:
        faults.add(np.ones(len(faults.mask), np.bool_), RejectReason.MISSING_FIELD, "service_type")
        return
    if service.null_count:
        faults.add(~valid_mask(service), RejectReason.MISSING_FIELD, "service_type")
    strange = [word not in SERVICE_TYPES for word in service.dictionary.to_pylist()]
    if any(strange):
        codes = np.asarray(pc.fill_null(service.indices, 0))
        wrong = np.array(strange)[codes] & valid_mask(service)
        faults.add(wrong, RejectReason.UNKNOWN_SERVICE, "service_type")


def check_ranges(field: Field, column: Column, faults: RowFaults) -> None:
    """Refuse figures outside their field's range."""
    bounds = _RANGES.get(field.name)
    if bounds is None:
        return
    lowest, highest = bounds
    values = np.asarray(pc.fill_null(column, lowest))
    if len(values) and (values.min() < lowest or values.max() > highest):
        faults.add((values < lowest) | (values > highest), RejectReason.BAD_FIELD, field.name)


def check_public_ports(made: Mapping[str, Column], faults: RowFaults) -> None:
    """Refuse a range of public ports that ends before it begins: no search for a port would find it."""
    first, last = made.get("nat_port_first"), made.get("nat_port_last")
    if first is not None and last is not None:
        backwards = np.asarray(pc.fill_null(pc.less(last, first), False))
        faults.add(backwards, RejectReason.BAD_FIELD, "nat_port_last")
