"""Group commit: small deliveries of one source and format that wait at the same time become one batch.

Nobody waits for company: while one group is being committed, the next one gathers. A delivery with an idempotency key
goes by itself, because the key is the batch's.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from api.intake.body import BodyLimits, DeliveredBody
from ingest.grouping import ingest_group
from schemas.errors import BusyError, LagrumError

if TYPE_CHECKING:
    from ingest.source_config import SourceConfig
    from store import Receipt, Store

GROUP_DELIVERIES_MAX: Final = 1000
GROUPED_BYTES_MAX: Final = 1 << 20
"""A delivery that expands beyond this goes by itself."""

Take = Callable[[BinaryIO], "Receipt"]


@dataclass(frozen=True, slots=True)
class Intake:
    """How deliveries of one kind are taken in.

    `source` reads the source's configuration; `take` ingests one delivery by itself. `alone` keeps it out of groups.
    """

    source_name: str
    format: str
    tenant: str | None
    alone: bool
    source: Callable[[], SourceConfig]
    take: Take

    @property
    def kind(self) -> tuple[object, ...]:
        """Deliveries of one kind may share a batch."""
        return (self.source_name, self.format, self.tenant, self.alone)


@dataclass(slots=True)
class _Waiting:
    intake: Intake
    content: bytes
    coding: str
    limits: BodyLimits
    receipt: Future[Receipt] = field(default_factory=Future)
    body: DeliveredBody | None = None

    def __post_init__(self) -> None:
        """A delivery that was handed over is taken in, whether its sender still waits or not."""
        self.receipt.set_running_or_notify_cancel()

    def opened(self) -> DeliveredBody:
        """Return the body from its beginning."""
        self.body = DeliveredBody(io.BytesIO(self.content), self.coding, self.limits)
        return self.body

    def settle(self, work: Callable[[], Receipt]) -> None:
        """Answer with what `work` returns or raises; a fault of the body counts before what a decoder made of it."""
        try:
            self.receipt.set_result(work())
        except BaseException as error:
            fault = None if self.body is None else self.body.error
            self.receipt.set_exception(fault or error)

    def by_itself(self) -> Receipt:
        """Ingest this delivery alone."""
        return self.intake.take(self.opened().buffered())


class Delivered:
    """A small delivery that was handed over; `too_large` is known once it failed."""

    def __init__(self, waiting: _Waiting) -> None:
        self._waiting = waiting
        self.receipt: asyncio.Future[Receipt] = asyncio.wrap_future(waiting.receipt)

    @property
    def too_large(self) -> bool:
        """Whether a limit was the fault."""
        body = self._waiting.body
        return body is not None and body.too_large


class Grouper:
    """Threads that take small deliveries in, in groups; refuses when too many run or wait."""

    def __init__(self, store: Store, *, workers: int, queue_max: int) -> None:
        self._store = store
        self._limit = workers + queue_max
        self._in_flight = 0
        self._waiting: dict[tuple[object, ...], deque[_Waiting]] = {}
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="lagrum-ingest")

    @property
    def in_flight(self) -> int:
        """Deliveries that run or wait."""
        return self._in_flight

    def submit(self, intake: Intake, content: bytes, coding: str, limits: BodyLimits) -> Delivered:
        """Hand a delivery over, from the event loop.

        Raises:
            BusyError: too many run or wait.
        """
        waiting = _Waiting(intake, content, coding, limits)
        with self._lock:
            if self._in_flight >= self._limit:
                raise BusyError("the service takes no more deliveries right now")
            self._in_flight += 1
            # The kind's entry stands while a thread works on it, so a kind has one group at a time.
            queue = self._waiting.get(intake.kind)
            if queue is not None:
                queue.append(waiting)
                return Delivered(waiting)
            self._waiting[intake.kind] = deque([waiting])
        self._executor.submit(self._work, intake.kind)
        return Delivered(waiting)

    def close(self) -> None:
        """Finish what was handed over and let nothing new start."""
        while self._in_flight:
            threading.Event().wait(0.01)
        self._executor.shutdown(wait=True)

    def _work(self, kind: tuple[object, ...]) -> None:
        """Take one group of a kind; then queue up behind the other kinds for the next one."""
        with self._lock:
            queue = self._waiting[kind]
            group = [queue.popleft() for _ in range(min(len(queue), GROUP_DELIVERIES_MAX))]
        try:
            self._settle(group)
        finally:
            with self._lock:
                self._in_flight -= len(group)
                more = bool(queue)
                if not more:
                    del self._waiting[kind]
            if more:
                self._executor.submit(self._work, kind)

    def _settle(self, group: list[_Waiting]) -> None:
        together = [] if len(group) == 1 or group[0].intake.alone else self._expanded(group)
        receipts: list[Receipt | None] = [None] * len(together)
        if len(together) > 1:
            intake = group[0].intake
            try:
                receipts = ingest_group(
                    self._store, intake.source(), intake.format, [content for _, content in together]
                )
            except BusyError as error:
                for member, _ in together:
                    member.receipt.set_exception(BusyError(error.message, hint=error.hint))
            except Exception:
                # Whatever it is, each delivery finds out by itself, and one that is sound does not suffer for another.
                receipts = [None] * len(together)
        for (member, _), receipt in zip(together, receipts, strict=True):
            if receipt is not None:
                member.receipt.set_result(receipt)
        for member in group:
            if not member.receipt.done():
                member.settle(member.by_itself)

    @staticmethod
    def _expanded(group: list[_Waiting]) -> list[tuple[_Waiting, bytes]]:
        """Return the members that are small when expanded; the others find out by themselves."""
        members = []
        for member in group:
            try:
                content = member.opened().buffered().read(GROUPED_BYTES_MAX + 1)
            except LagrumError:
                continue
            if len(content) <= GROUPED_BYTES_MAX:
                members.append((member, content))
        return members
