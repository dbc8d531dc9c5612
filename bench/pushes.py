"""Single-record pushes: the real service, a client process beside it, and every acknowledged record looked for after.

`python -m bench.pushes [SECONDS] [CONNECTIONS]` prints one JSON object. The client shares the machine's cores. A run
counts only if every acknowledged record is in the store exactly once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from api.people import credentials
from api.people.credentials import Scope
from bench.push_client import KEY, Task
from ingest import sources
from ingest.source_config import SourceConfig
from store import ScanQuery, Store, SystemClock

LAGRUM: Final = str(Path(sys.executable).with_name("lagrum"))
FIXTURE: Final = Path(__file__).parents[1] / "tests" / "fixtures" / "freeswitch" / "a_leg.cdr.json"
SOURCE: Final = "fs-bench"
CLIENT: Final = "bench.push_client"
BODY_BYTES: Final = 4000
VARIABLES: Final = 60
PATH: Final = f"/v1/cdrs?source={SOURCE}&format=freeswitch-json"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_STAMPS: Final = ("start_uepoch", "profile_start_uepoch", "answer_uepoch", "bridge_uepoch", "end_uepoch")


class PushError(Exception):
    """The outcome is wrong, so its figures mean nothing."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    root: Path
    port: int
    token: str
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process so far, user and system."""
        return cpu_seconds(self.process)


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the processor time of a process so far, user and system; of those that it started, of none."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def document(now_us: int) -> bytes:
    """Return a document of about 4 kB with 60 variables, of a call that ended an hour ago."""
    body: dict[str, Any] = orjson.loads(FIXTURE.read_bytes())
    variables = body["variables"]
    start_us = int(variables["start_uepoch"])
    shift_us = now_us - 3_600_000_000 - start_us
    for name in _STAMPS:
        if variables.get(name, "0") != "0":
            variables[name] = str(int(variables[name]) + shift_us)
    if len(variables) != VARIABLES or KEY.encode() not in orjson.dumps(body):
        raise PushError("the fixture is not as it was")
    variables["sip_full_via"] = "SIP/2.0/UDP 192.0.2.40:5062;branch=z9hG4bK"
    variables["sip_full_via"] += "a" * (BODY_BYTES - len(orjson.dumps(body)))
    return orjson.dumps(body)


@contextmanager
def service(folder: Path) -> Iterator[Service]:
    """Make a store with a replica of its keyring, and serve it."""
    root = folder / "store"
    init = [LAGRUM, "init", str(root), "--replica", str(folder / "replica"), "--json"]
    subprocess.run(init, check=True, capture_output=True)
    with Store.open(root, clock=SystemClock()) as store:
        sources.register(store, SourceConfig(SOURCE, country="SE"), actor="bench")
        made, secret = credentials.create(store, "bench", scope=Scope.INGEST, sources=[SOURCE])
    port = _free_port()
    (root / "lagrum.toml").write_text(f"[server]\nport = {port}\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([LAGRUM, "--root", str(root), "serve"], stdout=log, stderr=log)
    try:
        _wait_for(port, process)
        yield Service(root, port, f"{made.credential_id}.{secret}", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def measure(*, seconds: float = 10, connections: int = 128, warm_seconds: float = 2) -> dict[str, Any]:
    """Push for so long; return rate, latency in ms, CPU time per push in µs and numbers of files.

    Raises:
        PushError: a record is missing or there twice, or pushes were refused.
    """
    with tempfile.TemporaryDirectory(prefix="lagrum-pushes-") as name:
        folder = Path(name)
        template = document(SystemClock().now_us())
        with service(folder) as served, _files_seen(served.root) as seen:
            task = Task("127.0.0.1", served.port, PATH, served.token, connections, warm_seconds, 0, template.decode())
            warm = sent(CLIENT, task)
            task.first, task.seconds = 1 << 24, seconds
            before = served.cpu_seconds()
            told = sent(CLIENT, task)
            server_cpu_s = served.cpu_seconds() - before
        acknowledged = warm["acknowledged"] + told["acknowledged"]
        _verify(served.root, acknowledged)
        if warm["refused"] or told["refused"]:
            raise PushError(f"pushes were refused: {told['refused'] or warm['refused']}")
        pushes = len(told["acknowledged"])
        return {
            "pushes": pushes,
            "connections": connections,
            "body_bytes": len(template),
            "pushes_per_second": pushes / told["seconds"],
            "latency_ms": told["latency_ms"],
            "server_cpu_us_per_push": 1e6 * server_cpu_s / pushes,
            "client_cpu_us_per_push": 1e6 * told["cpu_seconds"] / pushes,
            "spool_files_max": seen["spool"],
            "part_files_max": seen["parts"],
            "verified_records": len(acknowledged),
        }


def sent(client: str, task: Any) -> dict[str, Any]:
    """Have a client, a module run as a process of its own, do its task; return what it tells."""
    done = subprocess.run(
        [sys.executable, "-m", client],
        input=json.dumps(asdict(task)).encode(),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _verify(root: Path, acknowledged: list[int]) -> None:
    """Look for every acknowledged record in the store; and check the store."""
    with Store.open(root, clock=SystemClock()) as store:
        keys: dict[str, int] = {}
        for batch in store.scan(ScanQuery(0, 2**60, columns=("record_key_text",))):
            for item in batch.column("record_key_text").to_pylist():
                key = str(item)
                keys[key] = keys.get(key, 0) + 1
        problems = store.verify()
    missing = sum(keys.get(f"{number & 0xFFFFFFFF:08x}-0001-4d00-9c00-{number:012x}") != 1 for number in acknowledged)
    if missing or any(count != 1 for count in keys.values()):
        raise PushError(f"{missing} acknowledged records are not in the store exactly once")
    if problems:
        raise PushError(f"the store has {len(problems)} problems")


@contextmanager
def _files_seen(root: Path) -> Iterator[dict[str, int]]:
    """Count files while something runs; the largest numbers are kept."""
    seen = {"spool": 0, "parts": 0}
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.5):
            for name, most in seen.items():
                seen[name] = max(most, sum(len(files) for _, _, files in os.walk(root / name)))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            raise PushError("the service did not start")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise PushError("the service does not listen")


def main() -> None:
    """Measure once."""
    words = sys.argv[1:]
    told = measure(
        seconds=float(words[0]) if words else 10,
        connections=int(words[1]) if len(words) > 1 else 128,
    )
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
