"""Pushes that do not wait: 202 when durable, counts later, nothing kept of what is refused."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from ingest import sources
from ingest.source_config import SourceConfig
from schemas.errors import BusyError
from store import ScanQuery
from tests.api.world import CSV, World, make_world
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S, until

HEADER = CSV.splitlines(keepends=True)[0]
LEG = Path(__file__).parents[2] / "fixtures" / "freeswitch" / "a_leg.cdr.json"
START = b'Sun Nov 22 10:00:00 2026\n\tAcct-Status-Type = Start\n\tAcct-Session-Id = "1"\n\tUser-Name = "u"\n\n'


@pytest.fixture
def quiet(tmp_path: Path, clock: FixedClock) -> Iterator[World]:
    """A service that drains only when it is told to."""
    with make_world(tmp_path, clock, Settings(spool_drain_seconds=3600)) as made:
        made.store.spool.drain()
        yield made


def row(key: int, *, start: str = "2026-11-22T10:00:00Z", duration_s: int = 61) -> bytes:
    return HEADER + b"%011d,e-1,voice,46700000001,46700000002,%s,%d\n" % (key, start.encode(), duration_s)


def stored(world: World) -> int:
    return sum(batch.num_rows for batch in world.store.scan(ScanQuery(0, 2**60)))


def batches(world: World) -> int:
    return int(world.store.catalog.query("SELECT count(*) FROM batches")[0][0])


def told(world: World, headers: dict[str, str], answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = world.http.get(f"/v1/receipts/{answer.json()['id']}", headers=headers).json()
    return found


def test_a_push_is_durable_at_once_and_counted_later(quiet: World) -> None:
    headers = quiet.switch("pbx-east")
    answer = quiet.push(headers)
    assert answer.status_code == 202, answer.text
    receipt = answer.json()
    assert (receipt["state"], receipt["records"], receipt["bytes"]) == ("durable", 2, len(CSV))
    assert receipt["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert batches(quiet) == 0
    assert told(quiet, headers, answer)["state"] == "durable"
    assert stored(quiet) == 2
    after = told(quiet, headers, answer)
    assert (after["state"], after["records"], after["accepted"], after["batch_id"]) == ("committed", 2, 2, 1)


def test_every_push_of_a_group_is_told_its_own_fate(quiet: World) -> None:
    headers = quiet.switch("pbx-east")
    quiet.deliver(headers, row(1))
    bodies = [
        row(1),
        row(2),
        row(2, duration_s=99),
        row(3, start="never"),
        row(4, start="2020-01-01T00:00:00Z"),
        gzip.compress(row(5)),
        CSV,
    ]

    async def push_all() -> list[Any]:
        query = {"source": "pbx-east", "format": "csv"}
        calls = [quiet.http._client.post("/v1/cdrs", params=query, content=body, headers=headers) for body in bodies]
        return list(await asyncio.gather(*calls))

    answers = asyncio.run_coroutine_threadsafe(push_all(), quiet.http._loop).result(PATIENCE_S)
    assert [answer.status_code for answer in answers] == [202] * len(bodies)
    quiet.store.spool.drain()
    fates = [told(quiet, headers, answer) for answer in answers]
    names = ("accepted", "duplicates", "conflicts", "rejected")
    counts = [tuple(fate[name] for name in names) for fate in fates]
    assert sorted(counts[1:3]) == [(0, 0, 1, 0), (1, 0, 0, 0)]  # the first of two stays, the other contradicts it
    assert counts[0] == (0, 1, 0, 0)
    assert counts[3:] == [(0, 0, 0, 1), (0, 0, 0, 1), (1, 0, 0, 0), (2, 0, 0, 0)]
    assert quiet.store.verify() == []


@pytest.mark.parametrize(
    ("params", "headers", "body", "status"),
    [
        ({"format": "nonsense"}, {}, CSV, 422),
        ({"format": "parquet"}, {}, CSV, 400),
        ({}, {"Content-Type": "application/zip"}, CSV, 415),
        ({}, {"Content-Encoding": "br"}, CSV, 415),
        ({}, {"Content-Encoding": "gzip"}, CSV, 400),
        ({}, {}, gzip.compress(gzip.compress(CSV)), 400),
        ({}, {}, b"unknown,columns\n1,2\n", 400),
        ({}, {}, HEADER.rstrip(), 400),
        ({"format": "freeswitch-json"}, {}, b"  \n ", 400),
        ({"tenant": "../x"}, {}, CSV, 422),
        ({"source": "pbx-west"}, {}, CSV, 403),
        ({"wait": "perhaps"}, {}, CSV, 422),
    ],
)
def test_what_is_refused_is_not_spooled(
    quiet: World, params: dict[str, str], headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = quiet.push(quiet.switch("pbx-east") | headers, body, **params)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert quiet.store.spool.spooled.pushes == 0
    assert stored(quiet) == batches(quiet) == 0


@pytest.mark.parametrize("how", ["wait", "prefer", "key", "empty"])
def test_who_waits_has_a_key_or_cannot_be_spooled_gets_the_batchs_receipt(quiet: World, how: str) -> None:
    headers, params, body = quiet.switch("pbx-east"), {}, CSV
    if how == "wait":
        params["wait"] = "true"
    elif how == "prefer":
        headers["Prefer"] = "respond-async, wait=10"
    elif how == "key":
        headers["Idempotency-Key"] = "k-1"
    else:
        body = b""
    answer = quiet.push(headers, body, **params)
    assert answer.status_code == 200, answer.text
    assert answer.json()["batch_id"] == 1
    assert quiet.store.spool.spooled.pushes == 0


def test_events_of_sessions_are_spooled_and_fold_over_pushes(quiet: World) -> None:
    headers = quiet.switch("pbx-east")
    stop = START.replace(b"10:00", b"10:10").replace(b"Start", b"Stop")
    stop = stop.replace(b'"u"\n', b'"u"\n\tEvent-Timestamp = "Nov 22 2026 10:10:00 UTC"\n')
    start = START.replace(b'"u"\n', b'"u"\n\tEvent-Timestamp = "Nov 22 2026 10:00:00 UTC"\n')
    answers = [quiet.push(headers, body, format="radius-detail") for body in (start, stop, start)]
    assert [answer.status_code for answer in answers] == [202, 202, 202], answers[0].text
    assert stored(quiet) == 1
    found = [told(quiet, headers, answer) for answer in answers]
    assert [(one["accepted"], one["duplicates"]) for one in found] == [(1, 0), (1, 0), (0, 1)]


def test_a_chunked_push_is_spooled_too(quiet: World) -> None:
    async def pieces() -> Any:
        yield CSV[:50]
        yield CSV[50:]

    assert quiet.push(quiet.switch("pbx-east"), pieces()).status_code == 202
    assert stored(quiet) == 2


def test_a_body_of_freeswitch_has_its_receipt_and_its_message_text_is_not_spooled(quiet: World) -> None:
    headers = quiet.switch("pbx-east")
    body = LEG.read_bytes()
    answer = quiet.push(headers, body + body.replace(b"0001-4d00", b"0002-4d00"), format="freeswitch-json")
    assert (answer.status_code, answer.json()["records"]) == (202, 2)
    encoded = quiet.push(headers, b"cdr=" + body.replace(b"0001-4d00", b"0003-4d00"), format="freeswitch-json")
    assert (encoded.status_code, encoded.json()["records"]) == (202, 1)
    assert stored(quiet) == 3


def test_a_receipt_is_of_the_callers_sources_only(quiet: World) -> None:
    east, west = quiet.switch("pbx-east"), quiet.switch("pbx-west")
    answer = quiet.push(east)
    path = f"/v1/receipts/{answer.json()['id']}"
    for _ in range(2):
        assert quiet.http.get(path, headers=west).status_code == 404
        assert quiet.http.get(path, headers=east).status_code == 200
        assert quiet.http.get(path, headers=quiet.as_person("custodian-1")).status_code == 403
        quiet.store.spool.drain()
    for wrong in ("1-0-9", "1-9-0", "7-0-0", "x", "1-0"):
        assert quiet.http.get(f"/v1/receipts/{wrong}", headers=east).status_code == 404


def test_a_source_of_one_tenant_takes_no_other_tenants_push(quiet: World) -> None:
    headers = quiet.switch("pbx-east")
    sources.register(quiet.store, SourceConfig("pbx-east", tenant="acme"), actor="test")
    assert quiet.push(headers, tenant="other").status_code == 403
    assert quiet.push(headers, tenant="acme").status_code == 202


def test_a_full_spool_asks_to_come_again_and_keeps_nothing(quiet: World) -> None:
    headers = quiet.switch("pbx-east")
    quiet.store.spool.bytes_max = 0
    refused = quiet.push(headers)
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    quiet.store.spool.bytes_max = 1 << 20
    assert quiet.push(headers).status_code == 202
    assert stored(quiet) == 2


def test_the_service_drains_by_number_and_when_it_ends(tmp_path: Path, clock: FixedClock) -> None:
    with make_world(tmp_path, clock, Settings(spool_drain_pushes=2, spool_drain_seconds=3600)) as world:
        headers = world.switch("pbx-east")
        for key in (1, 2):
            assert world.push(headers, row(key)).status_code == 202
        until(lambda: batches(world), "nothing is drained")
        assert world.push(headers, row(3)).status_code == 202
        world.http.app.state.spooler.close()
        assert world.store.catalog.query("SELECT sum(records) FROM batches") == [(3,)]


def test_the_metrics_tell_what_waits_and_name_nobody(quiet: World) -> None:
    headers = quiet.switch("pbx-east")
    quiet.push(headers)
    quiet.clock.advance(seconds=7)

    def metrics() -> str:
        return quiet.http.get("/v1/metrics", headers=quiet.as_person("custodian-1")).text

    text = metrics()
    assert "lagrum_spool_pushes 1.0" in text
    assert "lagrum_spool_oldest_seconds 7.0" in text
    assert 'lagrum_pushes_total{source="pbx-east"} 1.0' in text
    assert "46700000001" not in text
    stored(quiet)
    text = metrics()
    assert "lagrum_spool_pushes 0.0" in text
    assert 'lagrum_records_total{outcome="accepted",source="pbx-east"} 2.0' in text


def test_when_the_store_cannot_say_a_reader_is_told_so(quiet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet.push(quiet.switch("pbx-east"))

    def busy(*_: object) -> None:
        raise BusyError("not now")

    with monkeypatch.context() as patch:
        patch.setattr("store.spooling.spool_drain._commit", busy)
        with pytest.raises(BusyError):
            stored(quiet)
    assert stored(quiet) == 2


def large(rows: int = 2_000) -> bytes:
    return HEADER + b"".join(row(key)[len(HEADER) :] for key in range(rows))


def test_a_batch_of_megabytes_is_durable_at_once_too(quiet: World) -> None:
    body = large()
    assert len(body) > Settings().small_body_bytes_max
    headers = quiet.switch("pbx-east")
    answer = quiet.push(headers, body)
    assert (answer.status_code, answer.json()["records"]) == (202, 2_000)
    assert batches(quiet) == 0
    assert quiet.push(headers, body).status_code == 202
    assert stored(quiet) == 2_000


@pytest.mark.parametrize("limit", ["spooled_body_bytes_max", "spooled_bodies_bytes_max"])
def test_beyond_what_may_lie_in_memory_a_batch_streams(tmp_path: Path, clock: FixedClock, limit: str) -> None:
    with make_world(tmp_path, clock, Settings(**{limit: 65_537})) as world:
        headers = world.switch("pbx-east")
        assert world.push(headers, large()).status_code == 200
        assert world.push(headers, row(3)).status_code == 202


def test_what_a_body_took_in_memory_is_given_back(tmp_path: Path, clock: FixedClock) -> None:
    body = large()
    with make_world(tmp_path, clock, Settings(spooled_bodies_bytes_max=len(body) + 10)) as world:
        headers = world.switch("pbx-east")
        assert [world.push(headers, part).status_code for part in (body, b"x" * len(body), body)] == [202, 400, 202]
