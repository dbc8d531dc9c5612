"""The partition key, and what the calendar says about it. Pure.

A field category that may end before its record's core (`schemas.retention.CATEGORY_FLOORS`) lies in a *sibling* of the
partition: files and a key of its own. Its key names the category besides, and everything that is asked of a partition
(its key, its floor, its end) can be asked of a sibling.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.fields import Category
from schemas.policy import Policy
from schemas.retention import SHARED_DOMAIN, floor_until
from store.keys import KeyRef

DAY_US = 86_400_000_000
LOCATION: Final = Category.LOCATION.value
PARTITION_KIND: Final = "partition"
KEY_KINDS: Final = (PARTITION_KIND, LOCATION)
"""Kinds of keys of the keyring that a partition or a sibling has."""
_REFS_MAX: Final = 4_096
"""Names of keys that a process keeps: every part of a partition asks for the same one."""


@dataclass(frozen=True, slots=True, order=True)
class PartitionKey:
    """(UTC date on which the communication ended, retention class, key domain), and of a sibling its category."""

    end_date: date
    retention_class: str
    key_domain: str = SHARED_DOMAIN
    category: str = ""

    @classmethod
    def parse(cls, text: str) -> PartitionKey:
        """Read what `str` writes: DATE/CLASS/DOMAIN, of a sibling /CATEGORY too; ValueError if it is something else."""
        day, retention_class, key_domain, *category = text.split("/")
        if category and category != [LOCATION]:
            raise ValueError("no category of its own")
        return cls(date.fromisoformat(day), retention_class, key_domain, *category)

    @classmethod
    def of_ref(cls, ref: KeyRef) -> PartitionKey:
        """Return the partition or sibling whose key has that name; `ref.kind` is one of `KEY_KINDS`."""
        category = "" if ref.kind == PARTITION_KIND else ref.kind
        return cls(date.fromisoformat(ref.date), ref.name, ref.domain, category)

    @property
    def ref(self) -> KeyRef:
        """Where the keyring keeps this partition's key."""
        return _ref(self)

    @property
    def location(self) -> PartitionKey:
        """The sibling with the location of its records."""
        return PartitionKey(self.end_date, self.retention_class, self.key_domain, LOCATION)

    @property
    def core(self) -> PartitionKey:
        """The partition whose sibling it is, or itself."""
        return replace(self, category="")

    @property
    def floor_until(self) -> datetime:
        """Until then nothing removes a record of it."""
        return floor_until(self.end_date, self.category)

    def __str__(self) -> str:
        name = f"{self.end_date.isoformat()}/{self.retention_class}/{self.key_domain}"
        return f"{name}/{self.category}" if self.category else name


@lru_cache(_REFS_MAX)
def _ref(key: PartitionKey) -> KeyRef:
    kind = key.category or PARTITION_KIND
    return KeyRef(kind, key.end_date.isoformat(), key.retention_class, key.key_domain)


def successor(key: PartitionKey) -> PartitionKey:
    """Return the partition that takes a partition's place when it is written anew, under a key of its own: DOMAIN.2."""
    domain, _, number = key.key_domain.partition(".")
    return replace(key, key_domain=f"{domain}.{int(number or 1) + 1}")


def newest(key: PartitionKey, known: Container[PartitionKey]) -> PartitionKey:
    """Return the newest generation of a partition among those that are known, or the partition itself."""
    while (after := successor(key)) in known:
        key = after
    return key


def to_us(moment: datetime) -> int:
    """Return microseconds since the epoch of an aware datetime, exactly."""
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def expires_at(key: PartitionKey, policy: Policy) -> datetime:
    """Return the instant from which scans refuse the partition, dropped or not."""
    return policy.expires_at(key.end_date, key.retention_class, key.category)


def expires_us(key: PartitionKey, policy: Policy) -> int:
    """Return the instant from which scans refuse the partition, in µs."""
    return policy.expires_us(key.end_date, key.retention_class, key.category)


def is_expired(key: PartitionKey, now_us: int, policy: Policy) -> bool:
    """Tell whether the partition's period is over."""
    return now_us >= to_us(expires_at(key, policy))


def is_due(key: PartitionKey, now_us: int, policy: Policy) -> bool:
    """Tell whether the partition is to be erased: its period is over and the floor is passed.

    A sibling without a sooner end of its own goes with its partition, and not before that one's floor.
    """
    if key.category and not ends_apart(key, policy):
        key = key.core
    return is_expired(key, now_us, policy) and is_above_floor(key, now_us)


def ends_apart(key: PartitionKey, policy: Policy) -> bool:
    """Tell whether a sibling's period is over before its partition's."""
    return expires_at(key, policy) < expires_at(key.core, policy)


def is_above_floor(key: PartitionKey, now_us: int) -> bool:
    """Tell whether the law allows to remove the partition."""
    return now_us >= to_us(key.floor_until)


def end_days(end_time_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the day number (days since 1970-01-01) of each end."""
    return np.floor_divide(end_time_us, DAY_US)


def day_to_date(day: int) -> date:
    """Return the date of a day number."""
    return date.fromordinal(day + _EPOCH_ORDINAL)


def date_to_day(day: date) -> int:
    """Return the day number of a date."""
    return day.toordinal() - _EPOCH_ORDINAL


_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
