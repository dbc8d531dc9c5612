"""A byte search of the whole root, after everything that writes has written, and in the middle of it."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.rejects import Reject, RejectReason
from store import AuditEntry, ScanQuery, SourceRef, Store, TargetIdentifier
from store.documents import Put
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S
from tests.store.conftest import deliver
from tests.store.open_sessions.test_sessions import START, closed, event
from tests.store.records import records, with_column

NUMBER, OTHER, SIP, MAC = 46_701_741_234, 46_701_745_678, "sip:zebedee@example.net", 0x0055AA1234F7
IMSI, IMEI, ACCOUNT, ADDRESS = 240_010_055_566_677, 35_209_900_176_148, "ACCOUNT-QX77", 0xC6336477
SESSION, CASE, RAW, KEY = "session-Kx93", "case-Jq42", b"raw=+46701741234;tail", "retry-Zw11"


def needles() -> dict[str, list[bytes]]:
    """Return each secret in every form in which it might be written."""
    found: dict[str, list[bytes]] = {}
    for number in (NUMBER, OTHER, IMSI, IMEI):
        packed = int("1" + str(number))
        forms = [str(number).encode(), str(number).encode("utf-16-le"), number.to_bytes(8, "big")]
        forms += [value.to_bytes(8, "little") for value in (number, packed)] + [packed.to_bytes(8, "big")]
        found[str(number)] = forms
    found["address"] = [b"198.51.100.119", ADDRESS.to_bytes(4, "little"), ADDRESS.to_bytes(4, "big")]
    found["mac"] = [MAC.to_bytes(8, "little")[:6], MAC.to_bytes(6, "big"), b"00:55:aa:12:34:f7"]
    for text in (SIP, ACCOUNT, SESSION, CASE, KEY, RAW.decode()):
        found[text] = [text.encode(), text.encode("utf-16-le")]
        for shift in range(3):  # base64 at every alignment, without the ends that depend on the neighbours
            found[text].append(base64.b64encode(b"\x00" * shift + text.encode())[4:-4])
    return found


def search(root: Path) -> list[tuple[str, str]]:
    hits, forms = [], needles()
    for path in root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            hits += [(path.name, name) for name, some in forms.items() if any(form in data for form in some)]
        hits += [(path.name, name) for name, some in forms.items() if some[0] in str(path.relative_to(root)).encode()]
    return hits


def secrets_in(rows: int, first_key: int) -> pa.Table:
    table = records(rows, first_key=first_key)
    table = with_column(table, "calling_number", [int(f"1{NUMBER}")] * rows)
    table = with_column(table, "called_number", [None] * rows)
    table = with_column(table, "called_number_text", [SIP] * rows)
    table = with_column(table, "calling_number_delivered", [f"+{NUMBER}"] * rows)
    table = with_column(table, "forwarded_number", [int(f"1{OTHER}")] * rows)
    table = with_column(table, "imsi", [int(f"1{IMSI}")] * rows)
    table = with_column(table, "imei", [int(f"1{IMEI}")] * rows)
    table = with_column(table, "mac", [MAC] * rows)
    table = with_column(table, "source_ip", [ADDRESS] * rows)
    return with_column(table, "account_text", [ACCOUNT] * rows)


def everything(store: Store) -> None:
    """Do all that writes: records, conflicts, rejects, sessions, documents, audit secrets, a withdrawal, a key."""
    table = secrets_in(200, 0)
    deliver(store, table, key=KEY)
    deliver(store, with_column(table, "cell_id", [10**5 + 999] * 200))
    deliver(store, table)
    with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
        batch.reject([Reject(n, RejectReason.MALFORMED, "calling_number", raw=RAW) for n in range(1, 5000)])
        batch.commit()
    deliver(store, event("open", SESSION, 13, start_time=START, imsi=int(f"1{IMSI}"), mac=MAC))
    deliver(store, closed(SESSION + "b", start_time=START, imsi=int(f"1{IMSI}")))
    secret = {"target": str(NUMBER), "case": CASE, "account": ACCOUNT}
    store.documents.commit([Put("task", "t1", secret)], [AuditEntry("task.filed", {"task": "t1"}, secret)])
    store.log(AuditEntry("disclosure.read", {"task": "t1"}, secret))
    wrong = deliver(store, secrets_in(50, 10_000))
    store.withdraw_batch(wrong.batch_id, reason=f"zone of {NUMBER}", actors=("p1", "p2"))


def test_the_search_finds_what_is_in_the_clear(tmp_path: Path) -> None:
    for number, form in enumerate(form for some in needles().values() for form in some):
        (tmp_path / str(number)).write_bytes(b"before" + form + b"after")
        assert search(tmp_path), form
        (tmp_path / str(number)).unlink()


def test_nothing_is_in_the_clear_while_all_is_open_and_after(store: Store, clock: FixedClock) -> None:
    everything(store)
    with store.begin_batch(SourceRef("east", "east"), format="csv") as running:
        running.add(secrets_in(300, 20_000))
        running.reject([Reject(n, RejectReason.MALFORMED, raw=RAW * 100) for n in range(1, 3000)])
        list(store.scan(ScanQuery(0, 2**60, targets=(TargetIdentifier("number", str(NUMBER)),))))
        assert search(store.root) == []  # the log of SQLite and unfinished files included
    assert (store.root / "catalog.sqlite-wal").stat().st_size > 0
    clock.advance(days=800)
    store.expire()
    assert search(store.root) == []
    store.close()
    assert search(store.root) == []


def test_a_process_that_dies_leaves_nothing_in_the_clear(tmp_path: Path) -> None:
    """It ends without closing anything, with an unfinished batch whose parts and rejects are laid aside."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from store import SourceRef, Store\n"
        "from schemas.rejects import Reject, RejectReason\n"
        "from store import batch as module, quarantine\n"
        "from tests.conftest import FixedClock\n"
        "from tests.store import test_plaintext as plain\n"
        "from tests.store.records import NOW_US\n"
        "module.PART_ROWS, quarantine.SPOOL_MEMORY_BYTES_MAX = 100, 0\n"
        "store = Store.create(Path(sys.argv[1]), clock=FixedClock(NOW_US))\n"
        "plain.everything(store)\n"
        "batch = store.begin_batch(SourceRef('east', 'east'), format='csv')\n"
        "batch.add(plain.secrets_in(500, 90_000))\n"
        "batch.reject([Reject(n, RejectReason.MALFORMED, raw=plain.RAW * 50) for n in range(1, 3000)])\n"
        "batch._collect(0)\n"
        "os._exit(9)\n"
    )
    root = tmp_path / "root"
    done = subprocess.run(
        [sys.executable, "-c", script, str(root)], capture_output=True, check=False, timeout=PATIENCE_S
    )
    assert done.returncode == 9, done.stderr.decode()[-2000:]
    assert (root / "catalog.sqlite-wal").exists() and len(list(root.glob("parts/*/*/*/*.parquet"))) > 4
    assert search(root) == []
    assert not [name for name in needles() if name.encode() in done.stdout + done.stderr]


@pytest.mark.parametrize("error", ["target", "account", "reject"])
def test_what_people_read_in_a_traceback_names_nobody(error: str) -> None:
    shown = {
        "target": repr(ScanQuery(0, 1, targets=(TargetIdentifier("number", str(NUMBER)),))),
        "account": repr(ScanQuery(0, 1, accounts=(ACCOUNT,))),
        "reject": repr(Reject(1, RejectReason.MALFORMED, raw=RAW)),
    }[error]
    assert not [name for name in (str(NUMBER), ACCOUNT, "raw=") if name in shown.replace("raw=None", "")]
