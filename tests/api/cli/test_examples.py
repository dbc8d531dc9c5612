"""Every command shows how it is called, and what it shows is read by the program's own parser."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from api.cli.context import Context
from api.cli.help_lines import whole
from api.cli.manual import walk
from api.cli.program import lagrum
from tests.conftest import FixedClock

COMMANDS = dict(walk(lagrum))
LEAVES = [name for name, command in COMMANDS.items() if not isinstance(command, click.Group)]


def examples(command: click.Command) -> Iterator[str]:
    """Yield the calls in a command's help, without the shell's part of them."""
    for line in whole((command.help or "").split("\n")):
        for part in re.split(r" (?:\||&&) ", line.strip().removeprefix("$ ")):
            if part.startswith("lagrum "):
                yield re.sub(r" [<>] .*", "", re.sub(r"\$\(.*?\)", "0", part))


def parsed(call: str, clock: FixedClock) -> str:
    """Return the name of the command that a call names, its words read as the program reads them."""
    words = shlex.split(call)[1:]
    context = lagrum.make_context("lagrum", words, obj=Context(root=None, json=False, given_clock=clock))
    while isinstance(context.command, click.Group) and (left := [*context._protected_args, *context.args]):
        name, command, words = context.command.resolve_command(context, left)
        assert command is not None
        context = command.make_context(name, words, parent=context)
    return context.command_path


@pytest.fixture(autouse=True)
def no_file_needs_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: self.coerce_path_result(value))
    monkeypatch.setattr(click.File, "convert", lambda self, value, param, ctx: value)


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_has_an_example_of_itself(name: str, clock: FixedClock) -> None:
    assert name in [parsed(call, clock) for call in examples(COMMANDS[name])]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in LEAVES])
def test_what_a_group_shows_is_of_the_group(name: str, clock: FixedClock) -> None:
    for call in examples(COMMANDS[name]):
        assert parsed(call, clock).startswith(name)


@pytest.mark.parametrize(
    "call",
    [
        "lagrum nothing",
        "lagrum ingest calls.csv",
        "lagrum sources add",
        "lagrum sources add pbx-east --zoen UTC",
        "lagrum person enrol officer-7 --name X --role boss --second KEYFILE",
        "lagrum status here",
    ],
)
def test_what_the_program_would_refuse_is_no_example(call: str, clock: FixedClock) -> None:
    with pytest.raises(click.UsageError):
        parsed(call, clock)
