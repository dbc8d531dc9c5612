"""The forwarding agent against the real service: store away, kill -9 of either side, wrong receipts."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from api.intake.sender import Sender
from api.people import credentials
from api.people.bootstrap import create_custodians
from api.people.credentials import Scope
from api.settings import Settings
from ingest import sources
from ingest.drop_rules import WatchRules
from ingest.folder import Folder
from ingest.forward import Agent, Forwarded
from ingest.source_config import SourceConfig
from ingest.spool import Spool
from schemas.errors import BusyError, ConfigurationError, InputError
from store import Store
from store.clock import SystemClock
from tests.api.world import CSV, World, running
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S, until

HEAD, _, BODY = CSV.partition(b"\n")
KEY = bytes(range(32))


def rows(*keys: int) -> bytes:
    line = b"%d,pbx,voice,46700000001,46700000002,%b,61\n"
    day = time.strftime("%Y-%m-%dT10:00:00Z", time.gmtime(time.time() - 86_400)).encode()
    return HEAD + b"\n" + b"".join(line % (key, day) for key in keys)


class Stub:
    """A store that answers as told."""

    def __init__(self, answer: Callable[[bytes, str | None], dict[str, Any]]) -> None:
        self.answer = answer
        self.keys: list[str | None] = []

    def send(self, pieces: Callable[[], Iterator[bytes]], key: str | None) -> dict[str, Any]:
        self.keys.append(key)
        return self.answer(b"".join(pieces()), key)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    made.mkdir()
    return made


def agent(folder: Path, send: Any, clock: FixedClock, bytes_max: int = 1 << 30) -> Agent:
    spool = Spool(folder.parent / "spool", KEY, bytes_max=bytes_max)
    return Agent(Folder(folder, WatchRules(settle_s=0), clock), spool, send)


def once(folder: Path, send: Any, clock: FixedClock) -> Forwarded:
    return agent(folder, send, clock).run(once=True, poll_s=0.01)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != "lock")


def away(_data: bytes, _key: str | None) -> dict[str, Any]:
    raise BusyError("away")


def refused(_data: bytes, _key: str | None) -> dict[str, Any]:
    raise InputError("no")


def test_files_go_to_the_store_and_are_deleted_on_its_receipt(world: World, folder: Path, clock: FixedClock) -> None:
    token = world.credential("pbx-east")["token"]
    (folder / "a.csv").write_bytes(CSV)
    (folder / "a.csv.md5").write_text("0" * 32)
    (folder / "b.csv.gz").write_bytes(gzip.compress(CSV.replace(b"0000000000", b"0000000001")))
    with running(world.store, Settings(port=0)) as where:
        url = f"http://127.0.0.1:{where.port}"
        with Sender(url, "pbx-east", "csv", token) as sender:
            assert once(folder, sender.send, clock).sent == 2
        with Sender("http://localhost", "pbx-east", "csv", token, socket=where.socket_path) as sender:
            (folder / "again.csv").write_bytes(CSV)
            assert once(folder, sender.send, clock).sent == 1
        with Sender(url, "pbx-east", "csv", "wrong") as sender, pytest.raises(ConfigurationError):
            (folder / "last.csv").write_bytes(CSV)
            once(folder, sender.send, clock)
    assert names(folder) == ["last.csv"]
    assert sum(row["stored"] for row in world.store.reconcile()) == 4


def test_while_the_store_is_away_files_are_spooled_and_stay(folder: Path, clock: FixedClock) -> None:
    (folder / "a.csv").write_bytes(CSV)
    found = once(folder, Stub(away).send, clock)
    assert (found.sent, found.spooled, found.in_spool) == (0, 1, 1)
    assert names(folder) == ["a.csv"]
    assert once(folder, Stub(away).send, clock).spooled == 0


def test_what_the_switch_rotated_away_meanwhile_comes_from_the_spool(
    world: World, folder: Path, clock: FixedClock
) -> None:
    token = world.credential("pbx-east")["token"]
    (folder / "a.csv").write_bytes(CSV)
    (folder / "b.csv").write_bytes(CSV.replace(b"0000000000", b"0000000001"))
    once(folder, Stub(away).send, clock)
    (folder / "a.csv").unlink()
    with (
        running(world.store, Settings(port=0)) as where,
        Sender(f"http://127.0.0.1:{where.port}", "pbx-east", "csv", token) as sender,
    ):
        found = once(folder, sender.send, clock)
    assert (found.in_spool, names(folder)) == (0, [])
    row = world.store.reconcile()[0]
    assert (row["delivered"], row["stored"]) == (4, 4)


@pytest.mark.parametrize(
    "change",
    [{"sha256": "0" * 64}, {"bytes": 1}, {"records": 3}, {"accepted": None}, {"accepted": "x"}],
)
def test_a_receipt_for_anything_else_deletes_nothing(folder: Path, clock: FixedClock, change: dict[str, Any]) -> None:
    (folder / "a.csv").write_bytes(CSV)
    stub = Stub(lambda data, _key: {**receipt(data), **change})
    assert once(folder, stub.send, clock).sent == 0
    assert names(folder) == ["a.csv"]
    assert len(stub.keys) == 2 and stub.keys[1] is None


def receipt(data: bytes) -> dict[str, Any]:
    import hashlib

    counts = {"records": 2, "accepted": 1, "duplicates": 1, "conflicts": 0, "rejected": 0}
    return {**counts, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_file_that_changed_after_it_was_sent_is_not_deleted(folder: Path, clock: FixedClock) -> None:
    path = folder / "a.csv"
    path.write_bytes(CSV)
    seen: list[bytes] = []

    def replacing(data: bytes, _key: str | None) -> dict[str, Any]:
        if not seen:
            other = folder / "_other"
            other.write_bytes(CSV + b"more")
            other.replace(path)
        seen.append(data)
        return receipt(data)

    once(folder, Stub(replacing).send, clock)
    assert (seen, names(folder)) == ([CSV], ["a.csv"])
    once(folder, Stub(replacing).send, clock)
    assert seen == [CSV, CSV + b"more"]
    assert names(folder) == []


def test_what_the_store_refuses_moves_to_failed(folder: Path, clock: FixedClock) -> None:
    (folder / "a.csv").write_bytes(CSV)
    sender = agent(folder, Stub(refused).send, clock)
    assert sender.run(once=True, poll_s=0.01).failed == 1
    assert (names(folder), names(folder / "failed")) == ([], ["a.csv", "a.csv.reason"])
    assert list(sender.findings.lines()) == ["a.csv: moved to failed/: no"]


@pytest.mark.parametrize(("rejected", "reason", "found"), [(2, "malformed", 1), (1, "malformed", 0), (2, "expired", 0)])
def test_a_file_of_which_the_store_takes_nothing_is_told(
    folder: Path, clock: FixedClock, rejected: int, reason: str, found: int
) -> None:
    def quarantined(data: bytes, _key: str | None) -> dict[str, Any]:
        counts = {"records": 2, "accepted": 2 - rejected, "duplicates": 0, "conflicts": 0, "rejected": rejected}
        digest = hashlib.sha256(data).hexdigest()
        return {**counts, "sha256": digest, "bytes": len(data), "reject_reasons": {reason: rejected}}

    (folder / "a.csv").write_bytes(CSV)
    sender = agent(folder, Stub(quarantined).send, clock)
    totals = sender.run(once=True, poll_s=0.01)
    assert (totals.sent, totals.failed, totals.refused, names(folder)) == (1, 0, found, [])
    assert list(sender.findings.lines()) == ["a.csv: the store rejected every record"] * found


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that gives one answer to whatever comes."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


OURS = b'{"type": "urn:lagrum:problem:input", "title": "no"}'


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (400, OURS, InputError),
        (413, b"<html>", InputError),
        (400, b"<html>a proxy</html>", BusyError),
        (302, b"", BusyError),
        (405, b"", BusyError),
        (407, b"", BusyError),
        (429, b"", BusyError),
        (502, b"<html>", BusyError),
        (401, OURS, ConfigurationError),
        (422, OURS, ConfigurationError),
    ],
)
def test_only_what_is_wrong_with_the_file_refuses_it(status: int, body: bytes, outcome: type[Exception]) -> None:
    with (
        answering(status, body, Location="/") as url,
        Sender(url, "s", "csv", "t") as sender,
        pytest.raises(outcome),
    ):
        sender.send(lambda: iter([CSV]), "key")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"sha256": 1}'])
def test_a_good_answer_that_is_no_receipt_deletes_nothing(folder: Path, clock: FixedClock, body: bytes) -> None:
    (folder / "a.csv").write_bytes(CSV)
    with answering(200, body) as url, Sender(url, "s", "csv", "t") as sender:
        assert once(folder, sender.send, clock).sent == 0
    with answering(200, b"x", Content_Encoding="gzip") as url, Sender(url, "s", "csv", "t") as sender:
        assert once(folder, sender.send, clock).sent == 0
    assert names(folder) == ["a.csv"]


def test_refused_files_of_one_name_are_both_kept_and_one_that_may_not_be_read_waits(
    folder: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for content in (b"one", b"two"):
        (folder / "Master.csv.1").write_bytes(content)
        once(folder, Stub(refused).send, clock)
    kept = [path.read_bytes() for path in (folder / "failed").iterdir() if not path.name.endswith(".reason")]
    assert sorted(kept) == [b"one", b"two"]

    def forbidden(self: Folder, name: str) -> Any:
        raise PermissionError

    monkeypatch.setattr(Folder, "open", forbidden)
    (folder / "a.csv").write_bytes(CSV)
    forwarding = agent(folder, Stub(refused).send, clock)
    assert [forwarding.run(once=True, poll_s=0.01).waiting for _ in range(2)] == [0, 1]
    assert names(folder) == ["a.csv"]


def test_a_full_spool_leaves_files_where_they_are(folder: Path, clock: FixedClock) -> None:
    (folder / "a.csv").write_bytes(CSV)
    found = agent(folder, Stub(away).send, clock, bytes_max=10).run(once=True, poll_s=0.01)
    assert (found.spooled, names(folder)) == (0, ["a.csv"])


def test_a_store_elsewhere_is_reached_by_https_only() -> None:
    with pytest.raises(ConfigurationError):
        Sender("http://192.0.2.1:8420", "s", "csv", "t")


def _start(*words: str) -> subprocess.Popen[str]:
    program = "import sys; from api.cli import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _serve(root: Path) -> subprocess.Popen[str]:
    served = _start("--root", str(root), "--json", "serve", "--port", "0")
    assert served.stdout is not None and json.loads(served.stdout.readline())["socket"]
    return served


def _kill(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_killed_on_either_side_nothing_is_lost_and_nothing_doubled(tmp_path: Path, folder: Path) -> None:
    root = tmp_path / "root"
    with Store.create(root, clock=SystemClock()) as store:
        custodian = create_custodians(store, tmp_path / "keys")[0].person_id
        sources.register(store, SourceConfig("pbx-east"), actor="test")
        made = credentials.create(store, custodian, scope=Scope.INGEST, sources=["pbx-east"])
        token = _token(made)
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(token)
    words = ["forward", "--socket", str(root / "run" / "lagrum.sock"), "--source", "pbx-east", "--format", "csv"]
    words += ["--token-file", str(tmp_path / "token"), "--key-file", str(tmp_path / "key"), "--every", "0.05"]
    words += ["--spool", str(tmp_path / "spool"), "--settle", "0", str(folder)]
    spool = tmp_path / "spool"
    for number in range(24):
        (folder / f"{number:03d}.csv").write_bytes(rows(2 * number, 2 * number + 1))
    forwarding = _start(*words)
    until(lambda: spool.is_dir() and len(list(spool.glob("*.spool"))) >= 8, "nothing is spooled")  # the store is away
    _kill(forwarding)
    for name in names(folder)[:5]:  # another state of the file, the same bytes: in the spool and in the folder
        os.utime(folder / name)
    served, forwarding = _serve(root), _start(*words)
    until(lambda: len(names(folder)) <= 18, "nothing is sent")
    _kill(served)
    served = _serve(root)
    until(lambda: len(names(folder)) <= 10, "nothing more is sent")
    _kill(forwarding, served)
    served, forwarding = _serve(root), _start(*words)
    (folder / ".024.csv").write_bytes(rows(48, 49))
    (folder / ".024.csv").rename(folder / "024.csv")  # whole, and whoever takes this one listens to signals
    until(lambda: not names(folder) and not list(spool.glob("*.spool")), "not everything is sent")
    forwarding.send_signal(signal.SIGTERM)
    assert forwarding.wait(PATIENCE_S) == 0
    forwarding.communicate()
    _kill(served)
    with Store.open(root, clock=SystemClock()) as store:
        assert store.verify() == []
        assert sum(row["stored"] for row in store.reconcile()) == 50
        assert sum(row["rejects"] + row["conflicts"] for row in store.reconcile()) == 0


def _token(made: Any) -> str:
    credential, secret = made
    return f"{credential.credential_id}.{secret}"
