"""Help that fits the terminal: examples are broken where a shell lets them be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import click

_TEXT: Final = r"""(?:"[^"]*"|'[^']*'|[^\s"'])+"""
_WORD: Final = re.compile(rf"--[a-z-]+ (?!-){_TEXT}|{_TEXT}")
"""A word, or an option with its value."""
_MARGIN: Final = 2
"""click leaves so many columns of the terminal empty."""


class HelpFormatter(click.HelpFormatter):
    """Writes text as click does, then breaks the command lines that are longer than the terminal is wide."""

    def write_text(self, text: str) -> None:
        """Write one text, with its examples in lines that a shell reads as one."""
        before = len(self.buffer)
        super().write_text(text)
        lines = "".join(self.buffer[before:]).split("\n")
        self.buffer[before:] = ["\n".join(broken(lines, self.width + _MARGIN))]


def broken(lines: list[str], width: int) -> Iterator[str]:
    """Yield lines; a command longer than `width` is continued on further lines, indented, after a backslash."""
    for line in whole(lines):
        is_command = re.search(r"(?:^|\| )(?:\$ )?lagrum ", line.strip()) is not None
        if not is_command or len(line) <= width:
            yield line
            continue
        indent = " " * (len(line) - len(line.lstrip()))
        row = indent
        for word in _WORD.findall(line):
            if row.strip() and len(row) + len(word) + 3 > width:
                yield f"{row} \\"
                row = indent + "    "
            row += word if not row.strip() else f" {word}"
        yield row


def whole(lines: list[str]) -> Iterator[str]:
    """Yield lines, with what a backslash continues joined: how wide the source is does not show on the terminal."""
    begun = ""
    for line in lines:
        text = f"{begun} {line.strip()}" if begun else line
        begun = text.removesuffix("\\").rstrip() if text.endswith("\\") else ""
        if not begun:
            yield text
    if begun:
        yield f"{begun} \\"
