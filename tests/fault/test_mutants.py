"""A few of the mutants of `mutate_guards`, and its control: the program as it is passes what the mutants fail."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from api.disclosure import rules
from schemas.errors import ProcedureError
from store import Store
from tests.api.disclosure.model.town import Town
from tests.conftest import FixedClock
from tests.fault import mutate_guards
from tests.fault.mutate_guards import Mutant, living, mutants, noticed
from tests.fault.torture import scratch
from tests.store.records import NOW_US

SAMPLE = (
    ("api.disclosure.steps", "without require_three_persons"),
    ("api.disclosure.steps", "without require_signed"),
    ("api.disclosure.running", "without _require_granted"),
    ("api.disclosure.delivering", "without _require_released"),
)


@pytest.mark.parametrize(("module", "what"), SAMPLE)
def test_a_missing_guard_is_noticed(module: str, what: str) -> None:
    assert noticed(next(mutant for mutant in mutants((module,)) if mutant.what == what))


def test_the_program_as_it_is_passes_the_attacks() -> None:
    nothing = Mutant("api.disclosure.rules", "require_role", -1, 0, "as it is")
    with scratch() as place, Store.create(Path(place) / "root", clock=FixedClock(NOW_US)) as store:
        town = Town.build(store, town_clock(store))
        with living(nothing):
            assert not mutate_guards._attacked(nothing, town)


@pytest.mark.parametrize(
    ("text", "is_noticed"),
    [
        ("assert True", False),
        ("with pytest.raises(ProcedureError): requested_of(None, 'end')", True),
    ],
)
def test_tests_without_a_guard_tell_whether_it_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_noticed: bool
) -> None:
    """In a process of their own, as the campaign runs them."""
    path = tmp_path / "test_it.py"
    known = "import pytest\nfrom api.people.custodians import requested_of\n"
    path.write_text(f"{known}from schemas.errors import ProcedureError\ndef test_it():\n    {text}\n")
    monkeypatch.setitem(mutate_guards.MODULES, "api.people.custodians", (str(path),))
    mutant = next(item for item in mutants(("api.people.custodians",)) if item.function == "requested_of")
    assert mutate_guards.tested(mutant) is is_noticed


def test_tests_that_fail_with_every_guard_in_place_tell_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "test_it.py"
    path.write_text("def test_it():\n    assert False\n")
    monkeypatch.setitem(mutate_guards.MODULES, "api.people.custodians", (str(path),))
    with pytest.raises(RuntimeError, match="fail as it is"):
        mutate_guards.tested(mutants(("api.people.custodians",))[0])


def town_clock(store: Store) -> FixedClock:
    assert isinstance(store.clock, FixedClock)
    return store.clock


def test_a_mutant_lives_for_a_while_only() -> None:
    mutant = next(item for item in mutants(("api.disclosure.rules",)) if item.function == "require_same_person")
    before = rules.require_same_person.__code__
    with living(mutant), pytest.raises(AttributeError):
        rules.require_same_person(None, None)  # type: ignore[arg-type]
    assert rules.require_same_person.__code__ is before
    with pytest.raises(ProcedureError):
        rules.require_same_person(None, None)  # type: ignore[arg-type]


def test_every_guard_of_the_rules_has_its_mutants() -> None:
    named = {mutant.function for mutant in mutants(("api.disclosure.rules", "api.disclosure.targets"))}
    assert named >= {name for name, _ in inspect.getmembers(rules, inspect.isfunction) if name.startswith("require_")}
    assert len(mutants()) > 200
