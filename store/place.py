"""Where a store lies: what tells it from another one that was put in its place while a process has it open.

Descriptors stay with a root that was renamed away, and paths lead to the one that is there now: what such a process
writes, or finds missing, belongs to two stores. So it acknowledges nothing any more, and answers nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from schemas.errors import BusyError

GONE: Final = "the store has gone from its place; another is there, or none"
PUT_BACK: Final = "put the root back, or restart the service over the one that is there"


def place_of(catalog: Path) -> tuple[int, int] | None:
    """Return what tells a catalog from another one under its name; None where there is none."""
    try:
        status = catalog.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def refuse_other(catalog: Path, place: tuple[int, int] | None) -> None:
    """Refuse to go on where this catalog is not the one that was opened; it costs one look at its name.

    Raises:
        BusyError: there is another one now, or none.
    """
    if place_of(catalog) != place:
        raise BusyError(GONE, hint=PUT_BACK)
