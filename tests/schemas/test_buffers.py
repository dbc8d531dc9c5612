"""Modules that are not installed are not looked for again and again."""

from __future__ import annotations

import importlib
import json
import sys
from importlib.machinery import PathFinder

import pyarrow as pa
import pytest

from schemas.buffers import tell_absent

ABSENT = "no_such_module_of_anybody"


class Watch:
    """Notes which modules are looked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        self.asked.append(name)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    made = Watch()
    monkeypatch.setattr(sys, "meta_path", [made, *sys.meta_path])
    return made


def test_an_absent_module_is_refused_without_a_look(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, ABSENT, raising=False)
    tell_absent(ABSENT)
    watch.asked.clear()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(ABSENT)
    assert watch.asked == []
    del sys.modules[ABSENT]


def test_a_module_that_is_loaded_or_installed_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    tell_absent("json")
    assert sys.modules["json"] is json
    monkeypatch.delitem(sys.modules, "this", raising=False)
    tell_absent("this")  # installed, and not loaded
    assert "this" not in sys.modules


@pytest.mark.skipif(PathFinder.find_spec("dateutil") is not None, reason="dateutil is installed")
def test_values_become_columns_without_a_look_for_a_module(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    pa.array([1, None])
    pa.scalar("word")
    assert "dateutil" not in watch.asked
    monkeypatch.delitem(sys.modules, "dateutil")
    pa.scalar("word")
    assert "dateutil" in watch.asked
