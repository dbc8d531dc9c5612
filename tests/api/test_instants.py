"""Instants as people write them, and what of it no clock could show."""

from __future__ import annotations

import pytest

from api.disclosure.views import cases
from api.instants import parse_instant
from schemas.errors import InputError
from store.clock import to_text
from tests.api.disclosure.conftest import Court, shared_court

__all__ = ["shared_court"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-22", "2026-11-22T00:00:00.000000Z"),
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000000Z"),
        ("2026-11-22T10:00:00+02:00", "2026-11-22T08:00:00.000000Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.000000Z"),
    ],
)
def test_an_instant_is_shown_as_it_was_meant(text: str, shown: str) -> None:
    assert to_text(parse_instant(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59-00:01",
        "0001-01-01T00:00:00+00:01",
        "2026-11-22T10:00:00",
        "2026W47T10",  # as long as a date, and a time without its offset
        "2026-11-22T23:59:60Z",
        "2026-02-30",
        "",
    ],
)
def test_what_is_no_instant_or_no_clock_could_show_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_instant(text)


def test_an_order_without_an_end_in_any_year_does_not_take_the_list_of_cases_away(shared_court: Court) -> None:
    with pytest.raises(InputError):
        shared_court.file(expires_at_us=parse_instant("9999-12-31T23:59:59-23:59"))
    shared_court.file(expires_at_us=parse_instant("9999-12-31T23:59:59Z"))
    assert cases(shared_court.store, shared_court.actor("handler-1"))
