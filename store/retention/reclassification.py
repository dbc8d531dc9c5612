"""Categories of service that end sooner than the class in which their records lie. Pure but for a look at the catalog.

A version of the policy moves a category to a class that ends sooner. What is stored already lies under one key with the
rest of its class, and ends all the same when the category's new period is over: from that instant readers leave these
records out, and once the floor is passed the partition is written anew without them
(`store.retention.reclassified_erasure`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from schemas.policy import Policy, Rule
from store.model import rfc3339
from store.partitions import PartitionKey, is_above_floor, to_us

if TYPE_CHECKING:
    from store.store import Store


@dataclass(frozen=True, slots=True)
class Moved:
    """Records of a partition that end before it, all by one rule."""

    key: PartitionKey
    services: tuple[str, ...]
    records: int
    rule: Rule

    @property
    def date(self) -> date:
        """UTC date on which its communications ended."""
        return self.key.end_date

    @property
    def expires_at(self) -> datetime:
        """From then on scans leave these records out."""
        return self.rule.ends

    @property
    def erasable_at(self) -> datetime:
        """From then on the partition is written anew without them: their period is over and the floor is passed."""
        return max(self.rule.ends, self.key.floor_until)

    def is_due(self, now_us: int) -> bool:
        """Tell whether they are to be erased."""
        return now_us >= to_us(self.rule.ends) and is_above_floor(self.key, now_us)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "partition": str(self.key),
            "services": list(self.services),
            "records": self.records,
            "expires_at": rfc3339(self.expires_at),
            "policy_version": self.rule.version.number,
            "class": self.rule.period.name,
            "citation": self.rule.period.citation,
        }


def rules_of(policy: Policy, key: PartitionKey, services: Iterable[str]) -> list[tuple[Rule, list[str]]]:
    """Return the rules by which categories of service end before their partition, each with its categories. Pure."""
    found: dict[tuple[int, str], tuple[Rule, list[str]]] = {}
    for service in services if policy.has_moves else ():
        rule = policy.service_rule(key.end_date, key.retention_class, service)
        if rule is not None:
            found.setdefault((rule.version.number, rule.period.name), (rule, []))[1].append(service)
    return list(found.values())


def moved(policy: Policy, stored: Mapping[PartitionKey, Mapping[str, int]]) -> list[Moved]:
    """Return what ends before its partition, soonest first. Pure.

    Args:
        policy: all versions.
        stored: the records of each partition by category of service.
    """
    return sorted(
        (
            Moved(key, tuple(sorted(services)), sum(counts[service] for service in services), rule)
            for key, counts in stored.items()
            for rule, services in rules_of(policy, key, counts)
        ),
        key=lambda item: (item.expires_at, item.key, item.services),
    )


def stored_moves(store: Store, policy: Policy) -> list[Moved]:
    """Return the stored records that end before their partition, soonest first."""
    if not policy.has_moves:
        return []
    return moved(policy, store.catalog.services())
