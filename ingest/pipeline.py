"""A delivery's road: bytes -> decode -> normalise and validate -> store -> one commit -> receipt.

Decoding runs in a thread of its own, a few stretches ahead of the store, so both cores work and memory stays bounded.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

from ingest import numbering
from ingest.decoders import Decoder, decoder
from ingest.decoders.base import FileSeries
from ingest.normalise import Normalised, normalise
from ingest.source import SourceConfig
from ingest.streams import CountingReader, expanded
from schemas.errors import ConfigurationError, InputError
from store import Receipt, SourceRef, Store

STRETCHES_AHEAD: Final = 2


def ingest_stream(
    store: Store,
    source: SourceConfig,
    format: str,
    stream: BinaryIO,
    *,
    progress: Callable[[int], None] | None = None,
    idempotency_key: str | None = None,
) -> Receipt:
    """Take one delivery in; when it returns, every record of it is durable and accounted for.

    Gzip and zstd are recognised by their first bytes; the receipt's SHA-256 and size are of the bytes as delivered.

    Raises:
        ConfigurationError: no such format, or the source lacks what the format needs (a time zone).
        InputError: the delivery cannot be read as a whole, or it is not empty and holds no record. Nothing is kept.
        BusyError: try again later. Nothing is kept.
    """
    chosen = decoder(format)
    if not chosen.zoned and source.zone is None:
        raise ConfigurationError(
            f"format {format} writes local times without an offset, and the source has no time zone",
            hint="set the source's zone, e.g. `lagrum sources add NAME --zone Europe/Stockholm`",
        )
    reference = SourceRef(source.name, source.domain, source.transport)
    reader = CountingReader(stream, progress)
    if idempotency_key is not None and (earlier := store.replayed(reference, idempotency_key)) is not None:
        return _answered_before(earlier, reader)
    files: list[FileSeries] = []
    with store.begin_batch(reference, format=format, idempotency_key=idempotency_key) as batch:
        for part in _ahead(_decoded(chosen, reader, source, store.clock.now_us(), files)):
            batch.reject(part.rejects)
            batch.add(part.table)
        reader.drain()
        batch.finish_input(reader.sha256, reader.size_bytes)
        if batch.records == 0 and reader.size_bytes:
            raise InputError(
                f"the delivery is not empty, but holds no record of format {format}",
                hint="check the format; `lagrum formats` lists them",
            )
        receipt = batch.commit()
    for file in files:
        numbering.note(store, source.name, file)
    return receipt


def _answered_before(earlier: Receipt, reader: CountingReader) -> Receipt:
    """Return the receipt of a delivery that comes again under its idempotency key; other bytes would be lost."""
    reader.drain()
    if earlier.sha256 and earlier.sha256 != reader.sha256.hex():
        raise InputError(
            "the idempotency key was used for another delivery", hint="a key belongs to one delivery and its retries"
        )
    return earlier


def _decoded(
    chosen: Decoder, reader: CountingReader, source: SourceConfig, now_us: int, files: list[FileSeries]
) -> Iterator[Normalised]:
    """Yield what the decoder yields, normalised; what a file says of itself goes to `files`."""
    for part in chosen.decode(expanded(cast(BinaryIO, reader)), source.receiving(now_us)):
        if part.series is not None:
            files.append(part.series)
        yield normalise(part, source, now_us)


def _ahead(parts: Iterator[Normalised]) -> Iterator[Normalised]:
    """Yield the same items, made by another thread that is at most a few items ahead."""
    waiting: queue.Queue[Normalised | BaseException | None] = queue.Queue(STRETCHES_AHEAD)
    stop = threading.Event()

    def put(item: Normalised | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for part in parts:
                if not put(part):
                    return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="lagrum-decode", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
