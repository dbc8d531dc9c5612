"""Kannel with messages of its fakesmsc: every message is stored, and its text nowhere."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path

from ingest import sources
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from store import ScanQuery, Store
from store.clock import SystemClock
from tests.patience import until
from tests.producers.programs import find, isolated, needs, started

HERE = Path(__file__).parent
MESSAGES = 12
TEXT = b"secretword"


def test_messages_are_stored_once_without_their_text(tmp_path: Path) -> None:
    needs(bearerbox="kannel", smsbox="kannel", fakesmsc="kannel-extras", ip="iproute2")
    folder = tmp_path / "kannel"
    folder.mkdir()
    text = (HERE / "kannel.conf").read_text().replace("@FOLDER@", str(folder))
    (folder / "kannel.conf").write_text(text.replace("@PASSWORD@", secrets.token_hex(8)))
    log = folder / "access.log"
    tools = Path(find("fakesmsc") or "").parent
    with started(isolated(HERE / "kannel.sh", folder, tools, MESSAGES), folder / "all.log"):
        # Each message is received, and answered.
        until(lambda: log.exists() and log.read_bytes().count(b" SMS [") >= 2 * MESSAGES, "Kannel writes nothing")
    data = log.read_bytes()
    assert TEXT in data
    with Store.create(tmp_path / "root", clock=SystemClock()) as store:
        sources.register(store, SourceConfig("sms", zone="UTC"), actor="test")
        for expected in ((2 * MESSAGES, 0), (0, 2 * MESSAGES)):
            with log.open("rb") as stream:
                receipt = ingest_stream(store, sources.get(store, "sms"), "kannel", stream)
            assert (receipt.accepted, receipt.duplicates, receipt.rejected) == (*expected, 0)
        rows = [row for batch in store.scan(ScanQuery(0, 2**60)) for row in batch.to_pylist()]
        assert sorted(row["disposition"] for row in rows) == ["received"] * MESSAGES + ["sent"] * MESSAGES
    found = subprocess.run(["grep", "-rlF", TEXT.decode(), tmp_path / "root"], capture_output=True, check=False)
    assert found.stdout == b""
