"""The year in numbers, its costs, and who looked: what they count, who reads them, and what they never tell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli import main
from api.disclosure import case_history, costs, lookups, reports
from api.disclosure.model import TASK
from api.disclosure.procedure import WrittenTarget
from api.disclosure.report_page import page
from api.instants import parse_date
from api.people.roles import Role
from api.people.signing import write_key_file
from api.routes.reports import router
from api.settings import Settings
from schemas.errors import ConfigurationError, InputError, LagrumError, ProcedureError
from schemas.legal_bases import BASES
from schemas.prices import UNITS, parse_prices
from store import Put, Store
from tests.api.disclosure.attacking import enrolled_as
from tests.api.disclosure.conftest import PEOPLE, TARGET, Court, peopled
from tests.api.disclosure.test_second_locks import reason_of
from tests.api.world import running
from tests.conftest import FixedClock
from tests.store.records import DAY_US, NOW_US

NOBODY: Final = (WrittenTarget("number", "+46 70 174 98 98"),)
NEXT_YEAR_US: Final = NOW_US + 60 * DAY_US
BASIS_IDS: Final = {basis.id for basis in BASES}
PRICES: Final[dict[str, Any]] = {
    "currency": "SEK",
    "prices": [
        {"unit": "task", "amount_minor": 45_000, "from": "2026-01-01", "own": True},
        {"unit": "task", "basis": "secret-surveillance", "amount_minor": 50_000, "from": "2026-01-01", "own": True},
        {"unit": "target", "amount_minor": 100, "from": "2026-01-01", "citation": "Agreement 7, annex 2"},
        {"unit": "target", "amount_minor": 900, "from": "2027-01-01", "citation": "Agreement 8, annex 2"},
    ],
}


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """A year with five disclosures, one that found nothing, and one of every other end."""
    clock = FixedClock(NOW_US)
    with Store.create(tmp_path_factory.mktemp("year") / "root", clock=clock) as store:
        court = peopled(store, clock)
        for hours in range(1, 6):
            task = court.approved()
            clock.advance(seconds=hours * 3600)
            court.release(court.run(task.id).id)
        court.released(targets=NOBODY)
        court.procedure.reject(court.actor("handler-1"), court.register(court.file()).id, "wrong-number")
        court.procedure.cancel(court.actor("officer-1"), court.checked().id, "settled")
        court.register(court.file())
        court.released(is_test=True)
        urgent = court.emergency()
        court.release(court.run(urgent.id).id)
        court.deliver(urgent.id)
        clock.advance(days=4)
        with pytest.raises(ProcedureError):
            court.deliver(urgent.id)  # lapsed: nobody confirmed it
        yield court


def report(court: Court, person: str = "dpo-1", *, exact: bool = True) -> dict[str, Any]:
    return reports.transparency(court.store, court.actor(person), 2026, exact=exact)


def test_the_exact_edition_counts_every_end_and_no_test(year: Court) -> None:
    told_us = report(year)
    (row,) = told_us["rows"]
    assert (row["basis"], row["country"], row["tasks"]) == ("secret-surveillance", "SE", 10)
    outcomes = {name: count for name, count in row["outcomes"].items() if count}
    assert outcomes == {"disclosed": 6, "nothing-found": 1, "refused": 1, "withdrawn": 1, "pending": 1}
    assert (row["emergencies"], row["delivered_then_lapsed"], row["late"]) == (1, 1, 0)
    assert (row["median_hours"], row["p95_hours"]) == (2.0, 5.0)
    assert told_us["totals"]["tasks"] == 10
    assert told_us["agreement"] == {"agrees": True, "differences": []}


def test_two_runs_over_the_same_cases_are_equal(year: Court) -> None:
    first, second = report(year), report(year, "approver-1")
    assert json.dumps(first) == json.dumps(second)
    assert page(first) == page(second)


def test_the_published_edition_is_of_a_year_that_is_over_and_without_small_counts(year: Court) -> None:
    with pytest.raises(ProcedureError) as refusal:
        report(year, exact=False)
    assert refusal.value.reason == "year-not-over"
    now_us, year.clock.value_us = year.clock.value_us, NEXT_YEAR_US
    try:
        published = report(year, exact=False)
    finally:
        year.clock.value_us = now_us
    (row,) = published["rows"]
    assert (row["tasks"], row["outcomes"]["disclosed"]) == (6, 6)
    assert {row["outcomes"][name] for name in ("nothing-found", "refused", "withdrawn", "pending")} == {None}
    assert (row["emergencies"], row["p95_hours"], row["median_hours"]) == (None, None, 2.0)
    assert published["agreement"] == {"agrees": True, "differences": None}
    text = page(published).decode()
    assert "<td>6+</td>" in text
    assert "<td>&lt;5</td>" in text
    assert text.count("<td>*</td>") == 2  # the emergency, which would bound what is withheld, and its lapse
    assert reports.RULE in page(published).decode().replace("&#x27;", "'")


@given(
    st.fixed_dictionaries({name: st.integers(0, 12) for name in reports.OUTCOMES}),
    st.fixed_dictionaries({name: st.floats(0, 1) for name in reports.SUBSETS}),
)
def test_no_small_count_can_be_told_from_a_published_row(outcomes: dict[str, int], shares: dict[str, float]) -> None:
    whole = sum(outcomes.values())
    parts = {name: round(whole * share) for name, share in shares.items()}
    row = {"basis": "b", "country": "SE", "tasks": whole, "outcomes": outcomes, **parts}
    shown = reports.withheld(row | {"median_hours": 1.0, "p95_hours": 2.0})
    cells = [*shown["outcomes"].values(), *(shown[name] for name in reports.SUBSETS)]
    assert not any(count is not None and 0 < count < reports.SMALL for count in cells)
    assert shown["tasks"] == sum(count or 0 for count in shown["outcomes"].values())
    for name in reports.SUBSETS:
        if shown[name]:
            assert shown["tasks"] == whole  # nothing is withheld that it could bound
            assert not 0 < whole - shown[name] < reports.SMALL
    assert all(shown["outcomes"][name] in (None, count) for name, count in outcomes.items())


def test_a_case_that_was_changed_behind_the_log_is_named_and_so_is_one_that_is_gone(court: Court) -> None:
    kept, moved, gone = (court.register(court.file()) for _ in range(3))
    body = court.store.documents.get(TASK, moved.id).body
    court.store.documents.commit(
        [Put(TASK, moved.id, body | {"stage": "rejected"}), Put(TASK, gone.id, None)],
    )
    found = report(court)
    assert found["agreement"] == {"agrees": False, "differences": sorted([moved.id, gone.id])}
    assert kept.id not in found["agreement"]["differences"]
    assert "THE AUDIT LOG DOES NOT TELL THE SAME" in page(found).decode()


def test_a_year_whose_log_is_over_is_not_compared(court: Court) -> None:
    court.register(court.file())
    court.clock.value_us += 11 * 366 * DAY_US
    assert report(court)["agreement"] == {"agrees": None, "differences": None}


def test_the_page_loads_nothing_and_escapes_what_it_shows() -> None:
    row = {"basis": "<script>", "country": "SE", "tasks": 9, "outcomes": dict.fromkeys(reports.OUTCOMES, 0)}
    row |= dict.fromkeys(reports.SUBSETS, 0) | {"median_hours": None, "p95_hours": None}
    totals = {name: row[name] for name in ("tasks", "outcomes", *reports.SUBSETS)}
    document = {"year": 2026, "edition": "exact", "rule": None, "outcomes": list(reports.OUTCOMES), "rows": [row]}
    text = page(document | {"rows_left_out": True, "totals": totals, "agreement": {"agrees": None}}).decode()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?://|\bsrc=|\bhref=|@import|url\(", text)
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text


READS: Final[dict[str, tuple[Callable[[Court, str], Any], set[str]]]] = {
    "transparency": (report, {"dpo-1", "approver-1", "approver-2"}),
    "costs": (
        lambda court, who: costs.ledger(court.store, court.actor(who), 2026),
        {"dpo-1", "approver-1", "approver-2", "billing-1"},
    ),
    "look-ups": (
        lambda court, who: lookups.look_ups(
            court.store, court.actor(who), parse_date("2026-11-01"), parse_date("2026-12-01")
        ),
        {"dpo-1"},
    ),
}


@pytest.mark.parametrize("what", READS)
def test_only_who_is_listed_reads_a_report_and_every_reading_and_refusal_is_logged(year: Court, what: str) -> None:
    read, listed = READS[what]
    allowed = set()
    for person in PEOPLE:
        before = year.store.audit.size
        try:
            text = json.dumps(read(year, person))
        except ProcedureError as refusal:
            assert refusal.reason == "wrong-role"
            (entry,) = year.log(before)
            assert (entry.kind, entry.public["step"]) == ("disclosure.refused", what)
        else:
            allowed.add(person)
            (entry,) = year.log(before)
            assert (entry.kind, entry.public["what"], entry.public["person"]) == ("report.read", what, person)
            assert TARGET not in text
            assert "B 1234-26" not in text
            assert "record_key" not in text
    assert allowed == listed


def test_whoever_reads_is_still_there_and_has_one_duty(year: Court) -> None:
    officer = year.actor("dpo-1")
    both = replace(officer, roles=frozenset({"dpo", "officer"}))
    assert reason_of(reports.transparency, year.store, both, 2026, exact=True) == "role-conflict"
    with enrolled_as(year, "dpo-1", "dpo", state="revoked"):
        assert reason_of(reports.transparency, year.store, officer, 2026, exact=True) == "revoked"


@pytest.mark.parametrize("number", [0, 1969, 9999])
def test_a_year_is_one_that_a_clock_tells(year: Court, number: int) -> None:
    with pytest.raises(ConfigurationError, match="not a year"):
        reports.transparency(year.store, year.actor("dpo-1"), number, exact=True)


def test_every_endpoint_of_reports_is_listed() -> None:
    found = {(method, route.path) for route in router.routes for method in route.methods}  # type: ignore[attr-defined]
    assert found == {("GET", f"/v1/disclosure/reports/{what}") for what in READS}


def test_the_ledger_counts_work_and_not_what_was_found(year: Court) -> None:
    ledger = costs.ledger(year.store, year.actor("billing-1"), 2026)
    assert len(ledger["rows"]) == 10
    casebook = year.procedure.casebook
    tasks = {task.id: task for task in casebook.tasks()}
    found = [row["units"] for row in ledger["rows"] if tasks[row["task"]].records and not row["units"]["emergency"]]
    nothing = [row["units"] for row in ledger["rows"] if tasks[row["task"]].records == 0]
    assert found[0] == nothing[0] == {"task": 1, "target": 1, "window-day": 5, "run": 1, "release": 1, "emergency": 0}
    assert ledger["totals"]["task"] == 10
    assert ledger == costs.ledger(year.store, year.actor("dpo-1"), 2026)


def test_a_price_comes_from_the_list_in_force_and_none_is_guessed(year: Court) -> None:
    ledger = costs.ledger(year.store, year.actor("billing-1"), 2026)
    priced = costs.priced(ledger, parse_prices(PRICES, BASIS_IDS))
    assert {row["amount_minor"] for row in priced["rows"]} == {50_100}  # the basis's own price, and 2026's
    assert priced["amount_minor"] == 501_000
    assert priced["unpriced"] == ["emergency", "release", "run", "window-day"]
    assert priced["rows"][0]["sources"] == ["Agreement 7, annex 2", "the operator's own figure"]
    lines = costs.to_csv(priced).decode().split("\r\n")
    assert lines[0] == ",".join(
        ("task", "authorisation", "basis", "authority", "registered_on", *UNITS, "amount_minor", "currency")
    )
    assert lines[1].endswith(",50100,SEK")
    assert len(lines) == 12


@pytest.mark.parametrize(
    "change",
    [
        {"own": False},
        {"citation": "Agreement 7"},
        {"unit": "record"},
        {"basis": "curiosity"},
        {"amount_minor": -1},
        {"amount_minor": 1.5},
        {"amount_minor": True},
        {"from": "yesterday"},
        {"from": None},
        {"colour": "red"},
    ],
)
def test_a_price_without_a_source_or_a_sense_is_refused(change: dict[str, Any]) -> None:
    row = {"unit": "task", "amount_minor": 1, "from": "2026-01-01", "own": True}
    assert parse_prices({"currency": "SEK", "prices": [row]}, BASIS_IDS).prices
    with pytest.raises(LagrumError):
        parse_prices({"currency": "SEK", "prices": [row | change]}, BASIS_IDS)
    with pytest.raises(ConfigurationError):
        parse_prices({"currency": "SEK", "prices": [row, row]}, BASIS_IDS)
    with pytest.raises(ConfigurationError):
        parse_prices({"currency": "kronor", "prices": []}, BASIS_IDS)
    for malformed in ([], {"prices": []}, {"currency": "SEK", "prices": [], "x": 1}):
        with pytest.raises(InputError):
            parse_prices(malformed, BASIS_IDS)


def test_the_look_ups_of_a_person_are_told_with_case_and_time(court: Court) -> None:
    task = court.released()
    court.deliver(task.id)
    with pytest.raises(ProcedureError):
        court.run(task.id, "handler-2")
    shown = READS["look-ups"][0](court, "dpo-1")
    people = {row["person"]: row for row in shown["persons"]}
    assert people["handler-1"]["kinds"] == {"run": 1}
    assert people["handler-1"]["cases"] == [
        {"case": task.id, "look_ups": 1, "times": ["2026-11-22T12:00:00.000000Z"]},
    ]
    assert people["officer-1"]["kinds"] == {"delivered": 1}
    assert (people["handler-2"]["look_ups"], people["handler-2"]["refused"]) == (0, 1)
    assert shown["four_eyes"] == {"released": 1, "violations": []}
    one = lookups.look_ups(
        court.store, court.actor("dpo-1"), parse_date("2026-11-22"), parse_date("2026-11-23"), person="handler-1"
    )
    assert [row["person"] for row in one["persons"]] == ["handler-1"]
    for start, end in (("2026-11-22", "2026-11-22"), ("2025-01-01", "2026-11-22")):
        with pytest.raises(ConfigurationError):
            lookups.look_ups(court.store, court.actor("dpo-1"), parse_date(start), parse_date(end))


@pytest.mark.parametrize(
    "changes",
    [
        {"disclosure.approved": {"handler-1"}},
        {"disclosure.released": {"handler-1"}},
        {"disclosure.released": {"officer-1"}},
        {"disclosure.checked": {"officer-1"}},
        {"disclosure.checked": {"approver-2"}},
        {"disclosure.released": {"handler-2"}},
        {"disclosure.approved": {"nobody-1"}},
        {"disclosure.approved": set(), "disclosure.released": set()},
    ],
)
def test_four_eyes_are_two_persons_and_two_roles(court: Court, changes: dict[str, set[str]]) -> None:
    from api.people import persons

    court.released()
    (item,) = case_history.tasks(court.store).values()
    enrolled = {person.person_id: person for person in persons.list_all(court.store)}
    assert lookups.four_eyes({"T": item}, enrolled) == {"released": 1, "violations": []}
    item.persons |= changes
    assert lookups.four_eyes({"T": item}, enrolled)["violations"] == ["T"]
    # Whoever was let to be everything is still one person.
    everything = {who: replace(person, roles=frozenset(Role)) for who, person in enrolled.items()}
    expected = (
        [] if changes in ({"disclosure.released": {"handler-2"}}, {"disclosure.checked": {"approver-2"}}) else ["T"]
    )
    assert lookups.four_eyes({"T": item}, everything)["violations"] == expected


def test_the_commands_print_write_and_never_overwrite(
    year: Court, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = {}
    for person in ("dpo-1", "billing-1", "handler-1"):
        keys[person] = str(tmp_path / f"{person}.key")
        write_key_file(Path(keys[person]), year.keys[person])
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps(PRICES))
    html, csv = tmp_path / "report.html", tmp_path / "costs.csv"

    def lagrum(*argv: str, expect: int = 0) -> str:
        capfd.readouterr()
        assert main(["--root", str(year.store.root), "disclosure", *argv], clock=year.clock) == expect
        return capfd.readouterr().out

    with running(year.store, Settings(port=0)):
        said = lagrum("report", "--as", keys["dpo-1"], "--year", "2026", "--exact", "--html", str(html))
        assert "secret-surveillance" in said
        lagrum("report", "--as", keys["dpo-1"], "--year", "2026", "--exact", "--html", str(html), expect=2)
        lagrum("report", "--as", keys["dpo-1"], "--year", "2026", expect=1)
        lagrum("report", "--as", keys["handler-1"], "--year", "2026", "--exact", expect=1)
        billed = ("costs", "--as", keys["billing-1"], "--year", "2026", "--prices", str(prices))
        assert "501.00" in lagrum(*billed, "--csv", str(csv))
        span = ("--from", "2026-11-01", "--to", "2026-12-01")
        assert "handler-1" in lagrum("look-ups", "--as", keys["dpo-1"], *span)
        lagrum("look-ups", "--as", keys["billing-1"], *span, expect=1)
        document = json.loads(lagrum("report", "--json", "--as", keys["dpo-1"], "--year", "2026", "--exact"))
    assert page(document) == html.read_bytes()
    assert csv.read_text().startswith("task,")
