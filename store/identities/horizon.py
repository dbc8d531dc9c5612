"""Which days, and which parts, are near enough in time to hold the record that another repeats. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from store.identities.dedup import HORIZON_DAYS
from store.identities.identity_lookup import PartSource
from store.retention.policies import day_of, distinct


def around(slots: Iterable[int]) -> set[int]:
    """Return the days within the horizon of those that slots name."""
    days = {day_of(slot) for slot in slots}
    return {other for day in days for other in range(day - HORIZON_DAYS, day + HORIZON_DAYS + 1)}


def near(parts: Sequence[PartSource], slots: npt.NDArray[np.int64]) -> list[PartSource]:
    """Return the parts within the horizon of a stretch's days: a delivery of years is not held against all of them."""
    days = list(map(day_of, distinct(slots)))
    first, last = min(days) - HORIZON_DAYS, max(days) + HORIZON_DAYS
    return [part for part in parts if first <= part.day <= last]


def nearest_first(parts: Sequence[PartSource], slots: Iterable[int]) -> list[PartSource]:
    """Return the parts in the order of their distance to the days that new slots span."""
    days = sorted({day_of(slot) for slot in slots})
    middle, reach = (days[0] + days[-1]) / 2, (days[-1] - days[0]) / 2
    return sorted(parts, key=lambda part: max(0.0, abs(part.day - middle) - reach))
