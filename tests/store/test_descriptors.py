"""Deliveries of many days, several at once, under the usual limit of open files."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.descriptors import share
from store.syncing import Syncs
from tests.store.opened import opened


@pytest.fixture
def few_files() -> Iterator[int]:
    """The limit of open files that most systems begin with; what other tests left open is closed before."""
    gc.collect()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))
    yield 1_024
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_files_that_wait_for_the_disk_leave_descriptors_to_others(tmp_path: Path, few_files: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    most = 0
    batches = [Syncs() for _ in range(4)]
    for _ in range(few_files // 4):
        for syncs in batches:
            syncs.add(path)
        most = max(most, opened(tmp_path))
    for syncs in batches:
        syncs.finish()
    assert 0 < most <= few_files // 8
    assert opened(tmp_path) == 0


@pytest.mark.parametrize(("limit", "found"), [(1_024, 256), (100_000, 2_048), (resource.RLIM_INFINITY, 2_048)])
def test_a_share_is_of_the_limit_and_of_none_where_there_is_none(
    limit: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert share(4, 2_048) == found
