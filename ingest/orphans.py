"""Companions of a drop folder whose file was moved away when the process was killed, before they could follow it.

A file moves first and its companions after it, all with one time (`Folder.take_away`). A companion that is left belongs
where its file went: in the folder it would speak, wrongly, of the next file of that name. One whose file has not come
yet stays, and so does one that came after the file of that name was moved: it announces another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ingest.drop_rules import COMPANIONS, companions, is_delivery, suffixed
from store import files

ORPHANS_MAX: Final = 10_000
"""So many are looked at in one go: far more than a killed process leaves."""


def gather(directory: Path, homes: Sequence[str], now_us: int) -> int:
    """Move the companions that were left in a folder to where their files are, in `homes`; return how many.

    Raises:
        OSError: one cannot be moved.
    """
    lonely = _without_file(directory)
    found: dict[str, tuple[int, str, str]] = {}  # companion -> its file's change, folder and name
    for home in homes if lonely else ():
        for entry in _plain(directory / home):
            status = entry.stat(follow_symlinks=False)
            for one in _companions(_own_name(entry.name)):
                left = lonely.get(one)
                if left is not None and _went_with(left, status):
                    place = (status.st_ctime_ns, home, entry.name)
                    found[one] = min(found.get(one, place), place)
    files.replace_all(
        (directory / one, directory / home / _free(directory / home, f"{name}.{one.rpartition('.')[2]}", now_us))
        for one, (_, home, name) in found.items()
    )
    return len(found)


def _without_file(directory: Path) -> dict[str, os.stat_result]:
    """Return the companions beside which lies no file of theirs."""
    lonely: dict[str, os.stat_result] = {}
    for entry in _plain(directory):
        base, dot, suffix = entry.name.rpartition(".")
        if dot + suffix in COMPANIONS and len(lonely) < ORPHANS_MAX and not os.path.lexists(directory / base):
            lonely[entry.name] = entry.stat(follow_symlinks=False)
    for entry in _plain(directory) if lonely else ():
        if is_delivery(entry.name):
            for one in _companions([entry.name]):
                lonely.pop(one, None)
    return lonely


def _plain(directory: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        yield from (entry for entry in entries if entry.is_file(follow_symlinks=False))


def _own_name(name: str) -> list[str]:
    """Return the names that a moved file may have had: its own, and that without the number of `Folder.name_in`."""
    stem, dot, number = name.rpartition(".")
    return [name, stem] if dot and stem and number.isdecimal() else [name]


def _companions(names: Sequence[str]) -> Iterator[str]:
    return (one for name in names for suffix in COMPANIONS for one in companions(name, suffix))


def _went_with(left: os.stat_result, moved: os.stat_result) -> bool:
    """Tell whether a companion was there when a file was moved.

    Both got one time then, where this user may set it; else the companion has not changed since.
    """
    if os.geteuid() in (0, left.st_uid) and os.geteuid() in (0, moved.st_uid):
        return left.st_mtime_ns == moved.st_mtime_ns
    return left.st_ctime_ns <= moved.st_ctime_ns


def _free(home: Path, name: str, now_us: int) -> str:
    return suffixed(name, f".{now_us}") if os.path.lexists(home / name) else suffixed(name, "")
