"""No flag, environment variable, configuration or request reaches the clock."""

from __future__ import annotations

import ast
import re

import click

from api.cli.manual import walk
from api.cli.program import lagrum
from tests.architecture.source import calls, dotted, imports, modules, nodes

CLOCK = "store/clock.py"
CONSTRUCTED_IN = {"api/cli/context.py"}
TELLS_TIME = re.compile(
    r"(^|\.)(time\.time|time\.time_ns|time\.clock_gettime|time\.clock_gettime_ns|datetime\.now|datetime\.utcnow|datetime\.today|date\.today)$"
)
WITHOUT_ARGUMENT = re.compile(r"(^|\.)time\.(gmtime|localtime|ctime|asctime|strftime)$")
SQL_TIME = re.compile(
    r"CURRENT_(TIMESTAMP|DATE|TIME)|\b(datetime|date|julianday|unixepoch)\s*\(\s*('now'|\))|\bnow\s*\(\s*\)",
    re.IGNORECASE,
)
ENVIRONMENT_IN = {"api/cli/context.py", "store/keys/modules.py", "store/native.py"}
ENVIRONMENT_NAMES = {"LAGRUM_ROOT", "LAGRUM_KEY", "CREDENTIALS_DIRECTORY", "NUMBA_CACHE_DIR"}
SUSPICIOUS = {"clock", "given_clock", "now", "now_us", "today", "time", "at", "as_of", "current_time", "fake_time"}


def _counts_only(call: ast.Call) -> bool:
    """A monotonic clock measures spans; it does not tell the date."""
    return [dotted(argument) for argument in call.args] in (["time.CLOCK_BOOTTIME"], ["time.CLOCK_MONOTONIC"])


def test_only_the_clock_asks_the_machine_for_the_time() -> None:
    found = [
        (path, call.lineno, name)
        for path, tree in modules().items()
        if path != CLOCK
        for name, call in calls(tree)
        if (TELLS_TIME.search(name) and not _counts_only(call))
        or (WITHOUT_ARGUMENT.search(name) and len(call.args) < (2 if "strftime" in name else 1))
    ]
    assert found == []


def test_nobody_takes_the_time_functions_out_of_their_modules() -> None:
    names = {
        "time.time",
        "time.time_ns",
        "time.clock_gettime",
        "time.clock_gettime_ns",
        "time.gmtime",
        "time.localtime",
    }
    found = [(path, name) for path, tree in modules().items() for name in imports(tree) if name in names]
    assert found == []


def test_no_statement_lets_the_database_tell_the_time() -> None:
    found = [
        (path, node.lineno)
        for path, tree in modules().items()
        for node in nodes(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.search(r"\b(SELECT|INSERT|UPDATE|DELETE|CREATE)\b", node.value)
        and SQL_TIME.search(node.value)
    ]
    assert found == []


def test_the_system_clock_is_made_in_one_place() -> None:
    places = {path for path, tree in modules().items() for name, _ in calls(tree) if name.endswith("SystemClock")}
    assert places == CONSTRUCTED_IN


def test_the_clock_is_never_chosen_by_the_environment() -> None:
    readers = {
        path
        for path, tree in modules().items()
        for node in nodes(tree)
        if isinstance(node, ast.Attribute) and dotted(node) in {"os.environ", "os.getenv", "os.environb"}
    }
    assert readers <= ENVIRONMENT_IN
    named = {
        option.envvar for _, command in walk(lagrum) for option in command.params if isinstance(option, click.Option)
    } | {option.envvar for option in lagrum.params}
    assert named - {None} <= ENVIRONMENT_NAMES


def test_no_option_of_the_command_line_names_the_time_of_the_clock() -> None:
    options = [
        (path, parameter.name)
        for path, command in [("lagrum", lagrum), *walk(lagrum)]
        for parameter in command.params
        if parameter.name in SUSPICIOUS
    ]
    assert options == []


def test_nobody_assigns_a_clock_after_construction() -> None:
    found = [
        (path, node.lineno)
        for path, tree in modules().items()
        for function in nodes(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name != "__init__"
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Attribute) and target.attr in {"clock", "_clock", "given_clock"}
    ]
    assert found == []
