"""A few of the mutants of `mutate_guards`, and its control: the program as it is passes what the mutants fail."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from api.access_middleware import AccessMiddleware
from api.disclosure import rules
from api.people import auth
from api.routes import holds
from schemas.errors import ProcedureError
from store import Store
from tests.api.disclosure.model.town import Town
from tests.conftest import FixedClock
from tests.fault import mutate_guards
from tests.fault.forked import forked
from tests.fault.guards_of import MODULES, ONLY
from tests.fault.mutants import Mutant, living, mutants
from tests.fault.mutate_guards import noticed
from tests.fault.reaching import by_line
from tests.fault.torture import scratch
from tests.store.records import NOW_US

SAMPLE = (
    ("api.disclosure.step_base", "without require_three_persons"),
    ("api.disclosure.step_base", "without require_signed"),
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


CAMPAIGN = """
import json, subprocess, sys
from tests.fault import mutate_guards
from tests.fault.forked import forked
from tests.fault.mutants import mutants
mutant = next(item for item in mutants(("api.people.custodians",)) if item.function == "requested_of")
for path in sys.argv[1:]:
    mutate_guards.MODULES["api.people.custodians"] = (path,)
    try:
        print(json.dumps(mutate_guards.tested(mutant)))
    except RuntimeError as error:
        print(json.dumps(str(error)))
print(json.dumps(forked(lambda: subprocess.run(["sleep", "600"]).returncode, 0.3)))
"""
SUITES = {
    "survives": "assert True",
    "noticed": "with pytest.raises(ProcedureError): requested_of(None, 'end')",
    "failing": "assert False",
    "skipped": "pytest.skip('not here')",
    "ended": "print('the last word', flush=True); os._exit(10 + 3)",
}


def test_tests_without_a_guard_tell_whether_it_is_missed(tmp_path: Path) -> None:
    """Forked from a process without threads, as the campaign does it; what neither passes nor fails tells nothing."""
    paths = []
    for name, text in SUITES.items():
        path = tmp_path / f"test_{name}.py"
        known = "import os\nimport pytest\nfrom api.people.custodians import requested_of\n"
        path.write_text(f"{known}from schemas.errors import ProcedureError\ndef test_it():\n    {text}\n")
        paths.append(str(path))
    done = subprocess.run(
        [sys.executable, "-c", CAMPAIGN, *paths, str(tmp_path / "test_none.py")],
        cwd=mutate_guards.HERE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    survives, noticed, failing, skipped, ended, missing, late = map(json.loads, done.stdout.splitlines())
    assert (survives, noticed) == (False, True)
    assert failing == "the tests of api.people.custodians fail as it is"
    assert "ended with 5" in skipped and "1 skipped" in skipped
    assert "ended with 13" in ended
    assert "ended with 4" in missing
    assert late == [None, ""]


def test_a_process_with_threads_is_not_forked() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="threads"):
            forked(lambda: 0, 1)
    finally:
        stop.set()
        thread.join()


def test_the_tests_of_every_guard_are_there() -> None:
    assert [name for names in MODULES.values() for name in names if not (mutate_guards.HERE / name).is_file()] == []
    assert set(ONLY) <= set(MODULES)


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


def test_a_coroutine_without_a_guard_stays_one() -> None:
    mutant = next(item for item in mutants(("api.access_middleware",)) if item.what == "not for len(values) > 1")
    before = AccessMiddleware._recognise.__code__
    with living(mutant):
        assert AccessMiddleware._recognise.__code__ is not before
        assert inspect.iscoroutinefunction(AccessMiddleware._recognise)
    assert AccessMiddleware._recognise.__code__ is before


def test_a_route_without_its_role_serves_every_caller() -> None:
    def asks() -> object:
        return get_args(get_type_hints(holds.listing, include_extras=True)["_"])[1].dependency

    mutant = next(item for item in mutants(("api.routes.holds",)) if item.function == "listing")
    before = asks()
    with living(mutant):
        assert asks() is auth.require_any
    assert asks() is before is not auth.require_any


def test_tests_that_come_by_a_line_are_told_the_shortest_first(tmp_path: Path) -> None:
    (tmp_path / "walked.py").write_text("def here(wide):\n    if wide:\n        return 1\n    return 2\n")
    (tmp_path / "test_walks.py").write_text(
        "import threading, time, walked\n"
        "def test_slow():\n    time.sleep(0.2)\n    walked.here(True)\n"
        "def test_other():\n    walked.here(False)\n"
        "def test_quick():\n"
        "    thread = threading.Thread(target=walked.here, args=(True,))\n    thread.start()\n    thread.join()\n"
    )
    script = "import sys, pytest; from pathlib import Path; from tests.fault.reaching import Reached; "
    script += "sys.path.insert(0, sys.argv[1]); sys.exit(pytest.main(['-p', 'no:cacheprovider', '--rootdir', "
    script += "sys.argv[1], sys.argv[1]], plugins=[Reached(sys.argv[1] + '/walked.py', Path(sys.argv[1], 'told'))]))"
    command = [sys.executable, "-c", script, str(tmp_path)]
    subprocess.run(command, cwd=mutate_guards.HERE.parent, capture_output=True, check=True)
    assert [name.rpartition("::")[2] for name in by_line(3, tmp_path / "told")] == ["test_quick", "test_slow"]
    assert [name.rpartition("::")[2] for name in by_line(4, tmp_path / "told")] == ["test_other"]
    assert by_line(9, tmp_path / "told") == []


def test_every_guard_of_the_rules_has_its_mutants() -> None:
    named = {mutant.function for mutant in mutants(("api.disclosure.rules", "api.disclosure.targets"))}
    assert named >= {name for name, _ in inspect.getmembers(rules, inspect.isfunction) if name.startswith("require_")}
    assert len(mutants()) > 200
