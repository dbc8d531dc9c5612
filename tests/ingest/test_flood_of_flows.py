"""A collector that is told to end while it is flooded ends, and every datagram is stored, dropped or counted."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ingest.listeners import peers, udp
from store import Store
from tests.conftest import FixedClock
from tests.ingest.ipfix_made import NAT44, ipfix, nat44, one_set, template

FLOWS = 20  # in a datagram
HELD = 6000  # datagrams: more than are decoded at once, and less than the port keeps
DATAGRAMS_MAX = 400_000
END_S = 80.0  # a service manager ends it by force after 90 s


def datagrams(now_ms: int) -> list[bytes]:
    """Return flows of a minute, all of them others; each datagram brings the template too: none waits for one."""
    made = []
    for first in range(0, 500 * FLOWS, FLOWS):
        flows = [nat44(5, now_ms + at, sport=1024 + at, public=1024 + at) for at in range(first, first + FLOWS)]
        made.append(ipfix(one_set(2, template(256, NAT44)), one_set(256, b"".join(flows)), sequence=first))
    return made


@pytest.mark.skipif(not any(table.exists() for table in udp._TABLES), reason="no /proc/net/udp: drops cannot be told")
@pytest.mark.parametrize("goes_on", [False, True])
def test_told_to_end_under_a_flood_it_ends_and_the_sums_are_right(
    tmp_path: Path, clock: FixedClock, goes_on: bool
) -> None:
    clock.value_us = time.time_ns() // 1000  # the child takes the machine's time
    root, sent = tmp_path / "root", 0
    with Store.create(root, clock=clock) as store:
        peers.register(store, "cgn1", "flow", "127.0.0.1", "cgn", b"", actor="test")
    words = ["--json", "--root", str(root), "listen", "flow", "--port", "0"]
    program = "import sys; from api.cli import main; sys.exit(main())"
    running = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stderr is not None
    address = ("127.0.0.1", int(running.stderr.readline().split()[-1]))
    made, told = datagrams(clock.value_us // 1000 - 3_600_000), threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter:

        def flood() -> None:
            nonlocal sent
            while sent < (DATAGRAMS_MAX if goes_on else HELD) and not told.is_set():
                exporter.sendto(made[sent % len(made)], address)
                sent += 1

        flooding = threading.Thread(target=flood)
        flooding.start()
        if goes_on:
            time.sleep(0.5)
        else:
            flooding.join()
        running.send_signal(signal.SIGTERM)
        try:
            out, _ = running.communicate(timeout=END_S)
        finally:
            told.set()
            flooding.join()
            running.kill()
    counts = json.loads(out)
    assert running.returncode == 0
    outcomes = sum(counts.get(name, 0) for name in ("accepted", "duplicates", "conflicts", "rejected"))
    assert outcomes == FLOWS * (counts["received"] - counts.get("dropped-at-stop", 0)) and counts.get("lost", 0) == 0
    if not goes_on:
        assert counts["received"] + counts["kernel-dropped"] == sent
    with Store.open(root, clock=clock) as store:
        assert store.verify() == []
        assert sum(row["delivered"] for row in store.reconcile()) == outcomes
        assert ("intake.udp-dropped-at-stop" in {entry.kind for entry in store.audit.entries()}) == (
            counts.get("dropped-at-stop", 0) > 0
        )
