"""What the campaigns' processes do: the commands of the product, and pushes through its application.

Each function runs in a process of its own (`tests.fault.zygote`) and returns its exit code. `clock` is
[base_us, anchor_ns] of a `SharedClock`. An acknowledgement is a line of stdout: a delivery's number.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from api.app import _close_pools
from api.cli import main
from store import ScanQuery
from tests.fault.ledger import (
    CREDENTIAL,
    KEY_MIN,
    KEYS_PER_DELIVERY,
    SOURCE,
    Ledger,
    SharedClock,
    ago,
    first_deliveries,
)

if TYPE_CHECKING:
    from store import Store

OLD_KEY = KEY_MIN + KEYS_PER_DELIVERY
"""The first record of the first delivery: its partition ends a day after the store is made."""
PLACES = ScanQuery(0, 2**60, columns=("record_key", "batch_id", "batch_position"))


def command(clock: list[int], *arguments: str) -> int:
    """Run one command line."""
    return main(list(arguments), clock=SharedClock(*clock))


def ingest(clock: list[int], root: str, *paths: str) -> int:
    """Run `lagrum ingest` for one file after the other; acknowledge each."""
    for path in paths:
        code = _quietly(clock, "--root", root, "ingest", "--source", SOURCE, "--format", "csv", path)
        if code:
            return code
        _acknowledge(path)
    return 0


def ingest_many(clock: list[int], root: str, *paths: str) -> int:
    """Run one `lagrum ingest` of all files, whose commits overlap; acknowledge each as soon as it has its outcome."""
    from api.cli.ingest import _Coming

    tell = _Coming.outcome

    def outcome(coming: _Coming) -> dict[str, Any]:
        told = tell(coming)
        if "error" not in told:
            _acknowledge(told["path"])
        return told

    setattr(_Coming, "outcome", outcome)  # noqa: B010
    try:
        return _quietly(clock, "--root", root, "ingest", "--source", SOURCE, "--format", "csv", *paths)
    finally:
        _Coming.outcome = tell  # type: ignore[method-assign]


def take_in(clock: list[int], root: str, *paths: str) -> int:
    """Take in one file after the other with one open store; acknowledge each. A busy store is asked again."""
    from ingest.pipeline import ingest_stream
    from ingest.sources import get_or_create
    from schemas.errors import BusyError
    from store import Store

    with Store.open(Path(root), clock=SharedClock(*clock)) as store:
        source = get_or_create(store, SOURCE)
        for path in paths:
            for _ in range(5):
                try:
                    with Path(path).open("rb", buffering=0) as stream:
                        ingest_stream(store, source.delivering(Path(path).name), "csv", stream)
                except BusyError:
                    continue
                _acknowledge(path)
                break
    return 0


def compact(clock: list[int], root: str, times: int = 1) -> int:
    """Run `lagrum compact --all`; another compaction at work is no error where it is repeated."""
    codes = [_quietly(clock, "--root", root, "compact", "--all") for _ in range(times)]
    return 0 if times > 1 else codes[0]


def expire(clock: list[int], root: str, times: int = 1) -> int:
    """Run `lagrum retention expire`."""
    return max(_quietly(clock, "--root", root, "retention", "expire") for _ in range(times))


def erase(clock: list[int], root: str, *keys: str) -> int:
    """Erase records by themselves, one after the other, as two custodians do; acknowledge each that is gone."""
    from store.retention import erasing

    return _correct(clock, root, keys, erasing.ERASED, {"citation": "Regulation (EU) 2016/679 Art 17"})


def rectify(clock: list[int], root: str, *keys: str) -> int:
    """Rectify a field of records, one after the other, as two custodians do."""
    from store.correcting import overlay

    return _correct(clock, root, keys, overlay.RECTIFIED, {"cause": "busy"})


def _correct(clock: list[int], root: str, keys: Sequence[str], kind: str, fields: dict[str, str]) -> int:
    from schemas.errors import BusyError, LagrumError, NotFoundError
    from store import Store
    from store.retention import erasing

    try:
        with Store.open(Path(root), clock=SharedClock(*clock)) as store:
            for key in keys:
                for _ in range(5):
                    with suppress(BusyError):
                        with suppress(NotFoundError):  # its partition ended, or an earlier run has done it
                            _correct_one(store, int(key), kind, fields)
                        if kind == erasing.ERASED:
                            _acknowledge(key)
                        break
    except (LagrumError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _correct_one(store: Store, key: int, kind: str, fields: dict[str, str]) -> None:
    from schemas.errors import NotFoundError
    from store.correcting.overlay import Correction
    from store.retention import erasing
    from store.retention.explain import part_of

    act, custodians = f"{kind[0].encode().hex()}{key:014x}", ("custodian-1", "custodian-2")
    rows = [row for batch in store.scan(PLACES) for row in batch.to_pylist() if row["record_key"] == key]
    if not rows:
        return
    place = (rows[0]["batch_id"], rows[0]["batch_position"])
    try:
        store.corrections.get(act)
    except NotFoundError:
        wanted = Correction(act, kind, part_of(store, *place).partition, *place, fields, said={"reason": "asked"})
        store.corrections.request(wanted, {"by": custodians[0]})
    if kind == erasing.ERASED:
        erasing.erase(store, act, {}, custodians)
    elif not store.corrections.get(act).confirmed:
        store.corrections.confirm(act, {}, custodians)


def push(clock: list[int], root: str, token: str, *paths: str) -> int:
    """Push the files through the application, all at once, acknowledge each 2xx, then drain what lies in the spool.

    Returns 0, or 1 when a push was refused with a 503 or the spool could not be drained; 3 for any other answer.
    """
    from schemas.errors import LagrumError
    from store import Store

    try:
        with Store.open(Path(root), clock=SharedClock(*clock)) as store:
            bodies = [Path(path).read_bytes() for path in paths]
            statuses = asyncio.run(_push_all(store, token, bodies))
            for path, status in zip(paths, statuses, strict=True):
                if 200 <= status < 300:
                    _acknowledge(path)
                else:
                    sys.stderr.write(f"error: a push was answered with {status}\n")
                    if status != 503:
                        return 3
            store.spool.drain()
    except (LagrumError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0 if all(status < 300 for status in statuses) else 1


async def _push_all(store: object, token: str, bodies: Sequence[bytes]) -> list[int]:
    from httpx import ASGITransport, AsyncClient

    from api.app import create_app
    from api.settings import Settings

    app = create_app(store, settings=Settings())  # type: ignore[arg-type]
    transport = ASGITransport(app, raise_app_exceptions=False, client=("192.0.2.9", 4711))

    async def send(client: AsyncClient, body: bytes) -> int:
        answer = await client.post(
            "/v1/cdrs",
            params={"source": SOURCE, "format": "csv"},
            content=body,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "text/csv"},
        )
        return answer.status_code

    async with AsyncClient(transport=transport, base_url="http://lagrum") as client:
        try:
            return await asyncio.gather(*(send(client, body) for body in bodies))
        finally:
            await asyncio.to_thread(_close_pools, app)


def abrupt(clock: list[int], work: str, *arguments: str) -> int:
    """Do other work in a process that is gone at its end as if killed: no catalog is closed."""
    from store.catalog import Catalog

    kept: list[Catalog] = []
    setattr(Catalog, "close", lambda catalog: kept.append(catalog))  # noqa: B010, PLW0108
    code: int = globals()[work](clock, *arguments)
    sys.stdout.flush()
    os._exit(code)


def make(clock: list[int], home: str, files: str) -> int:
    """Make HOME/root with some deliveries, and HOME/credential; the files are written to FILES and acknowledged.

    The store is ready for every operation: small parts to merge, two partitions that end tomorrow, a reject.
    """
    from api.people import credentials
    from store import Store

    place, now = Path(home), SharedClock(*clock)
    ledger = Ledger()
    root = str(place / "root")
    if _quietly(clock, "init", root):
        return 1
    if ingest(clock, root, *(str(item.write(Path(files))) for item in first_deliveries(ledger, now))):
        return 1
    (Path(files) / "bad.csv").write_bytes(ledger.delivered[1].csv().replace(b",voice,", b",voice,x,y,z,"))
    _quietly(clock, "--root", root, "ingest", "--source", SOURCE, "--format", "csv", f"{files}/bad.csv")
    with Store.open(Path(root), clock=now) as store:
        credential, secret = credentials.create(store, "custodian-1", scope=credentials.Scope.INGEST, sources=[SOURCE])
    (place / CREDENTIAL).write_text(f"{credential.credential_id}.{secret}")
    return 0


def history(clock: list[int], home: str, *paths: str) -> int:
    """Make a store and live with it: deliveries, pushes, compaction, a record erased, expiry a day later, a new epoch.

    A line `day 1` says that from here on it is the next day. The paths: 2 files, 6 pushes, 3 files, the rest pushes of
    one open store, committed one by one, so that the catalog's log is written back and begun anew.
    """
    from store import Store

    now, root = SharedClock(*clock), f"{home}/root"
    later = [now.later(1).base_us, now.anchor_ns]
    codes = [make(clock, home, str(Path(paths[0]).parent))]
    codes += [ingest(clock, root, *paths[:2]), push(clock, root, _token(root), *paths[2:8]), compact(clock, root)]
    codes += [rectify(clock, root, str(OLD_KEY + 1)), erase(clock, root, str(OLD_KEY))]
    os.write(1, b"day 1\n")
    codes += [
        expire(later, root),
        ingest_many(later, root, *paths[8:11]),
        push(later, root, _token(root), *paths[11:14]),
    ]
    with Store.open(Path(root), clock=SharedClock(*later)) as store:
        store.audit.rotate_epoch()
        codes += [ingest(later, root, path) for path in paths[14:]]
        store.keyring.rotate()
    codes += [compact(later, root), push(later, root, _token(root), *paths[2:4])]
    return max(codes)


def rehearse(scratch: str, told: str) -> int:
    """Do everything once and write the names of the modules that it took."""
    now = SharedClock(1_795_348_800_000_000)
    clock, tomorrow = [now.base_us, now.anchor_ns], [now.later(1).base_us, now.anchor_ns]
    root, files = f"{scratch}/root", Path(scratch) / "files"
    files.mkdir()
    ledger = Ledger()
    paths = [str(ledger.new(4, ago(now, 2)).write(files)) for _ in range(20)]
    codes = [
        make(clock, scratch, str(files)),
        push(clock, root, _token(root), *paths[6:12]),
        ingest(clock, root, *paths[12:14]),
        ingest_many(clock, root, *paths[14:]),
    ]
    codes += [_quietly(clock, "--root", root, "verify"), compact(clock, root)]
    codes += [rectify(clock, root, str(OLD_KEY + 1)), erase(clock, root, str(OLD_KEY)), expire(tomorrow, root)]
    codes += [_quietly(tomorrow, "--root", root, "status"), _serve_once(clock, root)]
    shutil.rmtree(root)
    if any(codes):
        sys.stderr.write(f"the rehearsal failed: {codes}\n")
        return 1
    Path(told).write_text("\n".join(sorted(sys.modules)))
    return 0


def _serve_once(clock: list[int], root: str) -> int:
    """Start the service and stop it when it listens."""
    import signal

    from api import server
    from api.settings import Settings
    from store import Store

    with Store.open(Path(root), clock=SharedClock(*clock)) as store:
        server.run(store, Settings(port=0), ready=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    return 0


def _token(root: str) -> str:
    return (Path(root).parent / CREDENTIAL).read_text()


def _acknowledge(path: str) -> None:
    os.write(1, f"{Path(path).stem}\n".encode())


def _quietly(clock: list[int], *arguments: str) -> int:
    """Run one command line, its answer sent to stderr: stdout is for acknowledgements."""
    from contextlib import redirect_stdout

    with redirect_stdout(sys.stderr):
        return main(list(arguments), clock=SharedClock(*clock))
