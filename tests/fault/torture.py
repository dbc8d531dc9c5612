"""The long campaigns: `make torture`, or `make torture CAMPAIGN=strace`.

Run as `python -m tests.fault.torture [CAMPAIGN…] [--runs N] [--seed N] [--first N]`; strace
knows `--operation` and `--call`, fuzz `--level`, each as often as wanted. Progress goes to stderr; each
campaign writes bench/out/torture-CAMPAIGN.json, from which docs/RELIABILITY.md takes its figures. The exit code is 1
when the store broke its word, or when a control found nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.fault import campaign_full, campaign_fuzz, campaign_kill, campaign_power, campaign_strace
from tests.fault.nursery import REPOSITORY, Nursery, Template, may_trace
from tests.fault.operations import OPERATIONS
from tests.fault.replay import CONTROLS
from tests.fault.report import Report, say

OUT = REPOSITORY / "bench" / "out"
RUNS = {"kill": 1000, "strace": 0, "full": 100, "power": 1000, "control": 200, "fuzz": 1_000_000}
NEED_STRACE = ("strace", "power", "control")
SHARED_MEMORY = Path("/dev/shm")


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a directory in memory where there is one: the campaigns bring their own loss of power."""
    return tempfile.TemporaryDirectory(prefix="lagrum-torture-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)


def kill(place: Path, nursery: Nursery, options: argparse.Namespace) -> list[Report]:
    """Kill the processes of `runs` rounds."""
    report = Report("kill")
    campaign = campaign_kill.Campaign(place, nursery, Template(nursery, place))
    campaign.rounds(report, options.runs, options.seed, first=options.first)
    return [report]


def strace(place: Path, nursery: Nursery, options: argparse.Namespace) -> list[Report]:
    """Fail every system call of every operation; with `runs`, so many of each."""
    report = Report("strace")
    campaign = campaign_strace.Campaign(place, nursery, Template(nursery, place))
    if options.runs:
        campaign.sample(report, options.runs, options.seed)
    else:
        campaign.every_step(
            report, tuple(options.operation or OPERATIONS), tuple(options.call or campaign_strace.FAULTS)
        )
    return [report]


def full(place: Path, nursery: Nursery, options: argparse.Namespace) -> list[Report]:
    """Fill a size-limited file system `runs` times."""
    report = Report("full")
    with campaign_full.small_disk(place / "disk") as disk:
        campaign_full.Campaign(disk, nursery, Template(nursery, place)).fill(report, options.runs, options.seed)
    return [report]


def power(place: Path, nursery: Nursery, options: argparse.Namespace) -> list[Report]:
    """Open `runs` images of a disk that lost power."""
    report = Report("power")
    history = campaign_power.History(place, nursery, deliveries=campaign_power.DELIVERIES_LONG)
    campaign_power.Campaign(place, history).images(report, options.runs, options.seed, first=options.first)
    report.more = history.counts()
    return [report]


def control(place: Path, nursery: Nursery, options: argparse.Namespace) -> list[Report]:
    """Open `runs` images per control: syncs of some kind did nothing, and that must be found."""
    history = campaign_power.History(place, nursery, deliveries=campaign_power.DELIVERIES_LONG)
    reports = []
    for name in CONTROLS:
        report = Report(f"control-{name}", expected=False)
        campaign_power.Campaign(place, history).images(report, options.runs, options.seed, control=name)
        reports.append(report)
    return reports


def fuzz(place: Path, _nursery: Nursery, options: argparse.Namespace) -> list[Report]:
    """Give every compiled loop and every decoder `runs` damaged inputs."""
    return campaign_fuzz.campaign(
        place,
        options.runs,
        options.seed,
        first=options.first,
        levels=options.level or campaign_fuzz.LEVELS,
        written=lambda report: report.write(OUT),
    )


CAMPAIGNS: dict[str, Callable[[Path, Nursery, argparse.Namespace], list[Report]]] = {
    "kill": kill,
    "strace": strace,
    "full": full,
    "power": power,
    "control": control,
    "fuzz": fuzz,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture")
    parser.add_argument("campaign", nargs="*", choices=[[], *CAMPAIGNS], help="by default all")
    parser.add_argument("--runs", type=int, help="how many; strace: of each operation, 0 for every step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the run to go on with")
    parser.add_argument("--operation", action="append", choices=OPERATIONS, help="strace: these only")
    parser.add_argument("--call", action="append", choices=campaign_strace.FAULTS, help="strace: these only")
    parser.add_argument("--level", action="append", choices=campaign_fuzz.LEVELS, help="fuzz: these only")
    options = parser.parse_args()
    runs, good = options.runs, True
    with ExitStack() as stack:
        place = Path(stack.enter_context(scratch()))
        nursery = stack.enter_context(Nursery(place / "said"))
        for name in options.campaign or list(CAMPAIGNS):
            if name in NEED_STRACE and not may_trace():
                say(f"{name}: skipped, strace is not installed or may not attach")
                continue
            options.runs = RUNS[name] if runs is None else runs
            (place / name).mkdir()
            try:
                reports = CAMPAIGNS[name](place / name, nursery, options)
            except PermissionError as error:
                say(f"{name}: skipped, {error}")
                continue
            for report in reports:
                path = report.write(OUT)
                say(f"{report.campaign}: {report.runs} runs, {report.failed} failed, {report.seconds:.0f} s: {path}")
                good = good and report.is_as_expected
            shutil.rmtree(place / name)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
