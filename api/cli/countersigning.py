"""A second custodian sees what the first one requested before signing it: two signatures are not two pairs of eyes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import click

from api.cli.output import show_facts

Look = Callable[[Mapping[str, Any]], None]


def look(facts: Mapping[str, Any]) -> None:
    """Show what is about to be signed and ask, where there is a terminal; a program's output may end in a log.

    Raises:
        click.Abort: the answer is no; nothing is signed.
    """
    if not sys.stdin.isatty():
        return
    told = {name.replace("_", " "): value for name, value in facts.items() if value not in (None, "", [], ())}
    show_facts(told, stderr=True)
    click.confirm("Sign this?", abort=True, err=True)


def seen(_: Mapping[str, Any]) -> None:
    """Show nothing: both custodians are at one keyboard, where it was just written."""
