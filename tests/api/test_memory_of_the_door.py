"""Challenges, sessions, lock-out: what the service remembers of callers."""

from __future__ import annotations

import pytest

from api.people.sessions import Challenges, Sessions
from api.people.throttle import Throttle
from tests.conftest import FixedClock


def test_a_challenge_works_once_and_for_a_minute(clock: FixedClock) -> None:
    challenges = Challenges(clock, seconds=60, used_max=10)
    first, expires_us = challenges.issue()
    assert challenges.open_until_us(first) == expires_us
    assert challenges.redeem(first)
    assert not challenges.redeem(first)
    assert challenges.open_until_us(first) is None
    second, _ = challenges.issue()
    clock.advance(seconds=60)
    assert challenges.open_until_us(second) is None
    assert not challenges.redeem(second)


def test_a_challenge_of_another_process_or_a_changed_one_is_none(clock: FixedClock) -> None:
    challenges = Challenges(clock, seconds=60, used_max=10)
    foreign, _ = Challenges(clock, seconds=60, used_max=10).issue()
    ours, _ = challenges.issue()
    swapped = ours[:-6] + ("A" if ours[-6] != "A" else "B") + ours[-5:]
    for challenge in (foreign, swapped, ours + "=", ours[:-4], "", "é", "A" * 10_000):
        assert challenges.open_until_us(challenge) is None
        assert not challenges.redeem(challenge)


def test_used_challenges_are_bounded_and_forgotten_when_they_expire(clock: FixedClock) -> None:
    challenges = Challenges(clock, seconds=60, used_max=3)
    assert [challenges.redeem(challenges.issue()[0]) for _ in range(4)] == [True, True, True, False]
    clock.advance(seconds=61)
    assert challenges.redeem(challenges.issue()[0])


def test_a_session_ends_by_time_by_log_out_and_with_its_person(clock: FixedClock) -> None:
    sessions = Sessions(clock, seconds=900, entries_max=10)
    by_time, _ = sessions.open("a-1", "k")
    assert sessions.find(by_time) is not None
    clock.advance(seconds=900)
    assert sessions.find(by_time) is None
    by_log_out, _ = sessions.open("a-1", "k")
    sessions.close(by_log_out)
    assert sessions.find(by_log_out) is None
    with_person, _ = sessions.open("a-1", "k")
    other, _ = sessions.open("b-1", "k")
    sessions.close_all_of("a-1")
    assert sessions.find(with_person) is None
    assert sessions.find(other) is not None


def test_sessions_are_bounded_and_no_token_is_kept(clock: FixedClock) -> None:
    sessions = Sessions(clock, seconds=900, entries_max=3)
    tokens = [sessions.open("a-1", "k")[0] for _ in range(5)]
    assert len(sessions) == 3
    assert [sessions.find(token) is not None for token in tokens] == [False, False, True, True, True]
    assert not any(token in repr(vars(sessions)) for token in tokens)


def test_who_opens_many_sessions_ends_nobody_elses(clock: FixedClock) -> None:
    sessions = Sessions(clock, seconds=900, entries_max=4)
    approver, _ = sessions.open("approver-1", "k")
    handler, _ = sessions.open("handler-1", "k")
    many = [sessions.open("officer-9", "k")[0] for _ in range(20)]
    assert [sessions.find(token) is not None for token in (approver, handler, *many[-2:], *many[:-2])] == (
        [True] * 4 + [False] * 18
    )


def test_a_clock_that_was_set_back_lengthens_nothing(clock: FixedClock) -> None:
    """Neither a session nor a challenge, nor the time for which somebody is locked out."""
    challenges = Challenges(clock, seconds=60, used_max=10)
    sessions = Sessions(clock, seconds=900, entries_max=10)
    throttle = Throttle(clock, failures_max=1, lockout_seconds=60, entries_max=10)
    challenge, _ = challenges.issue()
    token, _ = sessions.open("a-1", "k")
    throttle.failed("a-1")
    clock.jump(seconds=-3600)
    assert challenges.open_until_us(challenge) is None
    assert not challenges.redeem(challenge)
    assert sessions.find(token) is None
    assert throttle.locked_seconds("a-1") == 0


def test_failures_lock_out_for_a_while_and_one_place_only(clock: FixedClock) -> None:
    throttle = Throttle(clock, failures_max=3, lockout_seconds=60, entries_max=10)
    here, there = ("c-1", "192.0.2.1"), ("c-1", "192.0.2.2")
    for _ in range(3):
        assert throttle.locked_seconds(here) == 0
        throttle.failed(here)
    assert throttle.locked_seconds(here) == 60
    assert throttle.locked_seconds(there) == 0
    clock.advance(seconds=59.5)
    assert throttle.locked_seconds(here) == 1
    clock.advance(seconds=1)
    assert throttle.locked_seconds(here) == 0


def test_a_success_forgets_and_memory_is_bounded(clock: FixedClock) -> None:
    throttle = Throttle(clock, failures_max=2, lockout_seconds=60, entries_max=5)
    throttle.failed("a")
    throttle.succeeded("a")
    throttle.failed("a")
    assert throttle.locked_seconds("a") == 0
    for number in range(100):
        throttle.failed(number)
    assert len(throttle) == 5


@pytest.mark.parametrize("gap_seconds", [61, 3600])
def test_old_failures_do_not_add_up(clock: FixedClock, gap_seconds: int) -> None:
    throttle = Throttle(clock, failures_max=2, lockout_seconds=60, entries_max=5)
    for _ in range(5):
        throttle.failed("a")
        clock.advance(seconds=gap_seconds)
    assert throttle.locked_seconds("a") == 0
