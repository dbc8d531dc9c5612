"""Challenges and sessions by themselves: what is over, used, forged or spelled otherwise opens nothing."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest

from api.people.sessions import Challenges, Sessions
from tests.conftest import FixedClock

SECONDS = 60


@pytest.fixture
def challenges(clock: FixedClock) -> Challenges:
    return Challenges(clock, seconds=SECONDS, used_max=2)


def test_a_challenge_is_open_for_its_time_and_is_used_once(challenges: Challenges, clock: FixedClock) -> None:
    challenge, until_us = challenges.issue()
    assert challenges.open_until_us(challenge) == until_us == clock.now_us() + SECONDS * 1_000_000
    assert challenges.redeem(challenge)
    assert challenges.open_until_us(challenge) is None
    assert not challenges.redeem(challenge)


@pytest.mark.parametrize("seconds", [SECONDS, -1])
def test_a_challenge_that_is_over_or_of_later_opens_nothing(
    challenges: Challenges, clock: FixedClock, seconds: int
) -> None:
    challenge, _ = challenges.issue()
    clock.advance(seconds=seconds)
    assert challenges.open_until_us(challenge) is None
    assert not challenges.redeem(challenge)


def test_a_challenge_is_ours_and_spelled_as_we_spell_it(challenges: Challenges, clock: FixedClock) -> None:
    """Another spelling would be another challenge to what remembers the used ones, and work again."""
    challenge, _ = challenges.issue()
    raw = urlsafe_b64decode(challenge)
    spelled = challenge[:-3] + chr(ord(challenge[-3]) + 1) + challenge[-2:]
    assert urlsafe_b64decode(spelled) == urlsafe_b64decode("*" + challenge) == raw
    later = raw[:16] + (int.from_bytes(raw[16:24], "big") + 1).to_bytes(8, "big") + raw[24:]
    foreign, _ = Challenges(clock, seconds=SECONDS, used_max=2).issue()
    strange = (
        spelled,
        "*" + challenge,
        foreign,
        "",
        "ä",
        "A",
        *(urlsafe_b64encode(one).decode() for one in (later, raw[1:], raw + b"x", b"")),
    )
    for one in strange:
        assert challenges.open_until_us(one) is None
        assert not challenges.redeem(one)
    assert challenges.redeem(challenge)


def test_no_more_are_used_at_a_time_than_are_remembered(challenges: Challenges, clock: FixedClock) -> None:
    first, second, third = (challenges.issue()[0] for _ in range(3))
    assert challenges.redeem(first) and challenges.redeem(second)
    assert not challenges.redeem(third)
    clock.advance(seconds=SECONDS)
    assert challenges.redeem(challenges.issue()[0]), "those of before are forgotten"


@pytest.mark.parametrize("seconds", [SECONDS, -1])
def test_a_session_is_found_by_its_token_while_it_lasts(clock: FixedClock, seconds: int) -> None:
    sessions = Sessions(clock, seconds=SECONDS, entries_max=2)
    token, session = sessions.open("auditor-1", "key")
    assert sessions.find(token) == session
    assert sessions.find("x" + token) is None
    clock.advance(seconds=seconds)
    assert sessions.find(token) is None
