"""The table of legal bases: versions do not overlap, and what is not permitted stays."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import combinations

import pytest

from api.people.authorities import AuthorityKind
from schemas.errors import ProcedureError
from schemas.fields import BY_NAME, FIELDS, Category
from schemas.holds import HOLD_BASES
from schemas.legal_bases import BASES, TARGET_KINDS, LegalBasis, basis_on
from schemas.legal_terms import Days, Deadline, Decider, Draws
from schemas.policy import PURPOSES

CEILING_DAYS = 731


@pytest.mark.parametrize("basis", BASES, ids=lambda basis: f"{basis.id}-{basis.version}")
def test_each_row_is_complete_and_within_the_products_bounds(basis: LegalBasis) -> None:
    assert basis.citation
    assert basis.title
    assert basis.asked_by
    assert basis.asked_by <= set(AuthorityKind)
    assert basis.target_kinds <= set(TARGET_KINDS)
    assert 0 < basis.window_days_max <= CEILING_DAYS
    assert 0 < basis.targets_max <= 100
    assert (basis.fields or frozenset()) <= set(BY_NAME)
    assert basis.effective_to is None or basis.effective_from < basis.effective_to
    for kind in basis.target_kinds:
        assert basis.matchable(kind)


def test_two_versions_of_one_basis_are_never_in_force_on_one_day() -> None:
    for one, other in combinations(BASES, 2):
        if one.id == other.id:
            assert one.version != other.version
            assert not (one.in_force(other.effective_from) or other.in_force(one.effective_from))


def test_an_order_is_judged_by_the_version_of_its_day() -> None:
    change = date(2022, 6, 3)
    assert basis_on("subscriber-data", change - timedelta(days=1)).citation == "Act 2003:389 ch. 6 s. 22"
    assert basis_on("subscriber-data", change).citation == "Act 2022:482 ch. 9 s. 33"


@pytest.mark.parametrize(
    ("basis", "day", "reason"),
    [
        ("curiosity", date(2026, 1, 1), "unknown-basis"),
        ("copyright-information-order", date(2009, 3, 31), "basis-not-in-force"),
        ("european-production-order", date(2026, 8, 17), "basis-not-in-force"),
        ("subscriber-data", date(2000, 1, 1), "basis-not-in-force"),
    ],
)
def test_a_basis_that_is_not_the_law_of_the_day_is_refused(basis: str, day: date, reason: str) -> None:
    with pytest.raises(ProcedureError) as refusal:
        basis_on(basis, day)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("basis", BASES, ids=lambda basis: f"{basis.id}-{basis.version}")
def test_a_field_is_permitted_only_when_category_and_list_both_say_so(basis: LegalBasis) -> None:
    for field in FIELDS:
        listed = basis.fields is None or field.name in basis.fields
        assert basis.permits(field.name) == (field.category in basis.categories and listed)
    assert not basis.permits("message_text")


def test_only_who_held_something_lets_charging_data_leave_and_only_the_account() -> None:
    asks_who = {"subscriber-data", "copyright-information-order", "european-production-order-subscriber"}
    for basis in BASES:
        charging = {field.name for field in FIELDS if field.category is Category.CHARGING and basis.permits(field.name)}
        assert charging == ({"account"} if basis.id in asks_who else set())


def test_a_copyright_order_reaches_only_what_the_operator_holds_to_bill() -> None:
    basis = basis_on("copyright-information-order", date(2026, 1, 1))
    billing = next(hold.fields for hold in HOLD_BASES if hold.id == "invoice")
    assert basis.draws_on is Draws.BILLING
    assert {field.name for field in FIELDS if basis.permits(field.name)} <= billing
    assert basis.permits("account")
    assert not any(basis.permits(name) for name in ("source_ip", "nat_ip", "called_number", "cell_id", "imei"))


def test_a_copyright_order_is_the_applicants_and_nobody_elses() -> None:
    assert basis_on("copyright-information-order", date(2026, 1, 1)).asked_by == {"rights-holder"}
    for basis in BASES:
        assert ("rights-holder" in basis.asked_by) is (basis.id == "copyright-information-order")


def test_who_decides_is_the_laws_word_and_haste_lets_another_decide_only_where_it_says_so() -> None:
    day = date(2026, 11, 20)
    told = {
        basis.id: (
            {str(one) for one in basis.deciders(emergency=False)},
            basis.emergency and basis.emergency.decided_by,
        )
        for basis in BASES
        if basis.in_force(day)
    }
    assert told == {
        "secret-surveillance": ({"court"}, "prosecutor"),
        "intelligence": ({"prosecutor"}, None),
        "subscriber-data": ({"authority", "prosecutor"}, None),
        "missing-person": ({"authority"}, "authority"),
        "emergency-call": ({"authority"}, None),
        "copyright-information-order": ({"court"}, None),
        "european-production-order": ({"court"}, "court"),
        "european-production-order-subscriber": ({"prosecutor", "court"}, "authority"),
        "preservation": ({"prosecutor"}, None),
        "epoc-pr": ({"prosecutor"}, None),
    }
    assert basis_on("secret-surveillance", date(2014, 12, 31)).emergency is None
    surveillance = basis_on("secret-surveillance", day)
    assert surveillance.deciders(emergency=True) == {Decider.COURT, Decider.PROSECUTOR}


def test_every_source_that_a_basis_draws_on_is_a_purpose_of_the_policy() -> None:
    assert {str(draws) for draws in Draws} <= set(PURPOSES)


def test_nothing_leaves_under_an_order_to_preserve() -> None:
    for basis in BASES:
        assert basis.preserves == (basis.id in {hold.id for hold in HOLD_BASES})
        assert basis.preserves != any(basis.permits(field.name) for field in FIELDS)


@pytest.mark.parametrize("basis", BASES, ids=lambda basis: f"{basis.id}-{basis.version}")
def test_what_is_ours_and_not_the_laws_says_so(basis: LegalBasis) -> None:
    assert {"window_days_max", "targets_max", "overlap"} <= basis.own_bounds
    assert basis.draws_citation
    assert basis.notice_citation
    for name in basis.own_bounds:
        owner: object = basis
        for part in name.split("."):
            owner = getattr(owner, part)
    deadlines = {"deadline": basis.deadline, "emergency.deadline": basis.emergency and basis.emergency.deadline}
    for name, deadline in deadlines.items():
        if deadline is not None and deadline.citation == "the law says without delay":
            assert {name, name.split(".")[0]} & basis.own_bounds


def _us(day: str, hour: int) -> int:
    return int(datetime.fromisoformat(f"{day}T{hour:02}:00:00+00:00").timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("deadline", "received", "due"),
    [
        (Deadline("c", hours=8), ("2026-11-20", 20), ("2026-11-21", 4)),
        (Deadline("c", days=10), ("2026-11-20", 20), ("2026-11-30", 20)),
        # Friday evening: Monday, Tuesday, Wednesday.
        (Deadline("c", days=3, counts=Days.WORKING), ("2026-11-20", 20), ("2026-11-25", 20)),
        (Deadline("c", days=1, counts=Days.WORKING), ("2026-11-21", 3), ("2026-11-23", 3)),
    ],
)
def test_deadlines_run_from_receipt(deadline: Deadline, received: tuple[str, int], due: tuple[str, int]) -> None:
    assert deadline.due_us(_us(*received)) == _us(*due)


def test_haste_shortens_an_answer_and_waives_a_judge_only_where_the_law_does() -> None:
    day = date(2026, 11, 20)
    traffic = basis_on("european-production-order", day)
    assert traffic.emergency_path().confirm_hours is None
    assert basis_on("european-production-order-subscriber", day).emergency_path().confirm_hours == 48
    for basis in (traffic, basis_on("european-production-order-subscriber", day)):
        assert [basis.deadline_of(emergency=urgent).text for urgent in (False, True)] == ["10 calendar days", "8 hours"]
    with pytest.raises(ProcedureError) as refusal:
        basis_on("subscriber-data", day).emergency_path()
    assert refusal.value.reason == "no-emergency-path"
    assert basis_on("subscriber-data", day).deadline_of(emergency=True) == basis_on("subscriber-data", day).deadline


def test_an_alarm_centre_learns_of_its_caller_and_of_nobody_else() -> None:
    basis = basis_on("emergency-call", date(2026, 11, 20))
    assert basis.matchable("number") == ("calling_number",) and basis.matchable("imsi") == ("imsi",)
    assert basis.permits("cell_id") and basis.permits("calling_number")
    assert not any(basis.permits(name) for name in ("called_number", "dialled_number", "imei", "account", "source_ip"))
    assert (basis.asked_by, basis.window_days_max, basis.targets_max) == ({"emergency-service"}, 1, 1)
