"""A place with a store, two replicas and a provider of roots."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from store.keys import KeyRef, Keyring
from tests.store.keys import providers

STORE_ID = "4f6d1f1e"


class Elapsed:
    def __init__(self) -> None:
        self.value_s = 1000.0

    def __call__(self) -> float:
        return self.value_s


@dataclass
class Place:
    base: Path
    provider: providers.Provider
    elapsed: Elapsed = field(default_factory=Elapsed)

    @property
    def root(self) -> Path:
        return self.base / "store"

    @property
    def replicas(self) -> list[Path]:
        return [self.base / "replica-a", self.base / "replica-b"]

    @property
    def homes(self) -> list[Path]:
        return [self.root, *self.replicas]

    def create(self) -> Keyring:
        return Keyring.create(
            self.root, store_id=STORE_ID, replicas=self.replicas, roots=self.provider.make(), elapsed=self.elapsed
        )

    def open(self) -> Keyring:
        return Keyring.open(self.root, roots=self.provider.make(), elapsed=self.elapsed)

    def all_bytes(self) -> bytes:
        return b"\x00".join(path.read_bytes() for path in sorted(self.base.rglob("*")) if path.is_file())


@pytest.fixture(params=providers.ALL, ids=lambda make: make.__name__)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path, request.param())


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: tests that write a store hundreds of times need no real disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture
def plain_place(tmp_path: Path) -> Place:
    return Place(tmp_path, providers.plain())


def partition(day: int) -> KeyRef:
    return KeyRef("partition", f"2026-01-{day:02d}", "default", "common")
