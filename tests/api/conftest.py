"""Fixtures of the service's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.world import World, make_world
from tests.conftest import FixedClock


@pytest.fixture
def world(tmp_path: Path, clock: FixedClock) -> Iterator[World]:
    with make_world(tmp_path, clock) as made:
        yield made
