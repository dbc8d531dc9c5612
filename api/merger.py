"""Merges for the service, in a process of their own: who acknowledges pushes waits for no interpreter that merges.

(1) Once a minute the service asks whether parts are to be merged; the catalog tells. (2) If so it starts `lagrum
compact` for itself (`api/cli/merge_worker.py`), at a lower priority, and hands it the root key's passphrase over a
pipe: no argument, variable or file has it. (3) That process tells each merge when it is published, so that what the
service knows of the merged records stays known. (4) It ends when it is done, or as soon as its pipe does: when the
service stops, and also when it is killed. Whoever of the two dies, and when, leaves what a crash leaves: files that no
catalog names, which the next such process removes. (5) Whatever it does, it says every few seconds that it lives. One
that is stopped, or waits for ever, would keep its locks and its keys: it is killed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from schemas.errors import BusyError, ConfigurationError, LagrumError
from store import place
from store.compaction.compact import is_due
from store.compaction.retired import unlink_retired
from store.layout import Layout

if TYPE_CHECKING:
    from store import Store

ENDING_SECONDS: Final = 5
"""So long an ending process may take before it is killed."""
BEAT_SECONDS: Final = 10
"""So often it says that it lives, and looks for keys that others have destroyed."""
SILENT_SECONDS_MAX: Final = 60
"""A process that says nothing for so long is killed; so no key outlives its lease in one that is stopped."""
_READ_BYTES: Final = 65_536
_RESTART: Final = "restart the service"
_FOLDER: Final = str(Path(__file__).parents[1])
_PROGRAM: Final = "import sys; sys.path.insert(0, sys.argv.pop(1)); from api.cli import main; sys.exit(main())"


class Merger:
    """The service's side: starts the process when there is something to merge, and ends it with the service."""

    def __init__(self, store: Store, passphrase: bytes | None, *, everything: bool = False) -> None:
        """Merge in this store; `everything` as in `Store.compact`."""
        self._store, self._everything = store, everything
        self._passphrase = passphrase
        self._guard = threading.Lock()
        self._stopped = False
        self._left_behind = True  # so far nobody knows
        self._place = place_of(store.root)
        self._process: subprocess.Popen[bytes] | None = None

    def look(self) -> int:
        """Have merged what is to be merged, and unlink what was merged away; return how many merges there were.

        Raises:
            LagrumError: the other process told why it failed, ended without a word, or says nothing any more; or
                there is another store now where this one was.
        """
        refuse_other(self._store.root, self._place)
        merges = self._merge() if is_due(self._store, everything=self._everything) else 0
        unlink_retired(self._store)
        return merges

    def stop(self) -> None:
        """End the process, within `ENDING_SECONDS` in any case; none is started from now on."""
        with self._guard:
            self._stopped = True
            process = self._process
        if process is not None:
            _end(process)

    def _merge(self) -> int:
        with self._guard:
            if self._stopped:
                return 0
            process = self._process = self._started()
        try:
            with suppress(OSError, ValueError):  # it is gone already, or `stop` has closed the pipe; its code tells
                self._hand_over(process)
            self._left_behind = True
            merges, failed = self._follow(process)
            code = process.wait(ENDING_SECONDS)
            self._left_behind = code != 0
        finally:
            _end(process)
            _pipe(process.stdout).close()
            self._process = None
        if failed is not None:
            raise LagrumError(failed)
        if code and not self._stopped:
            raise BusyError(f"the process that merges ended with {code}", hint="it is started again")
        return merges

    def _started(self) -> subprocess.Popen[bytes]:
        # In the service's session, so that priorities compare; not in its group: an interrupt asks the service only.
        words = ["--root", str(self._store.root), "compact", "--for-service", *(["--all"] if self._everything else [])]
        return subprocess.Popen(  # noqa: S603 (this program itself)
            [sys.executable, "-P", "-c", _PROGRAM, _FOLDER, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )

    def _hand_over(self, process: subprocess.Popen[bytes]) -> None:
        """Write the first line; the pipe stays open, for its end is what ends the process."""
        secret = None if self._passphrase is None else base64.b64encode(self._passphrase).decode()
        line = {"passphrase": secret, "beat_seconds": BEAT_SECONDS, "recover": self._left_behind, "place": self._place}
        pipe = _pipe(process.stdin)
        pipe.write(json.dumps(line).encode() + b"\n")
        pipe.flush()

    def _follow(self, process: subprocess.Popen[bytes]) -> tuple[int, str | None]:
        """Take what the process tells until it ends; return how often it merged, and why it failed, if it says so."""
        merges, failed = 0, None
        for line in _lines(_pipe(process.stdout).fileno()):
            told: dict[str, Any] = json.loads(line)
            if "failed" in told:
                failed = str(told["failed"])
            elif told:
                self._store.known.merged(told["merged"], told["into"])
                merges += 1
        return merges, failed


def place_of(root: Path) -> list[int]:
    """Return what tells the store in a folder from another one that is put in its place (`store.place`).

    Raises:
        ConfigurationError: there is none any more.
    """
    found = place.place_of(Layout(root).catalog)
    if found is None:
        raise ConfigurationError("the store has gone from its place", hint=_RESTART)
    return list(found)


def refuse_other(root: Path, known: Sequence[int]) -> None:
    """Refuse to merge where not the service's store is.

    Raises:
        ConfigurationError: there is another one now, or none.
    """
    if place_of(root) != list(known):
        raise ConfigurationError("another store is in the place of the service's", hint=_RESTART)


def _lines(pipe: int) -> Iterator[bytes]:
    """Yield whole lines until the pipe ends; one that is cut off comes from a process that was killed.

    Raises:
        BusyError: nothing came for `SILENT_SECONDS_MAX`.
    """
    waiting, begun = select.poll(), b""  # `select` knows no descriptor above 1,023
    waiting.register(pipe, select.POLLIN)
    while True:
        if not waiting.poll(SILENT_SECONDS_MAX * 1000):
            raise BusyError("the process that merges says nothing any more", hint="it is killed and started again")
        read = os.read(pipe, _READ_BYTES)
        if not read:
            return
        *lines, begun = (begun + read).split(b"\n")
        yield from lines


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        _pipe(process.stdin).close()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:  # it is stopped, or waits for a disk
        process.kill()
        process.wait()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # both are asked for where the process is started
    return pipe
