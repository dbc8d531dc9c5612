"""One peer in a process of its own: `python -m bench.worker PEER FOLDER`; requests and answers are lines of JSON.

What a peer prints goes to standard error, so that nothing but answers comes back.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import peers
from bench.peers.base import LINE, Keys, Peer, Window

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


def checksum(keys: Keys) -> str:
    """Return a digest of a set of record keys, whatever their order."""
    mixed = keys.astype(np.uint64) * _MIX
    mixed ^= mixed >> np.uint64(29)
    return f"{int((mixed * _MIX).sum(dtype=np.uint64)):016x}"


def joined(one: str, two: str) -> str:
    """Return the digest of two sets that have no key in common, from their digests."""
    return f"{(int(one, 16) + int(two, 16)) % (1 << 64):016x}"


def usage_checksum(lines: pa.Table) -> str:
    """Return a digest of usage lines, whatever their order."""
    total = 0
    columns = (lines.column(name).to_pylist() for name in LINE.names)
    for account, service, records, seconds in zip(*columns, strict=True):
        number = 0 if account is None else int(account.rpartition("-")[2]) + 1
        place = sum(service.encode()) + 1000 * number
        total += place * (records * 1_000_003 + seconds)
    return f"{total:x}"


class Work:
    """Does what a request says; each method returns what to time and then what to tell."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    def do(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry one request out and tell what it cost."""
        peer, what = self.peer, request["do"]
        if what == "lookup":
            return self._lookup(request)
        if what == "usage":
            lines, cost = self._timed(lambda: peer.usage(_window(request)))
            counted = int(np.sum(lines.column("records").to_numpy()))
            return {"records": counted, "lines": lines.num_rows, "checksum": usage_checksum(lines), **cost}
        if what == "load":
            rows, cost = self._timed(lambda: peer.load([Path(path) for path in request["paths"]]))
            return {"records": rows, **cost}
        if what == "subscribe":
            _, cost = self._timed(lambda: peer.subscribe(pq.read_table(request["path"])))
            return cost
        if what == "drop":
            day = date.fromisoformat(request["day"])
            peer.aim(day)
            _, cost = self._timed(lambda: peer.drop_partition(day))
            return cost
        if what in ("count", "size_bytes", "memory_bytes", "describe"):
            return {"value": getattr(peer, what)()}
        if what not in ("prepare", "merge", "finish", "resume"):
            raise ValueError(f"no such request: {what}")
        _, cost = self._timed(getattr(peer, what))
        return cost

    def _lookup(self, request: dict[str, Any]) -> dict[str, Any]:
        window = _window(request)
        before = self.peer.read_bytes()
        answer, cost = self._timed(lambda: self.peer.lookup(request["kind"], request["value"], window))
        after = self.peer.read_bytes()
        keys = self.peer.keys(answer)
        told = {"records": len(keys), "checksum": checksum(keys), **cost}
        return told if before is None or after is None else told | {"read_bytes": after - before}

    def _timed(self, call: Any) -> tuple[Any, dict[str, Any]]:
        cpu, began = self.peer.cpu_seconds(), time.perf_counter()
        result = call()
        seconds = time.perf_counter() - began
        return result, {"seconds": seconds, "cpu_seconds": self.peer.cpu_seconds() - cpu}


def _window(request: dict[str, Any]) -> Window:
    return Window(date.fromisoformat(request["start"]), date.fromisoformat(request["end"]))


def main() -> int:
    """Serve requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    peer = peers.make(sys.argv[1], Path(sys.argv[2]))
    work = Work(peer)
    try:
        for line in sys.stdin:
            try:
                answer = {"ok": True, **work.do(json.loads(line))}
            except Exception as error:  # whatever a peer raises is a result of the measurement
                answer = {"ok": False, "error": f"{type(error).__name__}: {str(error)[:300]}"}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
    finally:
        peer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
