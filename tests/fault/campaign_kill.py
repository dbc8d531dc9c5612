"""kill -9 at a random time under load: files, pushes over HTTP, compaction, expiry and corrections side by side.

Each round draws its processes, lets them work for a random time, kills them all, opens the store and checks it. The
clock is one day further in each round, so every round has a partition to erase; what was not acknowledged is delivered
again in the next. A root lives for some rounds, then a new one begins: rounds are known by (seed, number).
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fault.ledger import KEY_MIN, KEYS_PER_DELIVERY, SOURCE, Delivery, Ledger, SharedClock, ago, check, ending
from tests.fault.nursery import Child, Nursery, Template
from tests.fault.report import Report, complaint
from tests.patience import PATIENCE_S

ROUNDS_PER_ROOT = 25
PUSHERS = 3
READY_SECONDS_MAX = 60.0
WINDOW_SECONDS_MAX = 0.8
INTAKE = ("take_in", "take_in twice", "ingest", "ingest_many", "serve", "push")
UPKEEP = ("compact", "expire", "erase")
"""A round has one or two of the first, none to two of the second; beside who erases records another rectifies some."""


@dataclass
class Pushers:
    """Threads that push single records over HTTP until the service dies; `taken` holds what was answered with 2xx."""

    port: int
    token: str
    waiting: list[Delivery]
    taken: set[int] = field(default_factory=set)
    answers: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._run) for _ in range(PUSHERS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "text/csv"}
        try:
            while True:
                with self._lock:
                    if not self.waiting:
                        return
                    delivery = self.waiting.pop()
                connection.request("POST", f"/v1/cdrs?source={SOURCE}&format=csv", delivery.csv(), headers)
                answer = connection.getresponse()
                answer.read()
                with self._lock:
                    self.answers[answer.status] = self.answers.get(answer.status, 0) + 1
                    if 200 <= answer.status < 300:
                        self.taken.add(delivery.number)
        except (OSError, http.client.HTTPException):
            return  # the service was killed
        finally:
            connection.close()


class Campaign:
    """Rounds on roots in `directory`."""

    def __init__(self, directory: Path, nursery: Nursery, template: Template) -> None:
        self._directory, self._nursery, self._template = directory, nursery, template

    def rounds(self, report: Report, count: int, seed: int, *, first: int = 0) -> None:
        """Run the rounds `first` to `count` of a seed; a root begins at every multiple of `ROUNDS_PER_ROOT`."""
        life: _Life | None = None
        for number in range(first - first % ROUNDS_PER_ROOT, count):
            if life is None or number % ROUNDS_PER_ROOT == 0:
                life = _Life(self._directory / "life", self._nursery, self._template)
            chance = random.Random(f"{seed} {number}")
            case, problems = life.round(chance)
            report.note(f"round {number} of seed {seed}: {case}", "killed", problems)
            report.more["processes"] = report.more.get("processes", 0) + life.killed
            report.more["acknowledged"] = report.more.get("acknowledged", 0) + life.news
            for status, times in life.answers.items():
                answers = report.more.setdefault("answers", {})
                answers[str(status)] = answers.get(str(status), 0) + times
            if problems:
                life = None


class _Life:
    """One root, from round to round."""

    def __init__(self, home: Path, nursery: Nursery, template: Template) -> None:
        self._nursery, self._files, self._token = nursery, template.files, template.token
        self._root = template.copy(home)
        (self._root / "lagrum.toml").write_text(
            "[background]\nexpiry_interval_seconds = 1\ncompaction_interval_seconds = 1\n"
        )
        self._ledger: Ledger = template.ledger.copy()
        self._clock: SharedClock = template.clock
        self.news = self.killed = 0
        self.answers: dict[int, int] = {}

    def round(self, chance: random.Random) -> tuple[str, list[str]]:
        """Let processes work for a random time and kill them; return what ran, and what is wrong afterwards."""
        self._clock = self._clock.later(1)
        chosen = chance.sample(INTAKE, chance.choice([1, 1, 2])) + chance.sample(UPKEEP, chance.choice([0, 1, 1, 2]))
        files, pushes = self._deliveries(chance)
        coming = {item.number for item in (*files, *pushes)}
        targets = self._ledger.to_erase(self._clock, 3, but=coming) if "erase" in chosen else []
        children, pushers = self._start(chosen, files, pushes, targets, chance)
        time.sleep(chance.uniform(0, WINDOW_SECONDS_MAX))
        chance.shuffle(children)
        for child in children:
            child.kill()
            if chance.random() < 0.3:
                time.sleep(chance.uniform(0, 0.03))  # the others go on without it for a moment
        problems, self.killed = [], 0
        for child in children:
            child.end()
            self.killed += child.code == -9
            if child.code != -9:
                problems += complaint(child.code or 0, child.complained)
        acknowledged = set().union(*(child.acknowledged for child in children))
        self.answers = {}
        if pushers is not None:
            pushers.join()
            acknowledged |= pushers.taken
            self.answers = pushers.answers
        self.news = len({number for number in acknowledged if number < KEY_MIN} - self._ledger.acknowledged)
        self._ledger.acknowledge(acknowledged)
        problems += check(self._root, self._clock, self._ledger)
        self._ledger.forget_over(self._clock)
        return " ".join(chosen), problems

    def _deliveries(self, chance: random.Random) -> tuple[list[Delivery], list[Delivery]]:
        """Return files and pushes: what is still open, a repetition, and new ones."""
        clock, ledger = self._clock, self._ledger
        gone = {(key - KEY_MIN) // KEYS_PER_DELIVERY for key in ledger.asked}  # delivered again they would be new
        known = [item for number, item in sorted(ledger.delivered.items()) if number not in gone]
        known = [item for item in ledger.open() if item.number not in gone] + chance.sample(known, min(2, len(known)))
        days = [ago(clock, day) for day in range(1, 5)]
        for _ in range(12):
            spread = chance.sample([*days, ending(clock, 1), ending(clock, 2)], chance.randint(1, 3))
            known.append(ledger.new(chance.randint(2, 80), *spread))
        pushes = [item for item in known if item.rows == 1]
        pushes += [ledger.new(1, chance.choice(days)) for _ in range(max(0, 30 - len(pushes)))]
        files = [item for item in known if item.rows > 1]
        chance.shuffle(files)
        return files, pushes

    def _start(
        self,
        chosen: list[str],
        files: list[Delivery],
        pushes: list[Delivery],
        targets: list[int],
        chance: random.Random,
    ) -> tuple[list[Child], Pushers | None]:
        children, pushers = [], None
        start, clock, root = self._nursery.start, self._clock, self._root
        if "serve" in chosen:
            service = start("command", clock, "--json", "--root", str(root), "serve", "--port", "0")
            children.append(service)
            port = _port(service)
            pushers = Pushers(port, self._token, list(pushes))
        paths = [item.write(self._files) for item in files]
        if "ingest" in chosen:
            children.append(start("ingest", clock, root, *paths))
        if "ingest_many" in chosen:
            children.append(start("ingest_many", clock, root, *paths))
        if "take_in" in chosen or "take_in twice" in chosen:
            children.append(start("take_in", clock, root, *paths))
        if "take_in twice" in chosen:
            children.append(start("take_in", clock, root, *reversed(paths)))
        if "compact" in chosen:
            children.append(start("compact", clock, root, 50))
        if "expire" in chosen:
            children.append(start("expire", clock, root, 50))
        if targets:
            children.append(start("rectify", clock, root, *(str(target + 1) for target in targets)))
            children.append(start("erase", clock, root, *map(str, targets)))
        if "push" in chosen:
            own = pushes[: chance.randint(1, 8)]
            children.append(start("push", clock, root, self._token, *(item.write(self._files) for item in own)))
        if pushers is not None:
            pushers.start()
        return children, pushers


def _port(service: Child) -> int:
    """Return the port on which the service listens, as soon as it does."""
    end = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < end:
        line = service.stdout.read_text() if service.stdout.exists() else ""
        if line.endswith("\n"):
            return int(json.loads(line)["url"].rpartition(":")[2])
        time.sleep(0.005)
    raise AssertionError(f"the service did not begin: {service.complained}")
