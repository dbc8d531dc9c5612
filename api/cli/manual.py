"""The manual of the command line, made from the commands themselves: docs/CLI.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from api.cli.groups import SECTIONS

INTRODUCTION = """\
# Command line

This page is generated from the program (`make generate`). `lagrum COMMAND --help` shows the same.

The store is named by `--root DIR` before the command or by the environment variable `LAGRUM_ROOT`. `--json`, before or
after the command, prints one JSON object on standard output; everything else goes to standard error.
Exit codes: 0 done; 1 ran, but found something wrong; 2 usage or configuration; 130 interrupted.
"""


def manual(root: click.Group) -> str:
    """Return the manual of `root` and all its commands as Markdown."""
    lines = [INTRODUCTION]
    context = click.Context(root, info_name="lagrum")
    for title, entries in SECTIONS:
        lines.append(f"## {title}\n")
        for entry in entries:
            command = root.get_command(context, entry.name)
            if command is not None:
                lines.extend(_pages(command, f"lagrum {entry.name}", level=3))
    return "\n".join(lines).rstrip() + "\n"


def walk(root: click.Group) -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its full name, groups before what is in them."""
    context = click.Context(root, info_name="lagrum")
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        if command is None:
            continue
        yield f"lagrum {name}", command
        if isinstance(command, click.Group):
            for child_name, child in walk(command):
                yield child_name.replace("lagrum ", f"lagrum {name} ", 1), child


def _pages(command: click.Command, path: str, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {path}\n"
    yield _body(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from _pages(command.commands[name], f"{path} {name}", level=level + 1)
    else:
        yield _synopsis(command, path)


def _synopsis(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"```text\n{path} {usage}\n```\n"]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and record[1] and "--help" not in parameter.opts:
            lines.append(f"- `{record[0]}`: {record[1]}")
    return "\n".join(lines) + "\n"


def _body(command: click.Command) -> str:
    """Return the help text; paragraphs marked to keep their lines become code blocks."""
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    return "\n".join(_paragraph(paragraph) for paragraph in paragraphs)


def _paragraph(text: str) -> str:
    if not text.startswith("\b"):
        return text + "\n"
    head, _, rest = text.lstrip("\b\n").partition("\n")
    return f"{head}\n\n```text\n{inspect.cleandoc(rest)}\n```\n"
