"""Campaign `fuzz`: damaged bytes for everything that reads a switch's bytes, on three levels, each with a report.

`kernels`: the compiled loops alone, in guarded memory (`tests.fault.fuzz_kernels`); one execution is one call.
`records`: deliveries of a thousand records, half of them damaged (`tests.fault.fuzz_records`); one execution is one
damaged record in a delivery that was decoded. `deliveries`: damaged deliveries of a few records, terminators and all
(`tests.fault.fuzz_child`); one execution is one delivery. They cost most, so formats whose records delimit themselves
see one for every `RUNS_A_DELIVERY` runs.

Formats take turns, a slice each, every slice in a process of its own: a decoder that dies takes no other with it. The
reports are written after every turn, so a campaign may be stopped at any time; `--first` goes on.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ingest.decoders import FORMATS
from tests.fault.fuzz_kernels import BLOCK
from tests.fault.record_forms import FORMS, WHOLE
from tests.fault.report import Report, say

LEVELS = ("kernels", "records", "deliveries")
SLICE = 2_000
SLICE_RECORDS = 200
"""Deliveries of many records in one process."""
RUNS_A_DELIVERY = 250
STILL_SECONDS_MAX = 900
"""A process whose case is the same for so long hangs where no signal reaches it."""
ENDED = {-signal.SIGPROF: "it hangs"}


def nothing() -> None:
    """Do nothing after a turn."""


def kernels(
    report: Report, runs: int, seed: int, *, first: int = 0, after_turn: Callable[[], object] = nothing
) -> None:
    """Call every compiled loop `runs` times, with numba's bounds checks."""
    done = report.more.setdefault("executions", {})
    words = [str(seed), str(first // BLOCK), str(max((runs - first) // BLOCK, 1))]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fault.fuzz_kernels", *words],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"NUMBA_BOUNDSCHECK": "1"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            done[told["kernel"]] = told["executions"]
            report.runs += told["executions"]
            for problem in told["problems"]:
                report.note(f"{told['kernel']} --seed {seed}", "problem", [problem])
            say(f"fuzz: {told['executions']} calls of {told['kernel']}, {report.failed} failed")
            after_turn()
    if process.returncode:
        report.note("kernels", "died", [f"it ended with {process.returncode}"])


def records(
    report: Report,
    place: Path,
    runs: int,
    seed: int,
    *,
    first: int = 0,
    formats: Sequence[str] = FORMS,
    after_turn: Callable[[], object] = nothing,
) -> None:
    """Damage `runs` records of every format, in deliveries numbered from `first` on."""
    counts: dict[str, dict[str, int]] = report.more.setdefault("formats", {name: {} for name in formats})
    begin, waiting = first, list(formats)
    while waiting:
        for name in waiting:

            def take(told: dict[str, Any], name: str = name) -> None:
                for problem in told.pop("problems"):
                    report.note(f"{name} --seed {seed} --first {problem[0]}", "problem", [problem[1]])
                report.runs += told["records"]
                for key, number in told.items():
                    counts[name][key] = counts[name].get(key, 0) + number

            count = min(SLICE_RECORDS, runs // 100 + 1)
            _slice(report, place / f"{name}.state", ("tests.fault.fuzz_records", name), (seed, begin, count), take)
        begin += SLICE_RECORDS
        waiting = [name for name in waiting if 0 < counts[name].get("records", 0) < runs]
        say(f"fuzz: {report.runs} records, {len(waiting)} formats go on, {report.failed} failed")
        after_turn()


def deliveries(
    report: Report,
    place: Path,
    runs: int,
    seed: int,
    *,
    first: int = 0,
    formats: Sequence[str] = tuple(FORMATS),
    after_turn: Callable[[], object] = nothing,
) -> None:
    """Give every decoder the cases `first` to `runs` of a seed."""
    done = report.more.setdefault("executions", dict.fromkeys(formats, 0))
    for begin in range(first, runs, SLICE):
        for name in formats:

            def take(told: dict[str, Any], name: str = name) -> None:
                for outcome, number in told["outcomes"].items():
                    report.outcomes[outcome] = report.outcomes.get(outcome, 0) + number
                report.runs += sum(told["outcomes"].values()) - len(told["problems"])
                for case, problem in told["problems"]:
                    report.note(f"{name} --seed {seed} --first {case}", "problem", [problem])

            count = min(SLICE, runs - begin)
            _slice(report, place / f"{name}.state", ("tests.fault.fuzz_child", name), (seed, begin, count), take)
            done[name] += count
        say(f"fuzz: {begin + count - first} of each of {len(formats)} decoders, {report.failed} failed")
        after_turn()


def campaign(
    place: Path, runs: int, seed: int, *, first: int, levels: Sequence[str], written: Callable[[Report], object]
) -> list[Report]:
    """Run some of `LEVELS`; `written` is told of a report after each of its turns."""
    made = {level: Report(f"fuzz-{level}") for level in levels}
    for level, report in made.items():
        turn = partial(written, report)
        if level == "kernels":
            kernels(report, runs, seed, first=first, after_turn=turn)
        elif level == "records":
            records(report, place, runs, seed, first=first, after_turn=turn)
        else:
            few = max(runs // RUNS_A_DELIVERY, 1)
            deliveries(report, place, few, seed, first=first // RUNS_A_DELIVERY, after_turn=turn)
            deliveries(report, place, runs, seed, first=max(first, few), formats=WHOLE, after_turn=turn)
    return list(made.values())


def _slice(
    report: Report,
    state: Path,
    program: tuple[str, str],
    cases: tuple[int, int, int],
    take: Callable[[dict[str, Any]], None],
) -> None:
    """Run some cases; after a case that killed its process, go on behind it."""
    module, name = program
    seed, first, count = cases
    end = first + count
    while first < end:
        state.write_bytes(struct.pack("<q", first))
        words = [name, str(seed), str(first), str(end - first), str(state)]
        process = subprocess.Popen(
            [sys.executable, "-m", module, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err, hung = _watched(process, state)
        last = int(struct.unpack("<q", state.read_bytes())[0])
        if process.returncode == 0:
            take(json.loads(out))
            return
        code = process.returncode
        problem = "it hangs" if hung else ENDED.get(code, f"it ended with {code}: {err.decode()[-200:]}")
        report.runs += last - first
        report.note(f"{name} --seed {seed} --first {last}", "died", [problem])
        first = last + 1


def _watched(process: subprocess.Popen[bytes], state: Path) -> tuple[bytes, bytes, bool]:
    """Wait for the end of a process; kill it when its case does not change."""
    before, since = b"", time.monotonic()
    while True:
        try:
            return *process.communicate(timeout=5), False
        except subprocess.TimeoutExpired:
            now = state.read_bytes()
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > STILL_SECONDS_MAX:
                process.kill()
                return *process.communicate(), True
