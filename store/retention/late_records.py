"""Which records of a delivery come too late: their period is over, or their partition is erased already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.errors import BusyError, ClockError
from schemas.fields import SERVICE_TYPES
from store.partitions import PartitionKey
from store.retention.clocktrust import Verdict
from store.retention.policies import day_of, distinct, partition_of

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

DAY_MIN: Final = 0
"""Communications that ended before 1970 are over, whatever the policy."""

Mask = npt.NDArray[np.bool_]


def over_rows(
    records: pa.Table, slots: npt.NDArray[np.int64], states: Mapping[PartitionKey, str], clock: Verdict
) -> Mask | None:
    """Return which records are refused; None when none is.

    Args:
        records: packed records.
        slots: their numbers of `store.retention.policies.slots_of`, by the policy of `clock`.
        states: the state of every partition.
        clock: by which it is told.

    Raises:
        BusyError: nobody can tell. To count them as expired would lose them, if the clock is wrong.
    """
    gone = np.zeros(len(slots), np.bool_)
    services = records.column("service_type").cast(pa.string()) if clock.policy.has_moves else None
    try:
        for slot in distinct(slots):
            if _is_over(slot, states, clock):
                gone |= slots == slot
            elif services is not None:
                over = clock.services_over(partition_of(clock.policy, slot, states), SERVICE_TYPES)
                if over:
                    named = pc.is_in(services, value_set=pa.array(sorted(over), pa.string()))
                    gone |= (slots == slot) & np.asarray(named.to_numpy(zero_copy_only=False))
    except ClockError as error:
        raise BusyError(error.message, hint=error.hint) from error
    return gone if gone.any() else None


def _is_over(slot: int, states: Mapping[PartitionKey, str], clock: Verdict) -> bool:
    if day_of(slot) < DAY_MIN:
        return True
    key = partition_of(clock.policy, slot, states)
    return states.get(key) in ("dropping", "dropped") or clock.is_over(key)
