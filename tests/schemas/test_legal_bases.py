"""The table of legal bases: versions do not overlap, and what is not permitted stays."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import combinations

import pytest

from schemas.errors import ProcedureError
from schemas.fields import BY_NAME, FIELDS, Category
from schemas.legal_bases import BASES, TARGET_KINDS, LegalBasis, basis_on

CEILING_DAYS = 731


@pytest.mark.parametrize("basis", BASES, ids=lambda basis: f"{basis.id}-{basis.version}")
def test_each_row_is_complete_and_within_the_products_bounds(basis: LegalBasis) -> None:
    assert basis.citation
    assert basis.title
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
        ("copyright-information-order", date(2026, 1, 1), "unknown-basis"),
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


def test_no_basis_but_the_subscribers_lets_charging_data_leave() -> None:
    for basis in BASES:
        charging = {field.name for field in FIELDS if field.category is Category.CHARGING and basis.permits(field.name)}
        assert charging == ({"account"} if basis.id == "subscriber-data" else set())
