"""Tests have their folders where a service's socket can be, whatever the machine calls its users and places."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import SOCKET_BYTES_MAX, is_short


@pytest.mark.parametrize("temporary", ["/tmp", "/dev/shm", "/var/tmp"])
def test_the_usual_places_are_short(temporary: str) -> None:
    assert is_short(temporary, "root") and is_short(temporary, "lagrum")


@pytest.mark.parametrize(
    ("temporary", "user"),
    [("/builds/runner/work/_temp", "runner"), ("/tmp", "build-agent-of-the-court"), ("/tmp/åäöåäöåäö", "root")],
)
def test_a_place_with_a_long_name_is_not(temporary: str, user: str) -> None:
    assert not is_short(temporary, user)


def test_this_run_has_a_place_that_is(tmp_path: Path) -> None:
    folder = tmp_path.with_name("x" * 31) / "root" / "run" / "lagrum.sock"
    assert len(os.fsencode(folder)) <= SOCKET_BYTES_MAX
