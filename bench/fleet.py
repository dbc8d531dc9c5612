"""The measuring side of `bench.worker`: starts peers' processes, asks them, and never waits for ever."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

ANSWER_SECONDS_MAX: Final = 3600.0
END_SECONDS_MAX: Final = 120.0


class PeerError(Exception):
    """A peer could not do what it was asked to; the others go on."""


class PeerGoneError(PeerError):
    """Its process ended; it answers nothing more."""


class Worker:
    """One peer's process."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Send one request and return its answer.

        Raises:
            PeerError: the peer failed.
            PeerGoneError: it ended or took too long.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=ANSWER_SECONDS_MAX)
        except (BrokenPipeError, ValueError):  # it ended, or was closed
            line = ""
        except queue.Empty:
            self._process.kill()
            raise PeerGoneError(f"{do}: no answer within {ANSWER_SECONDS_MAX:.0f} s") from None
        if not line:
            raise PeerGoneError(f"{do}: the process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise PeerError(f"{do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process; its peer closes what it opened."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            for line in self._process.stdout:
                self._answers.put(line)
        except ValueError:
            pass  # closed meanwhile
        self._answers.put("")


@contextmanager
def worker(name: str, folder: Path) -> Iterator[Worker]:
    """Run one peer's process."""
    one = Worker(name, folder)
    try:
        yield one
    finally:
        one.close()


class Fleet:
    """Several peers at work on the same data; one that cannot begin, or ends, is left out from then on."""

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.errors: dict[str, str] = {}

    def start(self, name: str, folder: Path, *requests: str) -> None:
        """Add a peer and let it do its first steps; a failure is kept, not raised."""
        one = self.workers[name] = Worker(name, folder)
        for do in requests:
            self.need(one.name, do)

    def ask(self, name: str, do: str, **more: Any) -> dict[str, Any]:
        """Ask one peer.

        Raises:
            PeerError: it failed, now or for good.
        """
        if name in self.errors:
            raise PeerError(self.errors[name])
        try:
            return self.workers[name].ask(do, **more)
        except PeerGoneError as error:
            self.errors[name] = str(error)
            raise

    def need(self, name: str, do: str, **more: Any) -> dict[str, Any] | None:
        """Ask for what everything after it depends on; None when it failed, now or before."""
        try:
            return self.ask(name, do, **more)
        except PeerError as error:
            self.errors.setdefault(name, str(error))
            return None

    @property
    def able(self) -> Sequence[str]:
        """The peers that have not failed."""
        return [name for name in self.workers if name not in self.errors]

    def close(self) -> None:
        """End every process."""
        for one in self.workers.values():
            one.close()
        self.workers.clear()
