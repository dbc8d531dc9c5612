"""The policy's table: its bounds, its form, what follows from its versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.fields import SERVICE_TYPES
from schemas.policy import CLASSES_MAX, DEFAULT_POLICY, FIRST, PURPOSES, TEXT_CHARS_MAX, Policy, Version, Window
from schemas.retention import (
    CATEGORY_FLOORS,
    CEILING_MONTHS,
    FLOOR_MONTHS,
    CategoryPeriod,
    RetentionClass,
    add_months,
    floor_until,
    midnight,
)

TODAY = date(2026, 11, 22)


def version(number: int, start: date, months: int = 24, **classes: int) -> Version:
    all_classes = {"standard": months, **classes}
    made = tuple(RetentionClass(name, count, "duty", f"Act {number}") for name, count in all_classes.items())
    return Version(number, start, made, dict.fromkeys(SERVICE_TYPES, "standard"))


def body(**changed: Any) -> dict[str, Any]:
    return {**FIRST.as_dict(), "version": 2, "from": "2027-01-01", **changed}


def test_the_bounds_are_6_and_24_months() -> None:
    assert (FLOOR_MONTHS, CEILING_MONTHS) == (6, 24)


@pytest.mark.parametrize("months", [-1, 0, 5, 25, 600])
def test_a_period_outside_the_bounds_is_refused_at_load(months: int) -> None:
    classes = {"standard": {"months": months, "legal_basis": "duty", "citation": "Act"}}
    with pytest.raises(ConfigurationError, match="6, 24"):
        Version.from_dict(body(classes=classes))


@pytest.mark.parametrize("months", [6, 24])
def test_a_period_at_the_bounds_is_taken(months: int) -> None:
    classes = {"standard": {"months": months, "legal_basis": "duty", "citation": "Act"}}
    assert Version.from_dict(body(classes=classes)).classes[0].period_months == months


@pytest.mark.parametrize(
    "changed",
    [
        {"classes": {}},
        {"classes": {"standard": {"months": 12, "legal_basis": "duty"}}},
        {"classes": {"standard": {"months": "12", "legal_basis": "duty", "citation": "Act"}}},
        {"classes": {"standard": {"months": True, "legal_basis": "duty", "citation": "Act"}}},
        {"classes": {"standard": {"months": 12.0, "legal_basis": "duty", "citation": "Act"}}},
        {"version": "2"},
        {"version": 2.0},
        {"classes": {"standard": {"months": 12, "legal_basis": "", "citation": "Act"}}},
        {"classes": {"../x": {"months": 12, "legal_basis": "duty", "citation": "Act"}}},
        {"classes": {"standard": {"months": 12, "legal_basis": "duty", "citation": "Act", "unless": "asked"}}},
        {"services": {"voice": "standard"}},
        {"services": dict.fromkeys(SERVICE_TYPES, "unknown")},
        {"services": dict.fromkeys((*SERVICE_TYPES, "fax"), "standard")},
        {"from": "soon"},
        {"keep": "for ever"},
        {"purposes": {"curiosity": {"days": 3, "citation": "none"}}},
        {"purposes": {"security": {"days": 0, "citation": "Act"}}},
        {"purposes": {"security": {"days": 366, "citation": "Act"}}},
        {"purposes": {"billing": {"months": 25, "citation": "Act"}}},
        {"purposes": {"billing": {"months": 5, "days": 3, "citation": "Act"}}},
        {"purposes": {"billing": {"months": 5}}},
    ],
)
def test_what_is_no_policy_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Version.from_dict(body(**changed))


@pytest.mark.parametrize("text", ["", " ", "x" * (TEXT_CHARS_MAX + 1), "Act\n1", "Act\x001"])
@pytest.mark.parametrize("where", ["legal_basis", "citation"])
def test_a_text_that_is_empty_too_long_or_not_printable_is_refused(where: str, text: str) -> None:
    own = {"months": 12, "legal_basis": "duty", "citation": "x" * TEXT_CHARS_MAX}
    assert Version.from_dict(body(classes={"standard": own})).classes[0].citation == own["citation"]
    with pytest.raises(ConfigurationError, match="printable"):
        Version.from_dict(body(classes={"standard": {**own, where: text}}))


@pytest.mark.parametrize("name", ["../x", "Standard", "-x", "x" * 32, "", "a b"])
def test_a_class_is_named_in_few_small_letters(name: str) -> None:
    own = {"months": 12, "legal_basis": "duty", "citation": "Act"}
    with pytest.raises(ConfigurationError, match="is named with"):
        Version.from_dict(body(classes={"standard": own, name: own}))


def test_a_version_whose_classes_or_windows_are_ambiguous_is_not_made() -> None:
    (standard,) = FIRST.classes
    with pytest.raises(ConfigurationError, match="one name"):
        replace(FIRST, classes=(standard, replace(standard, period_months=6)))
    for windows in (FIRST.windows[1:], FIRST.windows[::-1], (*FIRST.windows, FIRST.windows[0])):
        with pytest.raises(ConfigurationError, match="a window"):
            replace(FIRST, windows=windows)


def test_a_version_reads_what_it_writes_and_its_digest_tells_any_change() -> None:
    one = Version.from_dict(body())
    assert Version.from_dict(one.as_dict()) == one
    other = Version.from_dict(body(**{"from": "2027-01-02"}))
    assert len({FIRST.digest, one.digest, other.digest}) == 3


def test_purposes_left_out_keep_their_default_and_others_change() -> None:
    made = Version.from_dict(body(purposes={"billing": {"days": 90, "citation": "Act"}}))
    assert made.window("billing") == Window("billing", "Act", days=90)
    assert {one.purpose: one.length for one in FIRST.windows} == {
        "disclosure": "24 months",
        "security": "30 days",
        "billing": "12 months",
        "customer": "24 months",
        "statistics": "6 months",
    }
    assert set(PURPOSES) == {one.purpose for one in made.windows}
    with pytest.raises(ConfigurationError):
        made.window("curiosity")


def test_a_window_ends_with_its_day() -> None:
    assert Window("security", "Act", days=30).until(date(2026, 1, 1)) == midnight(date(2026, 2, 1))
    assert Window("billing", "Act", months=6).until(date(2026, 8, 31)) == midnight(date(2027, 2, 28))


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(6, 24)), max_size=5),
    st.integers(-800, 2200),
)
def test_an_end_is_the_earliest_that_any_version_since_gave(steps: list[tuple[int, int]], offset: int) -> None:
    """Told again without formulas: day by day, the records are gone once the shortest period says so."""
    policy, start = DEFAULT_POLICY, TODAY
    for number, (days, months) in enumerate(steps, 2):
        start += timedelta(days=days)
        policy = Policy((*policy.versions, version(number, start, months)))
    ended = TODAY + timedelta(days=offset)
    day, months = ended, CEILING_MONTHS
    while True:
        period = policy.in_force(day).find("standard")
        assert period is not None
        months = min(months, period.period_months)
        if day >= add_months(ended, months):
            break
        day += timedelta(days=1)
    assert policy.expires_at(ended, "standard") == midnight(day)
    assert policy.erasable_at(ended, "standard") >= floor_until(ended)
    assert policy.expires_at(ended, "standard") <= midnight(add_months(ended, CEILING_MONTHS))


def test_lengthening_gives_no_stored_record_a_day_more() -> None:
    six = Policy((FIRST, version(2, date(1970, 1, 1), 6)))
    ten = six.extended(version(3, TODAY + timedelta(days=1), 10), TODAY, is_empty=False)
    for age in (200, 150, 1, 0):
        ended = TODAY - timedelta(days=age)
        assert ten.expires_at(ended, "standard") == six.expires_at(ended, "standard")
    tomorrow = TODAY + timedelta(days=1)
    assert ten.expires_at(tomorrow, "standard") == midnight(add_months(tomorrow, 10))


def test_a_class_that_no_version_has_is_kept_to_the_ceiling() -> None:
    assert DEFAULT_POLICY.expires_at(TODAY, "nowhere") == midnight(add_months(TODAY, CEILING_MONTHS))
    assert DEFAULT_POLICY.rule(TODAY, "nowhere") is None


def test_what_does_not_follow_from_the_versions_before_is_refused() -> None:
    tomorrow = TODAY + timedelta(days=1)
    policy = DEFAULT_POLICY.extended(version(2, tomorrow, 24, short=6), TODAY, is_empty=False)
    for wrong, is_empty, what in (
        (version(4, tomorrow, short=6), False, "has the number 3"),
        (version(2, tomorrow, short=6), False, "has the number 3"),
        (version(3, TODAY, short=6), False, "tomorrow at the earliest"),
        (version(3, date(1970, 1, 1), short=6), True, "before the one"),
        (version(3, tomorrow), False, "keep a period: short"),
    ):
        with pytest.raises(ConfigurationError, match=what):
            policy.extended(wrong, TODAY, is_empty=is_empty)


def test_a_policy_has_a_bounded_number_of_classes() -> None:
    start = TODAY + timedelta(days=1)
    many = {f"c{number}": 6 for number in range(CLASSES_MAX - 1)}
    assert len(DEFAULT_POLICY.extended(version(2, start, **many), TODAY, is_empty=False).class_names) == CLASSES_MAX
    with pytest.raises(ConfigurationError, match=f"at most {CLASSES_MAX}"):
        DEFAULT_POLICY.extended(version(2, start, **many, more=6), TODAY, is_empty=False)


def test_a_category_that_moves_to_a_class_that_ends_sooner_takes_what_is_stored_with_it() -> None:
    tomorrow, yesterday = TODAY + timedelta(days=1), TODAY - timedelta(days=1)
    moved = Version(
        2,
        tomorrow,
        version(2, tomorrow, 24, short=6).classes,
        {**FIRST.services, "voice": "short"},
    )
    policy = DEFAULT_POLICY.extended(moved, TODAY, is_empty=False)
    assert (policy.class_of(yesterday, "voice"), policy.class_of(tomorrow, "voice")) == ("standard", "short")
    rule = policy.service_rule(yesterday, "standard", "voice")
    assert rule is not None and rule.ends == midnight(add_months(yesterday, 6))
    assert policy.service_rule(yesterday, "standard", "sms") is None
    assert policy.service_rule(tomorrow, "short", "voice") is None
    long_ago = add_months(TODAY, -12)
    over = policy.service_rule(long_ago, "standard", "voice")
    assert over is not None and over.ends == midnight(tomorrow), "never before the version's own day"
    shortened = Version(2, tomorrow, version(2, tomorrow, 6, long=24).classes, {**FIRST.services, "data": "long"})
    assert DEFAULT_POLICY.extended(shortened, TODAY, is_empty=False).class_of(tomorrow, "data") == "long"
    before_all = Version(2, date(1970, 1, 1), moved.classes, moved.services)
    assert DEFAULT_POLICY.extended(before_all, TODAY, is_empty=True).class_of(TODAY, "voice") == "short"


def located(number: int, start: date, months: int, location: int | None) -> Version:
    own = {} if location is None else {"location": CategoryPeriod("location", location, "duty", f"Act {number}")}
    return replace(version(number, start, months), categories=own)


def test_only_a_category_of_the_table_has_a_floor_below_the_core_and_it_is_cited() -> None:
    assert {name: floor.months for name, floor in CATEGORY_FLOORS.items()} == {"location": 2}
    assert all(floor.citation for floor in CATEGORY_FLOORS.values())
    assert floor_until(date(2026, 12, 31), "location") == midnight(date(2027, 3, 1))


@pytest.mark.parametrize(
    ("name", "months"), [("location", 1), ("location", 25), ("location", 0), ("party", 6), ("equipment", 2)]
)
def test_a_category_outside_the_table_or_its_bounds_is_refused_at_load(name: str, months: int) -> None:
    own = {name: {"months": months, "legal_basis": "duty", "citation": "Act"}}
    with pytest.raises(ConfigurationError, match=r"2, 24|these may: location"):
        Version.from_dict(body(categories=own))


@pytest.mark.parametrize("months", [2, 24])
def test_a_category_at_its_bounds_is_taken_and_counts_in_the_digest(months: int) -> None:
    own = {"location": {"months": months, "legal_basis": "duty", "citation": "Act"}}
    made = Version.from_dict(body(categories=own))
    assert made.categories["location"].period_months == months
    assert Version.from_dict(made.as_dict()) == made
    assert made.digest != Version.from_dict(body()).digest


@given(
    st.lists(st.tuples(st.integers(1, 400), st.integers(6, 24), st.none() | st.integers(2, 24)), max_size=5),
    st.integers(-800, 2200),
)
def test_a_category_ends_at_the_earliest_that_any_version_since_gave_and_never_after_the_core(
    steps: list[tuple[int, int, int | None]], offset: int
) -> None:
    policy, start = DEFAULT_POLICY, TODAY
    for number, (days, months, location) in enumerate(steps, 2):
        start += timedelta(days=days)
        policy = Policy((*policy.versions, located(number, start, months, location)))
    ended = TODAY + timedelta(days=offset)
    day, months = ended, CEILING_MONTHS
    while day < add_months(ended, months):
        one = policy.in_force(day)
        period, own = one.find("standard"), one.categories.get("location")
        assert period is not None
        months = min(months, period.period_months, CEILING_MONTHS if own is None else own.period_months)
        if day >= add_months(ended, months):
            break
        day += timedelta(days=1)
    assert policy.expires_at(ended, "standard", "location") == midnight(day)
    assert policy.expires_at(ended, "standard", "location") <= policy.expires_at(ended, "standard")
    assert policy.erasable_at(ended, "standard", "location") >= floor_until(ended, "location")
