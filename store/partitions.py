"""The partition key, and what the calendar says about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

from schemas.policy import Policy
from schemas.retention import SHARED_DOMAIN, floor_until
from store.keys import KeyRef

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True, order=True)
class PartitionKey:
    """(UTC date on which the communication ended, retention class, key domain)."""

    end_date: date
    retention_class: str
    key_domain: str = SHARED_DOMAIN

    @classmethod
    def parse(cls, text: str) -> PartitionKey:
        """Read what `str` writes: DATE/CLASS/DOMAIN; ValueError if it is something else."""
        day, retention_class, key_domain = text.split("/")
        return cls(date.fromisoformat(day), retention_class, key_domain)

    @property
    def ref(self) -> KeyRef:
        """Where the keyring keeps this partition's key."""
        return KeyRef("partition", self.end_date.isoformat(), self.retention_class, self.key_domain)

    @property
    def floor_until(self) -> datetime:
        """Until then nothing removes a record of it."""
        return floor_until(self.end_date)

    def __str__(self) -> str:
        return f"{self.end_date.isoformat()}/{self.retention_class}/{self.key_domain}"


def to_us(moment: datetime) -> int:
    """Return microseconds since the epoch of an aware datetime, exactly."""
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def expires_at(key: PartitionKey, policy: Policy) -> datetime:
    """Return the instant from which scans refuse the partition, dropped or not."""
    return policy.expires_at(key.end_date, key.retention_class)


def is_expired(key: PartitionKey, now_us: int, policy: Policy) -> bool:
    """Tell whether the partition's period is over."""
    return now_us >= to_us(expires_at(key, policy))


def is_due(key: PartitionKey, now_us: int, policy: Policy) -> bool:
    """Tell whether the partition is to be erased: its period is over and the floor is passed."""
    return is_expired(key, now_us, policy) and is_above_floor(key, now_us)


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
