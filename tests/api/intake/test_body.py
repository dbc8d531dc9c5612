from __future__ import annotations

import asyncio
import gzip
import io
import random
import threading
from typing import cast

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.intake.body import BodyLimits, BodyPipe, DeliveredBody
from schemas.errors import InputError

LIMITS = BodyLimits(
    body_bytes_max=1 << 20, expanded_bytes_max=4 << 20, expansion_ratio_max=200, expansion_free_bytes=2 << 20
)


def _zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def _body(data: bytes, coding: str = "identity", limits: BodyLimits = LIMITS) -> DeliveredBody:
    return DeliveredBody(io.BytesIO(data), coding, limits)


def _read(data: bytes, coding: str = "identity", limits: BodyLimits = LIMITS) -> bytes:
    return _body(data, coding, limits).buffered().read()


@given(st.binary(max_size=300).map(lambda data: b"x" + data), st.integers(1, 4000))
def test_every_coding_gives_back_what_went_in(data: bytes, times: int) -> None:
    plain = data * times
    packed = {"identity": plain, "gzip": gzip.compress(plain), "zstd": _zstd(plain)}
    for coding, sent in packed.items():
        assert _read(sent, coding) == plain
        assert _read(sent) == plain  # told by its first bytes when no header says so


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_an_empty_body_is_empty(coding: str) -> None:
    assert _read(b"", coding) == b""


def test_several_gzip_members_and_padding_are_one_body() -> None:
    assert _read(gzip.compress(b"one,") + gzip.compress(b"two") + b"\0" * 100, "gzip") == b"one,two"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("cut", [1, 4, 9, 100])
def test_a_cut_off_body_is_a_fault_and_not_an_end(coding: str, cut: int) -> None:
    plain = random.Random(1).randbytes(1000)
    sent = gzip.compress(plain) if coding == "gzip" else _zstd(plain)
    body = _body(sent[:-cut], coding)
    reader = body.buffered()
    for _ in range(2):
        with pytest.raises(InputError):
            reader.read()
    assert body.error is not None
    assert not body.too_large


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_what_is_not_compressed_is_a_fault(coding: str) -> None:
    with pytest.raises(InputError):
        _read(b"record_key,switch\n" * 100, coding)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_damaged_gzip_or_zstd_body_is_a_fault(coding: str) -> None:
    sent = bytearray(gzip.compress(b"a,b\n" * 1000) if coding == "gzip" else b"")
    if coding == "gzip":
        sent[-6] ^= 1  # the checksum
    else:
        sent = bytearray(_zstd(random.Random(2).randbytes(5000)) + b"no frame")
    with pytest.raises(InputError):
        _read(bytes(sent), coding)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_bomb_ends_at_the_limit_of_what_comes_out(coding: str) -> None:
    zeros = b"0" * (5 << 20)
    body = _body(gzip.compress(zeros) if coding == "gzip" else _zstd(zeros), coding)
    with pytest.raises(InputError):
        body.buffered().read()
    assert body.too_large
    assert body.expanded_bytes <= LIMITS.expanded_bytes_max + (64 << 10)


def test_a_bomb_ends_at_the_ratio_before_the_limit() -> None:
    body = _body(gzip.compress(b"0" * (3 << 20)), "gzip")
    with pytest.raises(InputError, match="ratio"):
        body.buffered().read()
    assert body.expanded_bytes < 3 << 20


def test_a_body_compressed_twice_is_refused_so_that_no_later_stage_expands_it() -> None:
    inner = gzip.compress(b"0" * (1 << 20))
    for sent, coding in ((gzip.compress(inner), "gzip"), (gzip.compress(inner), "identity"), (_zstd(inner), "zstd")):
        with pytest.raises(InputError, match="twice"):
            _read(sent, coding)


def test_a_body_larger_than_the_limit_is_refused() -> None:
    body = _body(b"x" * ((1 << 20) + 1))
    with pytest.raises(InputError):
        body.buffered().read()
    assert body.too_large


def _pump(chunks: list[bytes], bytes_max: int, *, end: bool = True) -> tuple[bytes | InputError, int]:
    """Feed chunks from an event loop, read them in a thread; also return the most that waited in the pipe."""
    most = 0

    async def run() -> bytes | InputError:
        nonlocal most
        pipe = BodyPipe(asyncio.get_running_loop(), bytes_max=bytes_max)
        read: list[bytes | InputError] = []

        def reader() -> None:
            try:
                read.append(io.BufferedReader(cast(io.RawIOBase, pipe), 1000).read())
            except InputError as error:
                read.append(error)

        thread = threading.Thread(target=reader)
        thread.start()
        for chunk in chunks:
            await pipe.feed(chunk)
            most = max(most, pipe._size)
        pipe.end() if end else pipe.fail(InputError("cut off"))
        await asyncio.to_thread(thread.join)
        return read[0]

    return asyncio.run(run()), most


def test_the_pipe_passes_everything_on_and_stays_small() -> None:
    rng = random.Random(3)
    chunks = [rng.randbytes(rng.randrange(1, 3000)) for _ in range(300)]
    passed, most = _pump(chunks, 5000)
    assert passed == b"".join(chunks)
    assert most < 5000 + 3000


def test_a_failed_pipe_fails_its_reader() -> None:
    passed, _ = _pump([b"abc"], 5000, end=False)
    assert isinstance(passed, InputError)


def test_a_writer_does_not_wait_for_a_reader_that_has_gone() -> None:
    async def run() -> bool:
        pipe = BodyPipe(asyncio.get_running_loop(), bytes_max=10)
        waiting = asyncio.create_task(pipe.feed(b"x" * 100))
        await asyncio.sleep(0)
        pipe.abandon()
        assert not await waiting
        return await pipe.feed(b"more")

    assert not asyncio.run(run())


def test_a_reader_that_stops_early_leaves_the_rest() -> None:
    assert _body(b"x" * 100).buffered().read(10) == b"x" * 10
