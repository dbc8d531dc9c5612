"""The six operations that the campaigns attack, each ready to run on a copy of the template, and again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.fault.ledger import Delivery, Ledger, SharedClock, ago, check, ending
from tests.fault.nursery import Child, Nursery, Template
from tests.fault.report import complaint

OPERATIONS = ("ingest", "ingest_many", "push", "compact", "expire", "erase")


@dataclass
class Operation:
    """One operation on one root; `arguments` follow the root."""

    work: str
    root: Path
    clock: SharedClock
    ledger: Ledger
    arguments: list[str]

    @classmethod
    def ready(cls, work: str, template: Template, home: Path) -> Operation:
        """Copy the template to `home` and write what the operation takes in."""
        root, ledger = template.copy(home), template.ledger.copy()
        clock = template.clock.later(1) if work == "expire" else template.clock
        deliveries: list[Delivery] = []
        if work == "ingest":
            deliveries = [ledger.new(60, ago(clock, 3), ago(clock, 1)), ledger.new(30, ago(clock, 1), ending(clock, 2))]
        elif work == "ingest_many":
            deliveries = [ledger.new(20, ago(clock, 3), ago(clock, day)) for day in (1, 2, 1)]
        elif work == "push":
            deliveries = [ledger.new(1, ago(clock, day)) for day in (1, 1, 2, 3, 4, 4)]
        arguments = [str(item.write(template.files)) for item in deliveries]
        if work == "erase":
            arguments = [str(key) for key in ledger.to_erase(clock, 1)]
        return cls(work, root, clock, ledger, [template.token, *arguments] if work == "push" else arguments)

    def judge(self, nursery: Nursery, attacked: Child, *, mute: bool = False) -> list[str]:
        """Check the store after an attack, do the operation again without one, and check once more.

        `mute`: the attack hit stderr, too, so nothing can be asked of what the process said.
        """
        assert attacked.code is not None
        problems = [] if mute else complaint(attacked.code, attacked.complained)
        self.ledger.acknowledge(attacked.acknowledged)
        problems += check(self.root, self.clock, self.ledger)
        again = nursery.run(self.work, self.clock, self.root, *self.arguments)
        if again.code:
            problems.append(f"the repetition failed with {again.code}: {again.complained.strip()}")
            return problems
        self.ledger.acknowledge(again.acknowledged)
        missing = [item.number for item in self.ledger.open()] + sorted(self.ledger.asked - self.ledger.erased)
        if missing:
            problems.append(f"the repetition did not acknowledge {missing}")
        return problems + [f"after the repetition: {text}" for text in check(self.root, self.clock, self.ledger)]
