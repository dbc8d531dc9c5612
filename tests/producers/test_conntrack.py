"""conntrack with real translations of the kernel: who had this public address and port is answered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from store import ScanQuery, Store
from store.clock import SystemClock
from tests.patience import PATIENCE_S
from tests.producers.programs import environment, isolated, needs

HERE = Path(__file__).parent
FLOWS = 20


def test_translations_are_told_by_their_public_port(tmp_path: Path) -> None:
    needs(conntrack="conntrack", nft="nftables", ip="iproute2")
    events = tmp_path / "events.log"
    command = isolated(HERE / "conntrack.sh", events, sys.executable, FLOWS, needs_root=True)
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]
    data = events.read_bytes()
    assert data.count(b"[NEW]") == data.count(b"[DESTROY]") == FLOWS
    with Store.create(tmp_path / "root", clock=SystemClock()) as store:
        with events.open("rb") as stream:
            receipt = ingest_stream(store, SourceConfig("nat"), "conntrack", stream)
        assert (receipt.records, receipt.rejected, receipt.rows) == (2 * FLOWS, 0, FLOWS)
        rows = [row for batch in store.scan(ScanQuery(0, 2**60)) for row in batch.to_pylist()]
    told = {(row["source_port"], row["nat_port_first"]) for row in rows}
    # An independent reading: the port to which answers come.
    destroyed = [line.split() for line in data.decode().splitlines() if "[DESTROY]" in line]
    ports = [[word.partition("=")[2] for word in line if word.startswith(("sport=", "dport="))] for line in destroyed]
    assert told == {(int(one[0]), int(one[3])) for one in ports}
    assert all(row["start_time"] <= row["end_time"] for row in rows)
