"""Processes of a campaign, forked by a zygote; some of them under strace."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.fault.ledger import CREDENTIAL, START_US, Ledger, SharedClock, first_deliveries

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS_MAX = 120


@dataclass
class Child:
    """One process; `said` and `complained` are its stdout and stderr."""

    nursery: Nursery
    pid: int
    stdout: Path
    stderr: Path
    code: int | None = None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def go(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, seconds: float = SECONDS_MAX) -> int | None:
        """Return the exit code, negative for a signal; None when it still runs."""
        if self.code is None:
            self.code = self.nursery.ask({"wait": self.pid, "seconds": seconds})
        return self.code

    def end(self) -> int:
        """Return the exit code; a process that does not end is killed."""
        if self.wait() is None:
            self.kill()
            self.wait()
            raise AssertionError(f"a process did not end within {SECONDS_MAX} s")
        assert self.code is not None
        return self.code

    @property
    def acknowledged(self) -> set[int]:
        """The numbers of the deliveries that it acknowledged, in whole lines."""
        whole = self.stdout.read_text().rpartition("\n")[0] if self.stdout.exists() else ""
        return {int(line) for line in whole.split("\n") if line.isdigit()}

    @property
    def complained(self) -> str:
        return self.stderr.read_text() if self.stderr.exists() else ""


class Nursery:
    """Starts processes in `directory`, which holds what they say."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._number = 0
        # One thread in a child is enough here, and a fork must not find a library's threads gone.
        quiet = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | quiet,
        )
        assert self._hear() == "ready"

    def __enter__(self) -> Nursery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._zygote.stdin is not None and self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait()
        self._zygote.stdout.close()

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(json.dumps(request) + "\n")
        self._zygote.stdin.flush()
        return self._hear()

    def _hear(self) -> Any:
        assert self._zygote.stdout is not None
        line = self._zygote.stdout.readline()
        if not line:
            raise AssertionError("the zygote has ended")
        return json.loads(line)

    def start(self, work: str, clock: SharedClock, *arguments: Any, stopped: bool = False) -> Child:
        """Start `tests.fault.work.<work>`."""
        self._number += 1
        stdout, stderr = (self.directory / f"{self._number}.{name}" for name in ("out", "err"))
        for path in (stdout, stderr):
            path.unlink(missing_ok=True)
        request = {
            "run": work,
            "arguments": [[clock.base_us, clock.anchor_ns], *map(_plain, arguments)],
            "stdout": str(stdout),
            "stderr": str(stderr),
            "stopped": stopped,
        }
        return Child(self, self.ask(request), stdout, stderr)

    def run(self, work: str, clock: SharedClock, *arguments: Any) -> Child:
        """Start it and wait for its end."""
        child = self.start(work, clock, *arguments)
        child.end()
        return child

    def trace(self, work: str, clock: SharedClock, *arguments: Any, options: Sequence[str], log: Path) -> Child:
        """Run it under strace from its first own instruction on; the trace goes to `log`."""
        child = self.start(work, clock, *arguments, stopped=True)
        while _status(child.pid, "State")[0] != "T":
            time.sleep(0.001)
        tracer = subprocess.Popen(
            ["strace", "-q", "-f", "-o", str(log), *options, "-p", str(child.pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            while _status(child.pid, "TracerPid") == "0":
                if tracer.poll() is not None:
                    assert tracer.stderr is not None
                    raise AssertionError(f"strace ended: {tracer.stderr.read()}")
                time.sleep(0.001)
            child.go()
            child.end()
        finally:
            tracer.terminate()
            tracer.communicate()
        return child


def may_trace() -> bool:
    """Tell whether strace is installed and may attach to a process here."""
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        command = ["strace", "-o", os.devnull, "-p", str(sleeper.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()  # that it is attached, or why not
            sleeper.kill()
            tracer.communicate()
    return "attached" in said


def _plain(argument: Any) -> Any:
    return str(argument) if isinstance(argument, Path) else argument


def _status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().split("\n")
    return next(line.split("\t")[1] for line in lines if line.startswith(name + ":"))


class Template:
    """A store that is made once and copied for every run."""

    def __init__(self, nursery: Nursery, directory: Path) -> None:
        self.home, self.files = directory / "template", directory / "files"
        for path in (self.home, self.files):
            path.mkdir(parents=True)
        self.clock = SharedClock(START_US)
        self.ledger = Ledger()
        first_deliveries(self.ledger, self.clock)
        child = nursery.run("make", self.clock, self.home, self.files)
        assert child.code == 0, child.complained
        assert child.acknowledged == set(self.ledger.delivered)
        self.ledger.acknowledge(child.acknowledged)
        self.token = (self.home / CREDENTIAL).read_text()

    def copy(self, home: Path) -> Path:
        """Copy the template to `home`; return the root of the copy."""
        if home.exists():
            shutil.rmtree(home)
        shutil.copytree(self.home, home)
        return home / "root"
