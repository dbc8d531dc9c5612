"""POST /v1/cdrs: durable before 2xx, nothing kept on 4xx, bounded whatever comes."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from api.intake.grouper import Grouper
from api.settings import Settings
from ingest import sources
from ingest.source_config import SourceConfig
from store import ScanQuery
from tests.api.world import CSV, World, make_world
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S, until

HEADER = CSV.splitlines(keepends=True)[0]


@pytest.fixture
def small(tmp_path: Path, clock: FixedClock) -> Iterator[World]:
    settings = Settings(
        body_bytes_max=200_000,
        expanded_bytes_max=2_000_000,
        small_body_bytes_max=4_000,
        pipe_bytes_max=8_000,
        ingest_workers=1,
        ingest_queue_max=1,
        stream_workers=1,
        stream_queue_max=1,
        body_idle_seconds=1,
    )
    with make_world(tmp_path, clock, settings) as made:
        yield made


def _rows(start: int, count: int) -> bytes:
    lines = [
        f"{number:011d},pbx-east-1,voice,4670{number:07d},46700000002,2026-11-22T10:00:00Z,61\n"
        for number in range(start, start + count)
    ]
    return HEADER + "".join(lines).encode()


def _stored(world: World) -> int:
    day = 86_400_000_000
    query = ScanQuery(world.clock.now_us() - 30 * day, world.clock.now_us() + day)
    return sum(batch.num_rows for batch in world.store.scan(query))


def _delivered(world: World) -> int:
    return sum(int(row["delivered"]) for row in world.store.reconcile())


async def _chunked(body: bytes, step: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), step):
        yield body[start : start + step]


def test_a_delivery_is_stored_when_its_receipt_says_so(world: World) -> None:
    answer = world.deliver(world.switch("pbx-east"))
    assert answer.status_code == 200
    receipt = answer.json()
    assert (receipt["records"], receipt["accepted"], receipt["rows"]) == (2, 2, 2)
    assert receipt["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert _stored(world) == 2


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_delivery_is_the_same_delivery(world: World, coding: str) -> None:
    headers = world.switch("pbx-east")
    packed = gzip.compress(CSV) if coding == "gzip" else pa.Codec("zstd").compress(CSV, asbytes=True)
    receipt = world.deliver(headers | {"Content-Encoding": coding}, packed).json()
    assert (receipt["accepted"], receipt["bytes"]) == (2, len(CSV))
    assert world.deliver(headers).json()["duplicates"] == 2


def test_a_retry_with_its_key_gets_the_first_receipt(world: World) -> None:
    headers = world.switch("pbx-east") | {"Idempotency-Key": "delivery-1"}
    first, second = world.deliver(headers).json(), world.deliver(headers).json()
    assert second["replayed"] is True
    assert (first["batch_id"], first["accepted"]) == (second["batch_id"], second["accepted"])
    assert _stored(world) == 2


def test_a_retry_without_a_key_is_all_duplicates(world: World) -> None:
    headers = world.switch("pbx-east")
    world.deliver(headers)
    assert world.deliver(headers).json()["duplicates"] == 2
    assert _stored(world) == 2


def test_an_idempotency_key_is_its_senders_own(world: World) -> None:
    key = {"Idempotency-Key": "delivery-1"}
    assert world.deliver(world.switch("pbx-east") | key).json()["replayed"] is False
    assert world.deliver(world.switch("pbx-east") | key).json()["replayed"] is False


def test_a_large_delivery_streams_through(small: World) -> None:
    body = _rows(1, 2000)
    receipt = small.deliver(small.switch("pbx-east"), _chunked(body))
    assert receipt.status_code == 200, receipt.text
    assert receipt.json()["accepted"] == 2000
    assert receipt.json()["sha256"] == hashlib.sha256(body).hexdigest()


def test_bad_records_are_rejected_with_a_receipt_and_good_ones_stored(world: World) -> None:
    body = CSV + b"3,pbx-east-1,voice,46700000001,46700000002,never,5\n"
    receipt = world.deliver(world.switch("pbx-east"), body).json()
    assert (receipt["accepted"], receipt["rejected"], receipt["records"]) == (2, 1, 3)


@pytest.mark.parametrize(
    ("params", "headers", "body", "status"),
    [
        ({"format": "nonsense"}, {}, CSV, 422),
        ({"format": "parquet"}, {}, CSV, 400),
        ({}, {"Content-Type": "multipart/form-data; boundary=x"}, CSV, 415),
        ({}, {"Content-Type": "application/json"}, CSV, 415),
        ({}, {"Content-Type": "application/zip"}, CSV, 415),
        ({}, {"Content-Encoding": "br"}, CSV, 415),
        ({}, {"Content-Encoding": "gzip, gzip"}, CSV, 415),
        ({}, {"Content-Encoding": "gzip"}, CSV, 400),
        ({}, {"Content-Encoding": "gzip"}, gzip.compress(CSV)[:-4], 400),
        ({}, {"Content-Encoding": "zstd"}, b"\x28\xb5\x2f\xfdxxxxxx", 400),
        ({}, {}, gzip.compress(gzip.compress(CSV)), 400),
        ({}, {}, b"unknown,columns\n1,2\n", 400),
        ({}, {"Idempotency-Key": "x" * 201}, CSV, 422),
        ({"tenant": "../x"}, {}, CSV, 422),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    world: World, params: dict[str, str], headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = world.deliver(world.switch("pbx-east") | headers, body, **params)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert _stored(world) == 0
    assert _delivered(world) == 0


def test_neither_source_nor_format_may_be_missing(world: World) -> None:
    headers = world.switch("pbx-east")
    for params in ({"source": "pbx-east"}, {"format": "csv"}):
        assert world.http.post("/v1/cdrs", params=params, content=CSV, headers=headers).status_code == 422


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "text/csv"])
def test_types_that_say_nothing_are_taken(world: World, content_type: str) -> None:
    headers = world.switch("pbx-east") | ({"Content-Type": content_type} if content_type else {})
    assert world.deliver(headers).status_code == 200


def test_a_gzip_bomb_is_413_and_nothing_is_kept(small: World) -> None:
    bomb = gzip.compress(_rows(1, 100) + b"0" * 50_000_000)
    assert len(bomb) < small.settings.body_bytes_max
    switch = small.switch("pbx-east")
    for headers in ({"Content-Encoding": "gzip"}, {}):
        answer = small.deliver(switch | headers, bomb)
        assert answer.status_code == 413, answer.text
        assert answer.json()["type"] == "urn:lagrum:problem:too-large"
    assert _stored(small) == 0
    assert _delivered(small) == 0


def test_a_body_larger_than_the_limit_is_413_whether_announced_or_not(small: World) -> None:
    headers = small.switch("pbx-east")
    body = _rows(1, 4000)
    assert len(body) > small.settings.body_bytes_max
    assert small.deliver(headers, body).status_code == 413
    assert small.deliver(headers, _chunked(body)).status_code == 413
    assert _stored(small) == 0


def test_a_body_that_stops_coming_is_400_and_nothing_is_kept(small: World) -> None:
    async def stalls() -> AsyncIterator[bytes]:
        yield _rows(1, 500)
        await asyncio.Event().wait()

    scope_headers = small.switch("pbx-east")

    async def call() -> int:
        return await _raw_post(small, scope_headers, stalls())

    assert asyncio.run_coroutine_threadsafe(call(), small.http._loop).result(PATIENCE_S) == 400
    assert _stored(small) == 0


def test_a_sender_that_leaves_is_no_delivery(small: World) -> None:
    async def leaves() -> AsyncIterator[bytes]:
        yield _rows(1, 500)

    headers = small.switch("pbx-east")

    async def call() -> int:
        return await _raw_post(small, headers, leaves(), disconnects=True)

    assert asyncio.run_coroutine_threadsafe(call(), small.http._loop).result(PATIENCE_S) == 400
    assert _stored(small) == 0
    assert small.deliver(headers).status_code == 200


async def _raw_post(
    world: World, headers: dict[str, str], chunks: AsyncIterator[bytes], *, disconnects: bool = False
) -> int:
    """Call the application as a server would whose client stalls or leaves; return the status."""
    status = 0
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/cdrs",
        "raw_path": b"/v1/cdrs",
        "query_string": b"source=pbx-east&format=csv",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("192.0.2.9", 1),
        "server": ("lagrum", 80),
    }

    async def receive() -> MutableMapping[str, Any]:
        async for chunk in chunks:
            return {"type": "http.request", "body": chunk, "more_body": True}
        return {"type": "http.disconnect"} if disconnects else {"type": "http.request", "body": b""}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    await world.http.app(scope, receive, send)
    return status


def test_when_all_threads_are_taken_the_next_delivery_is_told_to_come_back(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = small.switch("pbx-east")
    go, taken = threading.Event(), threading.Semaphore(0)
    plain = Grouper._settle

    def slow(grouper: Grouper, group: list[Any]) -> None:
        taken.release()
        assert go.wait(PATIENCE_S)
        plain(grouper, group)

    monkeypatch.setattr(Grouper, "_settle", slow)
    answers: list[int] = []
    callers = [threading.Thread(target=lambda: answers.append(small.deliver(headers).status_code)) for _ in range(2)]
    for caller in callers:
        caller.start()
    assert taken.acquire(timeout=PATIENCE_S)
    until(lambda: small.http.app.state.grouper.in_flight == 2, "the second delivery does not come")
    refused = small.deliver(headers)
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    go.set()
    for caller in callers:
        caller.join()
    assert answers == [200, 200]


def test_a_source_of_one_tenant_takes_no_other_tenants_records(world: World) -> None:
    headers = world.switch("pbx-east")
    sources.register(world.store, SourceConfig("pbx-east", tenant="acme"), actor="test")
    refused = world.deliver(headers, tenant="other")
    assert refused.status_code == 403
    assert world.deliver(headers, tenant="acme").status_code == 200


def test_local_times_without_a_zone_are_refused(world: World) -> None:
    headers = world.switch("pbx-east")
    sources.register(world.store, SourceConfig("pbx-east", zone=None), actor="test")
    body = b'"","1","2","ctx","","c1","c2","app","","2026-11-22 10:00:00","","2026-11-22 10:00:05",5,5,"ANSWERED","3"\n'
    assert world.deliver(headers, body, format="asterisk-csv").status_code == 422
    assert _stored(world) == 0


def test_metrics_count_what_was_received(world: World) -> None:
    headers = world.switch("pbx-east")
    world.deliver(headers)
    world.deliver(headers)
    text = world.http.get("/v1/metrics", headers=world.as_person("custodian-1")).text
    assert 'lagrum_records_total{outcome="accepted",source="pbx-east"} 2.0' in text
    assert 'lagrum_records_total{outcome="duplicates",source="pbx-east"} 2.0' in text
    assert 'route="/v1/cdrs",status="200"} 2.0' in text


def test_many_small_deliveries_at_once_share_batches_and_each_gets_its_own_receipt(world: World) -> None:
    headers = world.switch("pbx-east")
    world.deliver(headers, _rows(0, 1))
    bodies = [_rows(number, 1) for number in range(100)]  # the first of them is known
    bodies[50] = b"unknown,columns\n1,2\n"
    bodies[51] = gzip.compress(bodies[51])

    async def push_all() -> list[Any]:
        query = {"source": "pbx-east", "format": "csv", "wait": "true"}
        calls = [world.http._client.post("/v1/cdrs", params=query, content=body, headers=headers) for body in bodies]
        return list(await asyncio.gather(*calls))

    answers = asyncio.run_coroutine_threadsafe(push_all(), world.http._loop).result(PATIENCE_S)
    assert [answer.status_code for answer in answers] == [200] * 50 + [400] + [200] * 49
    receipts = [answer.json() for answer in answers if answer.status_code == 200]
    assert [receipt["records"] for receipt in receipts] == [1] * 99
    assert [receipt["duplicates"] for receipt in receipts] == [1] + [0] * 98
    assert receipts[1]["sha256"] == hashlib.sha256(bodies[1]).hexdigest()
    assert _stored(world) == 99
    assert len({receipt["batch_id"] for receipt in receipts}) < 50
    assert world.store.verify() == []
