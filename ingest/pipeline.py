"""A delivery's road: bytes -> decode -> normalise and validate -> store -> one commit -> receipt.

Decoding runs in a thread of its own, a few stretches ahead of the store, so both cores work and memory stays bounded.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Final, Self, cast

from ingest import numbering
from ingest.decoders import Decoder, decoder
from ingest.decoders.base import Decoded, FileSeries
from ingest.events import event
from ingest.normalise import Normalised, normalise
from ingest.parallel_map import in_order
from ingest.source_config import SourceConfig
from ingest.streams import CountingReader, expanded
from schemas.errors import ConfigurationError, InputError
from store import Receipt, SourceRef, Store
from store.batch import BatchWriter
from store.in_flight import InFlightBatch, VoidError
from store.open_sessions.sessions import EVENT_COLUMNS

STRETCHES_AHEAD: Final = 4
"""Half a million records of CSV: a delivery of so many is decoded whole while the one before is written."""
EARLY_BYTES_MAX: Final = 64 << 20
"""So much of a delivery, refused records included, is looked up, and kept for another time, while the one before is
being committed: 690 000 records of CSV."""
_REJECT_BYTES: Final = 128
"""A refused record takes so much besides its own bytes."""


def ingest_stream(
    store: Store,
    source: SourceConfig,
    format: str,
    stream: BinaryIO,
    *,
    idempotency_key: str | None = None,
) -> Receipt:
    """Take one delivery in; when it returns, every record of it is durable and accounted for.

    Gzip and zstd are recognised by their first bytes; the receipt's SHA-256 and size are of the bytes as delivered.

    Raises:
        ConfigurationError: no such format, or the source lacks what the format needs (a time zone).
        InputError: the delivery cannot be read as a whole, or it is not empty and holds neither a record nor the
            header under which there is none (`Decoded.is_nothing`). Nothing is kept.
        BusyError: try again later. Nothing is kept.
    """
    with Delivery(store, source, format, stream) as delivery:
        return delivery.take_in(idempotency_key=idempotency_key)


@dataclass(slots=True)
class _Said:
    """What a delivery says of itself besides its records."""

    files: list[FileSeries]
    is_nothing: bool = False


class Delivery:
    """One delivery on its road. Leaving it ends its decoding.

    `begin` starts decoding; called while another delivery is still being committed, it keeps both cores busy. Who has
    several hands them over one after the other (`hand_over`) and then asks for each one's receipt; `take_in` is both.

    Raises:
        ConfigurationError: no such format, or the source lacks what the format needs (a time zone).
    """

    def __init__(
        self,
        store: Store,
        source: SourceConfig,
        format: str,
        stream: BinaryIO,
        *,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._decoder = decoder(format)
        if not self._decoder.zoned and source.zone is None:
            raise ConfigurationError(
                f"format {format} writes local times without an offset, and the source has no time zone",
                hint="set the source's zone, e.g. `lagrum sources add NAME --zone Europe/Stockholm`",
            )
        self._store, self._source, self._format = store, source, format
        self._reference = SourceRef(source.name, source.domain, source.transport)
        self._reader = CountingReader(stream, progress)
        self._said = _Said([])
        self._ahead: _Ahead | None = None
        self._batch: BatchWriter | None = None
        self._given: list[Normalised] = []
        self._given_bytes = 0
        self._key: str | None = None
        self._before: Delivery | None = None
        self._preceding: InFlightBatch | None = None
        self._committed: Future[Receipt] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._ahead is not None:
            # Who interrupts is not kept waiting for a pipe that gives nothing.
            self._ahead.close(wait=kind is not KeyboardInterrupt)

    def begin(self) -> None:
        """Start decoding, a few stretches ahead of the store."""
        if self._ahead is None:
            parts = _decoded(self._decoder, self._reader, self._source, self._store.clock.now_us(), self._said)
            self._ahead = _Ahead(parts)

    def take_in(self, *, idempotency_key: str | None = None) -> Receipt:
        """Commit the delivery.

        Raises:
            InputError: the delivery cannot be read as a whole, or it is not empty and holds no record. Nothing is kept.
            BusyError: try again later. Nothing is kept.
        """
        if idempotency_key is not None:
            earlier = self._store.replayed(self._reference, idempotency_key)
            if earlier is not None:
                return _answered_before(earlier, self._reader)
        self._key = idempotency_key
        self._look(lambda: None)
        assert self._batch is not None
        return self._noted(self._batch.commit())

    def hand_over(
        self,
        pool: Executor | None,
        *,
        after: Delivery | None = None,
        when_decoded: Callable[[], None] = lambda: None,
        idempotency_key: str | None = None,
    ) -> None:
        """Tell new records from known, and let a thread of the pool (two at least) commit them; see `receipt`.

        Without a pool `receipt` commits them: a lone delivery needs no other thread.

        A delivery that was handed over and is not settled yet comes `after`: this one is compared with its rows, and
        published only when that one is, as it was written; otherwise this one is compared anew. `when_decoded` is
        called once nothing is left to decode. Who has an idempotency key has asked for an earlier receipt before.

        Raises:
            InputError: the delivery cannot be read as a whole, or it is not empty and holds no record. Nothing is kept.
            BusyError: try again later. Nothing is kept.
        """
        self._before, self._key = after, idempotency_key
        self._look(when_decoded)
        assert self._batch is not None
        self._preceding = self._batch.precede()
        if pool is not None:
            self._committed = pool.submit(self._batch.commit)

    def receipt(self) -> Receipt:
        """Return the receipt of what was handed over, once every record of it is durable and accounted for.

        Raises:
            InputError: the records cannot be stored as a whole. Nothing is kept.
            BusyError: try again later. Nothing is kept.
        """
        if self._committed is None:
            assert self._batch is not None
            return self._noted(self._batch.commit())
        if isinstance(self._committed.exception(), VoidError):
            self._commit_anew()
        self._before, self._given = None, []
        return self._noted(self._committed.result())

    def _commit_anew(self) -> None:
        self._committed = Future()
        try:
            self._give_anew()
            assert self._batch is not None
            self._batch.finish_input(self._reader.sha256, self._reader.size_bytes)
            self._committed.set_result(self._batch.commit())
        except BaseException as error:
            assert self._batch is not None
            self._batch.abort()
            self._committed.set_exception(error)

    def _look(self, when_decoded: Callable[[], None]) -> None:
        """Give every record to a batch, and say what was delivered."""
        self.begin()
        assert self._ahead is not None
        decoded = False
        self._batch = self._begin_batch()
        try:
            for part in self._ahead:
                self._give(part)
                if not decoded and self._ahead.is_decoded:
                    decoded = True
                    when_decoded()
            self._reader.drain()
            if not decoded:
                when_decoded()
            self._batch.finish_input(self._reader.sha256, self._reader.size_bytes)
            if self._batch.records == 0 and self._reader.size_bytes and not self._said.is_nothing:
                self._note()  # a file without records has its number all the same, and may tell of losses
                raise InputError(
                    f"the delivery is not empty, but holds no record of format {self._format}",
                    hint="check the format; `lagrum formats` lists them",
                )
        except BaseException:
            self._batch.abort()
            raise

    def _begin_batch(self) -> BatchWriter:
        begin, after = self._store.begin_batch, self._before._preceding if self._before is not None else None
        return begin(self._reference, format=self._format, idempotency_key=self._key, after=after)

    def _give(self, part: Normalised) -> None:
        """Give a stretch to the batch; until the batch before is settled it is kept, to be given anew."""
        assert self._batch is not None
        if self._before is not None:
            self._given_bytes += _nbytes(part)
            is_event = EVENT_COLUMNS[0] in part.table.column_names  # sessions are read as published
            if is_event or self._given_bytes > EARLY_BYTES_MAX:
                self._settle()
            else:
                self._given.append(part)
        self._batch.reject(part.rejects)
        self._batch.add(part.table)

    def _settle(self) -> None:
        """Wait for the batch before; give what was given anew when that is not what it was."""
        assert self._batch is not None and self._before is not None
        try:
            self._batch.settle()
        except VoidError:
            self._batch.abort()
            with suppress(InputError):  # that one is told of in its turn
                self._before.receipt()
            self._give_anew()
        self._before, self._given = None, []

    def _give_anew(self) -> None:
        """Give what was given to a batch that is void to another, which is compared with what is published."""
        self._before, given, self._given = None, self._given, []
        self._batch = self._begin_batch()
        for part in given:
            self._give(part)

    def _noted(self, receipt: Receipt) -> Receipt:
        self._note()
        if not self._reader.size_bytes:  # a switch that had nothing to tell, or one whose disk is full
            self._store.log(event("delivery-empty", self._source.name))
        return receipt

    def _note(self) -> None:
        for file in self._said.files:
            numbering.note(self._store, self._source.name, file)


def _nbytes(part: Normalised) -> int:
    """Return what a stretch takes, about."""
    return part.table.nbytes + sum(_REJECT_BYTES + len(reject.raw or b"") for reject in part.rejects)


def _answered_before(earlier: Receipt, reader: CountingReader) -> Receipt:
    """Return the receipt of a delivery that comes again under its idempotency key; other bytes would be lost."""
    reader.drain()
    if earlier.sha256 and earlier.sha256 != reader.sha256.hex():
        raise InputError(
            "the idempotency key was used for another delivery", hint="a key belongs to one delivery and its retries"
        )
    return earlier


def _decoded(
    chosen: Decoder, reader: CountingReader, source: SourceConfig, now_us: int, said: _Said
) -> Iterator[Normalised]:
    """Yield what the decoder yields, normalised beside it; what a file says of itself goes to `said`."""

    def normalised(part: Decoded) -> Normalised:
        return normalise(part, source, now_us)

    parts = chosen.decode(expanded(cast(BinaryIO, reader)), source.receiving(now_us))
    for part, made in in_order(parts, normalised, workers=1):
        if part.series is not None:
            said.files.append(part.series)
        said.is_nothing |= part.is_nothing
        yield made


class _Ahead:
    """The same items, made by another thread that is at most a few items ahead."""

    def __init__(self, parts: Iterator[Normalised]) -> None:
        self._waiting: queue.Queue[Normalised | BaseException | None] = queue.Queue(STRETCHES_AHEAD)
        self._stop = threading.Event()
        self._decoded = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(parts,), name="lagrum-decode", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Normalised]:
        while (item := self._waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    @property
    def is_decoded(self) -> bool:
        """Whether nothing is left to make; items may still wait."""
        return self._decoded.is_set()

    def close(self, *, wait: bool = True) -> None:
        """End the thread, whatever is left; without `wait` it ends with its next stretch, or with the process."""
        self._stop.set()
        if wait:
            self._thread.join()

    def _work(self, parts: Iterator[Normalised]) -> None:
        try:
            for part in parts:
                if not self._put(part):
                    return
            self._decoded.set()
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Normalised | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False
