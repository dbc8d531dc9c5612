"""Kamailio with real calls of SIPp: its files, and its pushes into the real service."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from api.settings import Settings
from ingest import sources
from ingest.drop_folder import DropFolder
from ingest.drop_rules import WatchRules
from ingest.source_config import SourceConfig
from store import ScanQuery
from store.clock import SystemClock
from tests.api.world import World, make_world, running
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S, until
from tests.ports import free_port
from tests.producers.programs import find, needs, started

HERE = Path(__file__).parent
ANSWERED, BUSY = 8, 4
FROM_FIRST, TO_FIRST, TO_BUSY = 46_700_001_000, 46_701_000_000, 46_709_000_000


@dataclass(frozen=True)
class Ports:
    proxy: int
    answer: int
    busy: int


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    needs(kamailio="kamailio", sipp="sip-tester")
    with make_world(tmp_path, cast(FixedClock, SystemClock())) as world:
        yield world


@contextmanager
def kamailio(folder: Path, login: str, http: int) -> Iterator[Ports]:
    """Run the proxy and two user agents behind it: one answers, one is busy."""
    ports = Ports(free_port(), free_port(), free_port())
    flat, run = folder / "flat", folder / "run"
    flat.mkdir()
    run.mkdir()
    words = {"PROXY": ports.proxy, "ANSWER": ports.answer, "BUSY": ports.busy, "FLAT": flat, "HTTP": http}
    text = (HERE / "kamailio.cfg").read_text().replace("@LOGIN@", f"{login}@", 1)
    for word, value in words.items():
        text = text.replace(f"@{word}@", str(value))
    (folder / "kamailio.cfg").write_text(text)
    command = ["kamailio", "-DD", "-E", "-f", str(folder / "kamailio.cfg"), "-Y", str(run), "-w", str(run)]
    with ExitStack() as stack:
        log = folder / "kamailio.log"
        stack.enter_context(started([find("kamailio") or "", *command[1:]], log))
        for name, port in (("uas_answer", ports.answer), ("uas_busy", ports.busy)):
            agent = ["sipp", "-sf", str(HERE / f"{name}.xml"), "-i", "127.0.0.1", "-p", str(port), "-nostdin"]
            stack.enter_context(started(agent, folder / f"{name}.log"))
        until(lambda: answers(ports.proxy), "Kamailio does not listen")
        yield ports


def answers(port: int) -> bool:
    """Tell whether a UDP port of loopback is taken."""
    wanted = f"0100007F:{port:04X}"
    return wanted in Path("/proc/net/udp").read_text()


def call(folder: Path, ports: Ports, scenario: str, to_first: int, count: int, talk_ms: int) -> None:
    """Make some calls; return when all are over."""
    lines = "".join(f"{FROM_FIRST + one};{to_first + one};caller\n" for one in range(count))
    (folder / f"{scenario}.csv").write_text(f"SEQUENTIAL\n{lines}")
    command = ["sipp", f"127.0.0.1:{ports.proxy}", "-sf", HERE / f"{scenario}.xml", "-inf", folder / f"{scenario}.csv"]
    more = ["-i", "127.0.0.1", "-p", str(free_port()), "-m", str(count), "-r", "10", "-d", str(talk_ms)]
    subprocess.run(
        [*command, *more, "-nostdin", "-timeout", "100"], check=True, capture_output=True, timeout=PATIENCE_S
    )


def rows(world: World, source: str) -> list[dict[str, Any]]:
    """Return what is billed of a source; `figures` says which conflicts are kept beside it."""
    query = ScanQuery(0, 2**60, include_conflicts=False)
    found = [row for batch in world.store.scan(query) for row in batch.to_pylist()]
    return [row for row in found if row["source"] == source]


def test_calls_arrive_once_by_files_and_by_pushes(made: World, tmp_path: Path) -> None:
    for name in ("sbc-http", "sbc-acc", "sbc-cdrs"):
        sources.register(made.store, SourceConfig(name), actor="test")
    credential = made.credential("sbc-http")
    login = f"{credential['id']}:{credential['secret']}"
    folder = tmp_path / "kamailio"
    folder.mkdir()
    with running(made.store, Settings(port=0)) as where, kamailio(folder, login, where.port) as ports:
        call(folder, ports, "uac_answer", TO_FIRST, ANSWERED, 600)
        call(folder, ports, "uac_busy", TO_BUSY, BUSY, 0)
        # An INVITE and a BYE of each answered call; a busy one is told by acc and by missed_calls.
        pushed = 2 * ANSWERED + 2 * BUSY
        until(lambda: delivered(made, "sbc-http") == pushed, (folder / "kamailio.log").read_text()[-2000:])
    assert figures(made, "sbc-http") == (pushed, BUSY, 0)
    for table, source in (("acc_", "sbc-acc"), ("missed", "sbc-acc"), ("acc_cdrs", "sbc-cdrs")):
        into = folder / f"in-{table}"
        into.mkdir()
        for path in (folder / "flat").glob(f"{table}*.log"):
            if (table == "acc_cdrs") == path.name.startswith("acc_cdrs"):
                path.rename(into / path.name)
        DropFolder(made.store, source, "kamailio-acc", into, WatchRules(settle_s=0)).run(once=True, poll_s=0.05)
    assert figures(made, "sbc-acc") == (pushed, BUSY, 0)
    assert delivered(made, "sbc-cdrs") >= ANSWERED
    for source in ("sbc-http", "sbc-acc"):
        stored = rows(made, source)
        assert len(stored) == ANSWERED + BUSY
        assert sorted(row["disposition"] for row in stored) == ["answered"] * ANSWERED + ["busy"] * BUSY
    assert made.store.verify() == []


def delivered(world: World, source: str) -> int:
    return sum(row["delivered"] for row in world.store.reconcile(source))


def figures(world: World, source: str) -> tuple[int, int, int]:
    """Count what was delivered, told before, refused.

    `acc` and `missed_calls` read the clock one after the other; if a second ends between them, the later is a conflict.
    """
    found = world.store.reconcile(source)
    return (
        sum(row["delivered"] for row in found),
        sum(row["duplicates"] + row["conflicts"] for row in found),
        sum(row["rejects"] for row in found),
    )
