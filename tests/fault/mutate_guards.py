"""Every guard of the procedure is taken out, one at a time, and something has to notice.

A mutant is the program with one check gone: a call of a guard, one condition under which something is raised (where
records are erased, also one under which they are left alone), a look into the tables of states, a signature that is
not verified. It lives in a process forked from this one, in which the code of one function is exchanged; no file is
touched. What all need is loaded once, and nothing is done here that makes a thread. First the
attacks of `test_guards` are made, those on the missing guard before the others, then random walks under the judge, then
the tests that belong to the module.
Who passes all of that is a survivor: the exit code is 1, and bench/out/mutants.json names it. Where the tests of a
module fail with every guard in place, all are skipped or they do not end in time there is no verdict, and the exit code
is 1, too. The guards of retention (`RETENTION`) have the tests only.

    python -m tests.fault.mutate_guards [--module NAME] [--only N] [--first N] [--quick] [--near] [--resume]
        [--list]

A verdict is written as soon as it is known. `--resume` keeps those of an earlier run whose function reads as it did.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from schemas.errors import ProcedureError
from store import Store
from tests.api.disclosure.attacking import Attack
from tests.api.disclosure.model.town import Town
from tests.api.disclosure.model.walks import Walk
from tests.api.disclosure.test_guards import ATTACKS
from tests.api.disclosure.test_second_locks import LOCKS
from tests.conftest import FixedClock
from tests.fault.forked import forked
from tests.fault.guards_of import MODULES, PROCEDURE
from tests.fault.mutants import ROUTE, Mutant, lasting_name, living, mutants
from tests.fault.reaching import Reached, by_line
from tests.fault.report import say
from tests.fault.torture import OUT, scratch
from tests.store.records import NOW_US

HERE: Final = Path(__file__).parents[1]
LOADED: Final = ("api.app", "tests.store.conftest", "tests.api.conftest")
"""What most tests import."""
WALKS: Final = 12
RESULTS: Final = OUT / "mutants.json"
SUITE_SECONDS_MAX: Final = 900
PASSED, FAILED = 10, 11
"""How a process says what its tests said: a process that cannot run them ends with 1, too."""


def _attacked(mutant: Mutant, town: Town) -> bool:
    """Whether an attack comes through, or ends otherwise than it should."""
    guard = mutant.function if mutant.module == "api.disclosure.rules" else mutant.what.removeprefix("without ")
    first = [attack for attack in ATTACKS if attack.guard == guard]
    rest = [attack for attack in ATTACKS if attack.guard != guard]
    return any(not _is_refused(attack, town) for attack in (*first, *LOCKS, *rest))


def _is_refused(attack: Attack, town: Town) -> bool:
    start = town.court.store.audit.size
    try:
        attack.act(town.court)
    except ProcedureError as refusal:
        told = {entry.kind for entry in town.court.log(start)}  # what an attack sets right again is told after it
        return refusal.reason == attack.reason and "disclosure.refused" in told
    except Exception:
        return False
    return False


def noticed(mutant: Mutant) -> bool:
    """Whether an attack or a walk notices, in this process."""
    clock = FixedClock(NOW_US)
    with scratch() as place, Store.create(Path(place) / "root", clock=clock) as store:
        town = Town.build(store, clock)
        with living(mutant):
            if _attacked(mutant, town):
                return True
            for seed in range(WALKS):
                try:
                    Walk(town, seed).go()
                except Exception:
                    return True
    return False


def tested(mutant: Mutant, *, is_near: bool = False) -> bool:
    """Whether the tests of its module fail, in a process of their own; without a mutant they have to pass.

    First those that come by its line are run, the shortest before the others, then, unless it has to be `near`, all.

    Raises:
        RuntimeError: they fail with every guard in place, none of them is run, or they do not end.
    """
    paths = tuple(str(HERE / name) for name in MODULES[mutant.module])
    if not _passes(replace(mutants((mutant.module,))[0], number=-1), paths):
        raise RuntimeError(f"the tests of {mutant.module} fail as it is")
    if mutant.number == ROUTE:  # whom a role keeps out does not come by the route's lines
        return not _passes(mutant, paths)
    near = tuple(by_line(mutant.line, _reached(mutant.module)))
    if near and not _passes(mutant, near):
        return True
    return not is_near and not _passes(mutant, paths)


def _reached(module: str) -> Path:
    return OUT / "reached" / f"{module}.json"


@cache
def _passes(mutant: Mutant, paths: tuple[str, ...]) -> bool:
    return _told(lambda: suite(mutant, list(paths)))


def _told(act: Callable[[], int]) -> bool:
    """Whether it passes, in a process of its own."""
    code, said = forked(act, SUITE_SECONDS_MAX)
    if code not in (PASSED, FAILED):
        raise RuntimeError(f"it did not end in time: {said}" if code is None else f"it ended with {code}: {said}")
    return code == PASSED


class _Run:
    """Tells tests that passed from tests that were skipped."""

    passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed


def suite(mutant: Mutant, paths: list[str]) -> int:
    """Run tests with the mutant in this process."""
    options = ["-x", "-m", "not torture", "--rootdir", str(HERE.parent)]
    options += ["--basetemp", str(Path(tempfile.gettempdir()) / "t")]  # sockets of a service need a short path
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # the program is loaded before pytest begins
    run = _Run()
    plugins: list[object] = [run]
    if mutant.number < 0:
        file = importlib.import_module(mutant.module).__file__ or ""
        plugins.append(Reached(file, _reached(mutant.module)))
    with living(mutant), contextlib.chdir(HERE.parent):
        code = pytest.main([*options, *paths], plugins=plugins)
    if code == pytest.ExitCode.OK and not run.passed:
        return int(pytest.ExitCode.NO_TESTS_COLLECTED)
    return {0: PASSED, 1: FAILED}.get(int(code), int(code))


def verdict(mutant: Mutant, *, is_quick: bool = False, is_near: bool = False) -> bool:
    """Whether a mutant is noticed; by attacks and walks alone where it has to be quick."""
    if (is_quick or PROCEDURE[0] in MODULES[mutant.module]) and not _told(
        lambda: FAILED if noticed(mutant) else PASSED
    ):
        return True
    return not is_quick and tested(mutant, is_near=is_near)


def _keep(verdicts: dict[str, dict[str, Any]]) -> None:
    survivors = [item["mutant"] for item in verdicts.values() if not item["noticed"]]
    report = {"mutants": len(verdicts), "survivors": survivors, "verdicts": verdicts}
    OUT.mkdir(parents=True, exist_ok=True)
    fresh = RESULTS.with_suffix(".new")
    fresh.write_text(json.dumps(report, indent=1) + "\n")
    fresh.replace(RESULTS)


def _kept() -> dict[str, dict[str, Any]]:
    return dict(json.loads(RESULTS.read_text()).get("verdicts", {})) if RESULTS.exists() else {}


def _chosen(options: argparse.Namespace) -> list[tuple[int, Mutant]]:
    found = enumerate(mutants(tuple(options.module or MODULES)))
    return [item for item in found if item[0] >= options.first and (not options.only or item[0] in options.only)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutate_guards")
    parser.add_argument("--module", action="append", choices=MODULES, help="these only")
    parser.add_argument("--first", type=int, default=0, help="the mutant to go on with")
    parser.add_argument("--only", type=int, action="append", help="these mutants only, by number")
    parser.add_argument("--quick", action="store_true", help="attacks and walks only")
    parser.add_argument("--near", action="store_true", help="of the tests, those only that come by the guard")
    parser.add_argument("--resume", action="store_true", help="go on where the last run ended")
    parser.add_argument("--list", action="store_true", help="only list them")
    options = parser.parse_args()
    chosen = _chosen(options)
    if options.list:
        sys.stdout.writelines(f"{number} {mutant}\n" for number, mutant in chosen)
        return 0
    for module in LOADED:
        importlib.import_module(module)
    before = _kept() if options.resume else {}
    verdicts: dict[str, dict[str, Any]] = {}
    untold = 0
    for done, (number, mutant) in enumerate(chosen, start=1):
        name = lasting_name(mutant)
        known = before.get(name)
        if known is None:
            try:
                is_noticed = verdict(mutant, is_quick=options.quick, is_near=options.near)
            except RuntimeError as error:
                untold += 1
                say(f"{number} untold: {mutant}: {error}")
                continue
            known = {"mutant": str(mutant), "noticed": is_noticed}
        verdicts[name] = known
        _keep(before | verdicts)
        if not known["noticed"]:
            say(f"{number} survived: {mutant}")
        if done % 25 == 0:
            say(f"{done} of {len(chosen)}")
    survivors = [item for item in verdicts.values() if not item["noticed"]]
    say(f"{len(verdicts)} mutants, {len(survivors)} survived, {untold} untold")
    return 1 if survivors or untold else 0


if __name__ == "__main__":
    sys.exit(main())
