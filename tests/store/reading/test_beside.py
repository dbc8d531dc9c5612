"""One process reads while others deliver, withdraw, erase, merge and expire, against a dictionary.

What a reader is shown at any instant is the model before what is under way, or after it, and from the acknowledgement
on only after: no record twice, none missing, none that is gone. The reader keeps its plans and its open parts, as a
service does; it is not told of anything.
"""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from store import ScanQuery, Store, TargetIdentifier
from store.clock import to_date
from store.partitions import PartitionKey
from tests.conftest import FixedClock, ends_us
from tests.patience import PATIENCE_S
from tests.store.records import CALLING, NOW_US

COLUMNS = ("record_key", "calling_number")
EVER = ScanQuery(0, 2**60, columns=COLUMNS)
CALLERS = 3
KEY_MIN = 10**11
AGES = (2, 3, 200, 201, 729, 730)
"""Days: of today, past the floor, and about to end."""


class Worker:
    """A process of `tests.store.reading.hand`."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.store.reading.hand"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def begin(self, root: Path, now_us: int, word: str, **with_: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"root": str(root), "now_us": now_us, "word": word, "with": with_}) + "\n")
        self._process.stdin.flush()

    def is_done(self) -> bool:
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def end(self) -> Any:
        assert self._process.stdout is not None
        answer = json.loads(self._process.stdout.readline())
        assert "done" in answer, answer
        return answer["done"]

    def stop(self) -> None:
        self._process.communicate(timeout=PATIENCE_S)


class Beside(RuleBasedStateMachine):
    """A life of one root; the model has the caller of every record that must be shown, by its key."""

    template: Path
    place: Path
    workers: tuple[Worker, Worker]

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir=self.place)) / "root"  # no other life's: the others have that open
        shutil.copytree(self.template, self.root)
        self.clock = FixedClock(NOW_US)
        self.store = Store.open(self.root, clock=self.clock)
        self.shown: dict[int, int] = {}
        self.batches: list[dict[str, Any]] = []
        self.acts = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.look()
            assert self.store.verify() == []
            self.store.close()
            shutil.rmtree(self.root.parent)

    @rule(age=st.sampled_from(AGES), rows=st.integers(1, 5), caller=st.integers(0, CALLERS - 1), who=st.integers(0, 1))
    def new(self, age: int, rows: int, caller: int, who: int) -> None:
        said = {"first": 10 * len(self.batches), "rows": rows, "days_ago": age, "calling": CALLING + caller}
        keys = {KEY_MIN + said["first"] + row: caller for row in range(rows)}
        if self._is_over(age):
            return
        number, accepted, _ = self._beside(who, self.shown | keys, "deliver", **said)
        assert accepted == rows
        self.batches.append({"number": number, "said": said, "age": age, "keys": keys, "left": set(keys)})

    @precondition(lambda self: self.batches)
    @rule(pick=st.integers(0, 99), who=st.integers(0, 1))
    def again(self, pick: int, who: int) -> None:
        """The same records come again: what is stored is a duplicate, what was withdrawn or erased by itself is new."""
        batch = self.batches[pick % len(self.batches)]
        if self._is_over(batch["age"]):
            return
        missing = {key: caller for key, caller in batch["keys"].items() if key not in self.shown}
        number, accepted, twice = self._beside(who, self.shown | missing, "deliver", **batch["said"])
        assert (accepted, accepted + twice) == (len(missing), len(batch["keys"]))
        for one in self.batches:
            one["left"] -= missing.keys()
        self.batches.append({**batch, "number": number, "left": set(missing)})

    @precondition(lambda self: self._there())
    @rule(pick=st.integers(0, 99), who=st.integers(0, 1))
    def withdraw(self, pick: int, who: int) -> None:
        batch = self._there()[pick % len(self._there())]
        after = {key: caller for key, caller in self.shown.items() if key not in batch["left"]}
        self._beside(who, after, "withdraw", batch=batch["number"])
        batch["left"].clear()

    @precondition(lambda self: self._erasable())
    @rule(pick=st.integers(0, 99), who=st.integers(0, 1))
    def erase(self, pick: int, who: int) -> None:
        batch = self._erasable()[pick % len(self._erasable())]
        key = sorted(batch["left"])[pick % len(batch["left"])]
        after = {one: caller for one, caller in self.shown.items() if one != key}
        self.acts += 1
        position = key - KEY_MIN - batch["said"]["first"] + 1
        assert self._beside(who, after, "erase", act=self.acts, batch=batch["number"], position=position) == 1
        batch["left"].discard(key)

    @rule(who=st.integers(0, 1))
    def compact(self, who: int) -> None:
        self._beside(who, self.shown, "compact")

    @rule(who=st.integers(0, 1))
    def expire(self, who: int) -> None:
        self._beside(who, self.shown, "expire")

    @rule()
    def a_day_later(self) -> None:
        """From the instant on at which a period ends nothing of it is shown, erased or not."""
        self.clock.advance(days=1)
        for batch in self.batches:
            if self._is_over(batch["age"]):
                for key in batch["keys"]:
                    self.shown.pop(key, None)
                batch["left"].clear()
        self.look()

    @rule()
    def both(self) -> None:
        """One merges while the other delivers."""
        said = {"first": 10 * len(self.batches), "rows": 4, "days_ago": 3, "calling": CALLING}
        keys = {KEY_MIN + said["first"] + row: 0 for row in range(4)}
        self.workers[1].begin(self.root, self.clock.value_us, "compact")
        number, accepted, _ = self._beside(0, self.shown | keys, "deliver", **said)
        assert accepted == 4
        self.workers[1].end()
        self.batches.append({"number": number, "said": said, "age": 3, "keys": keys, "left": set(keys)})
        self.look()

    def look(self) -> None:
        assert self._seen() == self.shown
        for caller in range(CALLERS):
            target = TargetIdentifier("number", str(CALLING + caller)[1:])
            found = self._seen(ScanQuery(0, 2**60, (target,), COLUMNS), callers=(caller,))
            assert found.keys() >= {key for key, one in self.shown.items() if one == caller}
            assert found.items() <= self.shown.items()

    def _beside(self, who: int, after: dict[int, int], word: str, **with_: Any) -> Any:
        """Let another process do something, read meanwhile, and return its answer."""
        worker, before = self.workers[who], self.shown
        worker.begin(self.root, self.clock.value_us, word, **with_)
        is_after = False
        while not worker.is_done():
            seen = self._seen()
            assert seen == after or (seen == before and not is_after)
            is_after = seen == after != before
        answer = worker.end()
        self.shown = dict(after)
        self.look()
        return answer

    def _seen(self, query: ScanQuery = EVER, callers: tuple[int, ...] = ()) -> dict[int, int]:
        found: dict[int, int] = {}
        for batch in self.store.scan(query):
            for row in batch.to_pylist():
                assert row["record_key"] not in found, "no record is shown twice"
                found[row["record_key"]] = row["calling_number"] - CALLING
        return found

    def _there(self) -> list[dict[str, Any]]:
        return [one for one in self.batches if one["left"]]

    def _erasable(self) -> list[dict[str, Any]]:
        return [one for one in self._there() if one["age"] >= 200 and not self._is_over(one["age"])]

    def _is_over(self, age: int) -> bool:
        day = to_date(NOW_US - age * 86_400_000_000)
        return self.clock.value_us >= ends_us(PartitionKey(day, "standard"))


@pytest.fixture
def workers() -> Iterator[tuple[Worker, Worker]]:
    both = (Worker(), Worker())
    yield both
    for one in both:
        one.stop()


def live(place: Path, workers: tuple[Worker, Worker], lives: int, steps: int) -> None:
    template = place / "template"
    Store.create(template, clock=FixedClock(NOW_US)).close()
    machine = type("Beside", (Beside,), {"template": template, "place": place, "workers": workers})
    options = settings(
        max_examples=lives,
        stateful_step_count=steps,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=options)


def test_a_reader_beside_others_is_shown_what_is_acknowledged(tmp_path: Path, workers: tuple[Worker, Worker]) -> None:
    live(tmp_path, workers, lives=3, steps=12)


@pytest.mark.torture
def test_a_reader_beside_others_for_long(tmp_path: Path, workers: tuple[Worker, Worker]) -> None:
    live(tmp_path, workers, lives=300, steps=40)
