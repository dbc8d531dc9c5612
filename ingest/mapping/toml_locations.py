"""Where in a mapping file something stands: TOML readers tell values, not lines."""

from __future__ import annotations

import re
from typing import Final

Path = tuple[str | int, ...]

_TABLE: Final = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_ARRAY: Final = re.compile(r"\s*\[\[([^\[\]]+)\]\]\s*(?:#.*)?")
_NAME: Final = r"""(?:[A-Za-z0-9_@-]+|"[^"]*"|'[^']*')"""
_KEY: Final = re.compile(rf"\s*({_NAME}(?:\s*\.\s*{_NAME})*)\s*=")
_PART: Final = re.compile(_NAME)


def line_of(text: str, path: Path) -> int | None:
    """Return the 1-based line of the table or key that comes closest to `path` from above."""
    best: tuple[int, int | None] = (0, None)
    table: Path = ()
    counts: dict[Path, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if (found := _ARRAY.fullmatch(line)) is not None:
            parts = _parts(found[1])
            index = counts[parts] = counts.get(parts, -1) + 1
            table = (*parts, index)
            here = table
        elif (found := _TABLE.fullmatch(line)) is not None:
            here = table = _parts(found[1])
        elif (found := _KEY.match(line)) is not None:
            here = (*table, *_parts(found[1]))
        else:
            continue
        if len(here) > best[0] and path[: len(here)] == here:
            best = (len(here), number)
    return best[1]


def _parts(text: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


def path_text(path: Path) -> str:
    """Return a path as people write it: fields.calling_number[1].steps."""
    out = ""
    for part in path:
        out += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if out else part
    return out
