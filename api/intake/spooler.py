"""Small deliveries on their way into the spool: those that come at the same time are decoded and made durable together.

Nobody waits for company: while one group is decoded and synced, the next one gathers. One thread does it, so the event
loop only hands bodies over and answers; there is one hop back to it for each group, not for each push.
"""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from api.intake.body import MAGIC, BodyLimits, DeliveredBody
from ingest.pushes import decode_pushes
from schemas.errors import BusyError, InputError, LagrumError
from store import PushGroup

if TYPE_CHECKING:
    from api.telemetry.metrics import Metrics
    from ingest.source_config import SourceConfig
    from store import Store

GROUP_PUSHES_MAX: Final = 1000
GROUP_BYTES_MAX: Final = 8 << 20
"""A group is closed when it has so many pushes, or bytes as they came."""
EXPANDED_BYTES_MAX: Final = 8 << 20
"""A push that expands beyond this is ingested by itself."""
DRAIN_BYTES: Final = 64 << 20
"""With so much in the spool it is drained at once: a segment's worth becomes one batch."""
DIGEST_BYTES: Final = 32

logger = logging.getLogger("lagrum.upkeep")


@dataclass(frozen=True, slots=True)
class PushKind:
    """What pushes of one stretch have in common."""

    source_name: str
    format: str
    tenant: str | None


@dataclass(frozen=True, slots=True)
class Durable:
    """The receipt of a push that is durable and not yet in a batch, as JSON."""

    json: bytes


Answer = Durable | LagrumError | None
"""The receipt, the refusal, or None for what is ingested by itself."""


Answered = Callable[[Answer], None]
"""Called in the event loop, once."""


class TooLargeError(InputError):
    """A limit was the fault."""


@dataclass(slots=True)
class _Push:
    kind: PushKind
    content: bytes
    coding: str
    answered: Answered

    def expanded(self, limits: BodyLimits) -> bytes | None:
        """Return the content without its coding; None when it is too large to share a stretch.

        Raises:
            InputError: it is damaged, or beyond a limit.
        """
        if self.coding == "identity" and not any(self.content.startswith(magic) for magic in MAGIC):
            return self.content
        body = DeliveredBody(io.BytesIO(self.content), self.coding, limits)
        try:
            content = body.buffered().read(EXPANDED_BYTES_MAX + 1)
        except LagrumError as error:
            raise TooLargeError(error.message, hint=error.hint) if body.too_large else error from None
        return content if len(content) <= EXPANDED_BYTES_MAX else None


class Spooler:
    """Takes pushes from the event loop, in groups; refuses when too many wait."""

    def __init__(
        self,
        store: Store,
        *,
        source_of: Callable[[Store, str, str | None], SourceConfig],
        limits: BodyLimits,
        queue_max: int,
        drain_pushes: int,
        metrics: Metrics,
    ) -> None:
        self._store, self._source_of, self._limits, self._metrics = store, source_of, limits, metrics
        self._queue_max, self._drain_pushes = queue_max, drain_pushes
        self._waiting: deque[_Push] = deque()
        self._in_flight = 0
        self._running = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="lagrum-spool")
        self._drainer = ThreadPoolExecutor(1, thread_name_prefix="lagrum-drain")
        self._draining = threading.Lock()

    @property
    def in_flight(self) -> int:
        """Pushes that wait, or are being made durable."""
        return self._in_flight

    async def push(self, kind: PushKind, content: bytes, coding: str) -> Durable | None:
        """Make a push durable; None when it cannot be spooled and has to be ingested by itself.

        Raises:
            BusyError: too many wait, the spool is full, or its disk is. Nothing is kept.
            LagrumError: the push is refused as a whole. Nothing is kept.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[Answer] = loop.create_future()

        def answered(answer: Answer) -> None:
            if not waiting.done():  # whoever left before the answer left his push here all the same
                waiting.set_result(answer)

        self.submit(loop, kind, content, coding, answered)
        answer = await waiting
        if isinstance(answer, LagrumError):
            raise answer
        return answer

    def submit(
        self, loop: asyncio.AbstractEventLoop, kind: PushKind, content: bytes, coding: str, answered: Answered
    ) -> None:
        """Hand a push over, in the event loop; `answered` is told what `push` returns or raises.

        Raises:
            BusyError: too many wait. Nothing is kept.
        """
        if self._in_flight >= self._queue_max:
            raise BusyError("the service takes no more deliveries right now")
        self._in_flight += 1
        self._waiting.append(_Push(kind, content, coding, answered))
        if not self._running:
            self._running = True
            self._executor.submit(self._work, loop)

    def drain_now(self) -> None:
        """Drain in the background, unless that is under way."""
        if self._draining.acquire(blocking=False):
            self._drainer.submit(self._drain).add_done_callback(lambda _: self._draining.release())

    def close(self) -> None:
        """Finish what was handed over, and drain."""
        while self._in_flight:
            threading.Event().wait(0.01)
        self._executor.shutdown(wait=True)
        self._drainer.shutdown(wait=True)
        self._drain()

    def _drain(self) -> None:
        try:
            self._store.spool.drain()
        except LagrumError as error:
            logger.error("drain failed: %s", error.message)
        except Exception as error:
            logger.error("drain failed: %s", type(error).__name__)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take one group, in the thread."""
        group: list[_Push] = []
        size_bytes = 0
        while self._waiting and len(group) < GROUP_PUSHES_MAX and size_bytes < GROUP_BYTES_MAX:
            group.append(self._waiting.popleft())
            size_bytes += len(group[-1].content)
        try:
            answers = self._take(group)
        except Exception as error:  # a bug: each push answers for itself when it is ingested alone
            logger.error("a group of pushes failed: %s", type(error).__name__)
            answers = [None] * len(group)
        loop.call_soon_threadsafe(self._settle, loop, group, answers)

    def _settle(self, loop: asyncio.AbstractEventLoop, group: Sequence[_Push], answers: Sequence[Answer]) -> None:
        """Answer a group, in the event loop, and begin the next one."""
        if self._waiting:
            self._executor.submit(self._work, loop)
        else:
            self._running = False
        for push, answer in zip(group, answers, strict=True):
            self._in_flight -= 1
            try:
                push.answered(answer)
            except Exception as error:  # the others are answered all the same
                logger.error("an answer to a push failed: %s", type(error).__name__)

    def _take(self, pushes: Sequence[_Push]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        kinds: dict[PushKind, list[int]] = {}
        for number, push in enumerate(pushes):
            kinds.setdefault(push.kind, []).append(number)
        spooled: list[tuple[PushGroup, list[int]]] = []
        for kind, numbers in kinds.items():
            group, members = self._decode(kind, pushes, numbers, answers)
            if group is not None:
                spooled.append((group, members))
        if spooled:
            self._append(spooled, answers)
        return [answers[number] for number in range(len(pushes))]

    def _decode(
        self, kind: PushKind, pushes: Sequence[_Push], numbers: Sequence[int], answers: dict[int, Answer]
    ) -> tuple[PushGroup | None, list[int]]:
        """Decode the pushes of one kind; what is refused gets its answer here."""
        bodies, members = [], []
        for number in numbers:
            try:
                body = pushes[number].expanded(self._limits)
            except LagrumError as refusal:
                answers[number] = refusal
                continue
            if body is None:
                answers[number] = None
            else:
                bodies.append(body)
                members.append(number)
        try:
            source = self._source_of(self._store, kind.source_name, kind.tenant)
            decoded = decode_pushes(self._store, source, kind.format, bodies)
        except LagrumError as refusal:
            answers |= dict.fromkeys(members, refusal)
            return None, []
        answers |= {members[place]: refusal for place, refusal in decoded.refused.items()}
        return decoded.group, [members[place] for place in decoded.places]

    def _append(self, spooled: Sequence[tuple[PushGroup, Sequence[int]]], answers: dict[int, Answer]) -> None:
        try:
            ids = self._store.spool.append([group for group, _ in spooled])
        except LagrumError as refusal:
            for _, members in spooled:
                answers |= dict.fromkeys(members, refusal)
            return
        for (group, members), own in zip(spooled, ids, strict=True):
            constant = {"state": "durable", "source": group.source.name, "format": group.format}
            numbers = zip(members, own, group.records.tolist(), group.sizes.tolist(), strict=True)
            for place, (member, push, records, size_bytes) in enumerate(numbers):
                digest = group.digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES].hex()
                told = {"id": str(push), **constant, "records": records, "bytes": size_bytes, "sha256": digest}
                answers[member] = Durable(orjson.dumps(told))
            self._metrics.pushed(group.source.name, group.pushes, int(group.sizes.sum()))
        lies = self._store.spool.spooled
        if lies.pushes >= self._drain_pushes or lies.bytes >= DRAIN_BYTES:
            self.drain_now()
