"""The command line: `lagrum`. Its program (`api.cli.program`) is imported where an interrupt is caught already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store.clock import Clock

EXIT_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Run one command and return its exit code; 130 when it is interrupted, be it while the program loads.

    `clock` is for tests, which call this function; nothing that a user can write reaches it.
    """
    try:
        from api.cli.program import run

        return run(argv, clock=clock)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
