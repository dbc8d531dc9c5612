"""The short forms of the campaigns of `make torture`, each with a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault import campaign_full, campaign_kill, campaign_power, campaign_strace
from tests.fault.campaign_power import History
from tests.fault.ledger import Ledger, check, compare
from tests.fault.nursery import Nursery, Template, may_trace
from tests.fault.report import Report
from tests.fault.torture import scratch

needs_strace = pytest.mark.usefixtures("strace")


@pytest.fixture(scope="module")
def strace() -> None:
    if not may_trace():
        pytest.skip("strace is not installed or may not attach")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with scratch() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def nursery(place: Path) -> Iterator[Nursery]:
    with Nursery(place / "said") as nursery:
        yield nursery


@pytest.fixture(scope="module")
def template(place: Path, nursery: Nursery) -> Template:
    return Template(nursery, place)


@pytest.fixture(scope="module")
def history(place: Path, nursery: Nursery, strace: None) -> History:
    return History(place / "history", nursery, deliveries=4)


def test_processes_killed_at_random_times_lose_and_repeat_nothing(
    place: Path, nursery: Nursery, template: Template
) -> None:
    report = Report("kill")
    campaign_kill.Campaign(place / "kill", nursery, template).rounds(report, 8, seed=20261122)
    assert (report.runs, report.failures) == (8, [])


@needs_strace
def test_a_system_call_that_fails_is_said_and_loses_nothing(place: Path, nursery: Nursery, template: Template) -> None:
    report = Report("strace")
    campaign_strace.Campaign(place, nursery, template).sample(report, 4, seed=20261122)
    assert (report.runs > 10, report.failures) == (True, [])


def test_a_full_file_system_is_said_and_loses_nothing(place: Path, nursery: Nursery, template: Template) -> None:
    report = Report("full")
    try:
        with campaign_full.small_disk(place / "disk") as disk:
            campaign_full.Campaign(disk, nursery, template).fill(report, 8, seed=20261122)
    except PermissionError as error:
        pytest.skip(str(error))
    assert (report.runs, report.failures) == (8, [])
    assert len(report.outcomes) > 4, "no operation was refused, or none succeeded"


@needs_strace
def test_a_disk_that_lost_power_at_any_instant_holds_what_was_acknowledged(place: Path, history: History) -> None:
    report = Report("power")
    campaign_power.Campaign(place, history).images(report, 30, seed=20261122)
    assert (report.runs, report.failures) == (30, [])


@needs_strace
@pytest.mark.parametrize("control", ["everything", "directories", "catalog", "parts", "audit"])
def test_syncs_that_do_nothing_are_found(place: Path, history: History, control: str) -> None:
    report = Report("control", expected=False)
    campaign_power.Campaign(place, history).images(report, 10, seed=20261122, control=control)
    assert report.is_as_expected


def test_the_check_refuses_what_it_shall(template: Template) -> None:
    now_us, deliveries = template.clock.now_us(), list(template.ledger.delivered.values())
    whole = {key: 1 for delivery in deliveries for key, _ in delivery.records()}
    first = next(iter(whole))

    def problems(keys: dict[int, int], ledger: Ledger = template.ledger, now_us: int = now_us) -> str:
        from collections import Counter

        return " ".join(compare(Counter(keys), ledger, now_us))

    assert problems(whole) == ""
    assert "lost" in problems({key: 1 for key in whole if key != first})
    assert "twice" in problems(whole | {first: 2})
    assert "never delivered" in problems(whole | {5: 1})
    assert "beyond its period" in problems(whole, now_us=template.clock.later(1).now_us())
    unknown = Ledger(template.ledger.delivered, template.ledger.acknowledged - {deliveries[0].number})
    assert "half visible" in problems({key: 1 for key in whole if key != first}, unknown)


def test_a_rectified_record_is_not_taken_for_an_erased_one(place: Path, nursery: Nursery, template: Template) -> None:
    """Records to erase follow each other, and beside the erasures their neighbours are rectified."""
    root, ledger = template.copy(place / "rectified"), template.ledger.copy()
    targets = ledger.to_erase(template.clock, 3)
    assert targets[0] + 1 in targets
    child = nursery.run("rectify", template.clock, root, *(str(target + 1) for target in targets))
    ledger.acknowledge(child.acknowledged)
    assert (child.code, ledger.erased, check(root, template.clock, ledger)) == (0, set(), [])


@needs_strace
@pytest.mark.parametrize(("fault", "steps"), [("EIO!", range(1, 8)), ("EIO+!", range(1, 8, 2))])
def test_a_commit_that_failed_does_not_come_back_after_a_crash(
    place: Path, nursery: Nursery, template: Template, fault: str, steps: range
) -> None:
    """A failed sync may leave the commit whole in SQLite's log, while the files of its parts are discarded."""
    campaign, report = campaign_strace.Campaign(place, nursery, template), Report("strace")
    for step in steps:
        found = campaign.inject("ingest", "fdatasync", fault, step)
        assert found is not None
        report.note(*found)
    assert report.failures == []
    assert report.outcomes["ingest: said no"] > 1
