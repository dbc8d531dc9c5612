"""Campaign `fuzz`: mutated deliveries of every format, until each decoder has seen `runs` of them.

Formats take turns, a slice each, every slice in a process of its own: a decoder that dies takes no other with it. What
is asked of each case stands in `tests.fault.fuzz_child`: an error is an `InputError`, no case takes long, and every
record is in exactly one place. The report is written after every turn, so a campaign may be stopped at any time;
`--first` goes on.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ingest.decoders import FORMATS
from tests.fault.report import Report, say

SLICE = 2_000
STILL_SECONDS_MAX = 900
"""A process whose case is the same for so long hangs where no signal reaches it."""


def campaign(
    report: Report,
    place: Path,
    runs: int,
    seed: int,
    *,
    first: int = 0,
    formats: Sequence[str] = tuple(FORMATS),
    after_turn: Callable[[], object] = lambda: None,
) -> None:
    """Give every decoder the cases `first` to `runs` of a seed."""
    done = report.more.setdefault("executions", dict.fromkeys(formats, 0))
    for begin in range(first, runs, SLICE):
        for name in formats:
            count = min(SLICE, runs - begin)
            _slice(report, place / f"{name}.state", name, (seed, begin, count))
            done[name] += count
        say(f"fuzz: {begin + count - first} of each of {len(formats)} decoders, {report.failed} failed")
        after_turn()


def _slice(report: Report, state: Path, name: str, cases: tuple[int, int, int]) -> None:
    """Run some cases; after a case that killed its process, go on behind it."""
    seed, first, count = cases
    end = first + count
    while first < end:
        state.write_bytes(struct.pack("<q", first))
        words = [name, str(seed), str(first), str(end - first), str(state)]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.fuzz_child", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err, hung = _watched(process, state)
        last = int(struct.unpack("<q", state.read_bytes())[0])
        if process.returncode == 0:
            told = json.loads(out)
            for outcome, number in told["outcomes"].items():
                report.outcomes[outcome] = report.outcomes.get(outcome, 0) + number
            report.runs += sum(told["outcomes"].values()) - len(told["problems"])
            for case, problem in told["problems"]:
                report.note(f"{name} --seed {seed} --first {case}", "problem", [problem])
            return
        problem = "it hangs" if hung else f"it ended with {process.returncode}: {err.decode()[-200:]}"
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
