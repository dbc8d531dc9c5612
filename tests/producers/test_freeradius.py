"""A FreeRADIUS server writes detail files of what radclient sends; `lagrum watch` takes them, each packet once."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest import sources
from ingest.source_config import SourceConfig
from store import ScanQuery, Store
from store.clock import SystemClock
from tests.patience import PATIENCE_S, until
from tests.ports import free_port
from tests.producers.programs import environment, find, needs, started

DISK = "/var/tmp"
"""The detail module makes no file in /dev/shm, where tests have their places."""
HERE = Path(__file__).parent
SESSIONS = 25
DICTIONARY = "/usr/share/freeradius"


def packets(begun_s: int, *, delay_s: int = 0) -> list[str]:
    """Return a Start and a Stop of every session."""
    made = []
    for number in range(SESSIONS):
        common = (
            f'User-Name = "user{number}@example.net"\nNAS-IP-Address = 10.20.30.40\n'
            f"Framed-IP-Address = 10.9.0.{number}\n"
            f'Calling-Station-Id = "4670174{number:04d}"\nAcct-Session-Id = "id{number}"\nAcct-Delay-Time = {delay_s}\n'
        )
        made.append(common + f"Acct-Status-Type = Start\nEvent-Timestamp = {begun_s}\n")
        stop = f"Event-Timestamp = {begun_s + 60 + number}\nAcct-Session-Time = {60 + number}\n"
        made.append(common + f"Acct-Status-Type = Stop\n{stop}Acct-Input-Octets = {number}\nAcct-Input-Gigawords = 1\n")
    return made


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lagrum-radius-", dir=DISK) as made:
        yield Path(made)


def test_detail_files_of_a_server_are_watched_and_each_session_is_stored_once(tmp_path: Path, folder: Path) -> None:
    needs(freeradius="freeradius", radclient="freeradius-utils")
    port, secret = free_port(), tmp_path / "secret"
    secret.write_text(secrets.token_hex(16) + "\n")
    root = tmp_path / "root"
    (folder / "in").mkdir()
    settings = {"@FOLDER@": str(folder), "@SECRET@": secret.read_text().strip(), "@PORT@": str(port)}
    text = (HERE / "radiusd.conf").read_text()
    for name, value in settings.items():
        text = text.replace(name, value)
    (folder / "radiusd.conf").write_text(text)
    (folder / "radiusd.conf").chmod(0o600)
    with Store.create(root, clock=SystemClock()) as store:
        sources.register(store, SourceConfig("bras", zone="UTC"), actor="test")
    written = folder / "in" / ".detail"

    def send(some: list[str]) -> None:
        where = ["-S", str(secret), "-r", "60", "-t", "1", f"127.0.0.1:{port}", "acct"]
        command = [find("radclient") or "radclient", "-q", *where]
        done = subprocess.run(
            command, check=False, input="\n".join(some), text=True, capture_output=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr + done.stdout

    def watched(name: str) -> dict[str, Any]:
        """Close the server's file, as a rotation does, and have it watched."""
        written.rename(written.with_name(name))
        lagrum = [str(Path(sys.executable).with_name("lagrum")), "--root", str(root), "--json", "watch", "--once"]
        more = ["--source", "bras", "--format", "radius-detail", "--settle", "0", str(folder / "in")]
        done = subprocess.run([*lagrum, *more], check=False, capture_output=True, timeout=PATIENCE_S, env=environment())
        assert done.returncode == 0, done.stderr.decode()
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    server = [find("freeradius") or "freeradius", "-X", "-d", str(folder), "-D", DICTIONARY]
    log = tmp_path / "server.log"
    with started(server, log):
        until(lambda: b"Ready to process requests" in log.read_bytes(), "the server does not start")
        begun_s = int(time.time()) - 5000
        first = packets(begun_s)
        send(first[: SESSIONS + 1])
        told = watched("detail-1")
        assert (told["files"], told["records"], told["rejected"]) == (1, SESSIONS + 1, 0)
        send(first[SESSIONS + 1 :] + packets(begun_s, delay_s=7)[-4:])  # the NAS heard no answer to the last four
        told = watched("detail-2")
        assert (told["records"], told["duplicates"], told["conflicts"], told["rejected"]) == (SESSIONS + 3, 4, 0, 0)
    with Store.open(root, clock=SystemClock()) as store:
        rows = [row for batch in store.scan(ScanQuery(0, 2**60)) for row in batch.to_pylist()]
        assert sum(batch.num_rows for batch in store.open_sessions()) == 0
    assert sorted((row["duration_ms"], row["volume_up_bytes"]) for row in rows) == [
        ((60 + number) * 1000, 2**32 + number) for number in range(SESSIONS)
    ]
    assert sorted(path.name for path in (folder / "in" / "done").iterdir()) == ["detail-1", "detail-2"]
