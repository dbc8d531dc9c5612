"""docs/SETTINGS.md, made from `api.settings.Settings`: every setting with its default."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import fields
from typing import Any, Final

from api.settings import FILE_NAME, Settings

_HEAD: Final = f"""\
# Settings

The service reads `{FILE_NAME}` in the store's folder when it starts; every setting has a default, and the file may be
missing. A name that is not below, or a value of another type, stops the start with its name. After a change, restart
the service. No setting reaches the clock, the floor, the ceiling, or who may do what. Units end the names; the paths of
certificates and of queues' files are relative to the store's folder.
"""
_SUBJECT: Final = re.compile(r"^([a-z]+): ", re.MULTILINE)


def settings_reference() -> str:
    """Return the page, in Markdown."""
    _, *parts = _SUBJECT.split(inspect.getdoc(Settings) or "")
    words = dict(zip(parts[::2], parts[1::2], strict=True))
    names: dict[str, list[str]] = {}
    for item in fields(Settings):
        names.setdefault(item.metadata["table"], []).append(f"| `{item.name}` | {_shown(item.default)} |")
    sections = []
    for table, rows in names.items():
        text = " ".join(words[table].split())
        lines = "\n".join(rows)
        told = textwrap.fill(text[:1].upper() + text[1:], 120, break_on_hyphens=False)
        sections.append(f"\n## [{table}]\n\n{told}\n\n| setting | default |\n|---|---|\n{lines}\n")
    return _HEAD + "".join(sections)


def _shown(value: Any) -> str:
    """Return a default as TOML writes it; for a size in whole MiB or GiB that too."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`' if value else "not set"
    for bits, unit in ((30, "GiB"), (20, "MiB")):
        if value >= 1 << bits and value % (1 << bits) == 0:
            return f"`{value}` ({value >> bits} {unit})"
    return f"`{value}`"
