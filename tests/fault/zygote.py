"""A process that has imported everything and forks the campaigns' processes, at a hundredth of the price of a start.

Run as `python -m tests.fault.zygote`. It reads requests, one JSON object a line, and answers each with one:
`{"run": NAME, "arguments": […], "stdout": PATH, "stderr": PATH, "stopped": BOOL}` forks a process that calls
`tests.fault.work.NAME`, after it stopped itself where it shall; the answer is its pid. `{"wait": PID, "seconds": S}`
answers with the exit code, negative for a signal, null when it still runs. It never makes a thread.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

STATUS_UNCAUGHT = 70


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        _import_what_the_work_imports(Path(scratch))
    running: set[int] = set()
    _say("ready")
    try:
        for line in sys.stdin:
            request = json.loads(line)
            if "run" in request:
                pid = _fork(request)
                running.add(pid)
                _say(pid)
            else:
                code = _wait(request["wait"], request["seconds"])
                if code is not None:
                    running.discard(request["wait"])
                _say(code)
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)


def _import_what_the_work_imports(scratch: Path) -> None:
    """Let a child do the work once; import here what it had to import."""
    told = scratch / "modules"
    request = {"run": "rehearse", "arguments": [str(scratch), str(told)], "stdout": os.devnull}
    code = _wait(_fork(request | {"stderr": str(scratch / "stderr"), "stopped": False}), 300)
    if code != 0:
        sys.stderr.write((scratch / "stderr").read_text())
        sys.exit(STATUS_UNCAUGHT)
    for name in told.read_text().split():
        if name not in sys.modules and not name.startswith("_"):  # asyncio is not itself when _asyncio came first
            try:
                importlib.import_module(name)
            except Exception:
                continue


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = STATUS_UNCAUGHT
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for number, path, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        ):
            fd = os.open(path, flags, 0o600)
            os.dup2(fd, number)
            os.close(fd)
        work = importlib.import_module("tests.fault.work")
        if request["stopped"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        code = getattr(work, request["run"])(*request["arguments"])
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(pid: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.002)


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
