"""One delivery over HTTP: body to receipt.

(1) The content type does not contradict the format, the coding is known, the announced size is allowed.
(2) A small body is read whole and only then handed over: to the spool (`api.intake.spooler`), or, when its sender waits
    for the counts, to be committed together with others that wait (`api.intake.grouper`). A slow sender occupies
    nobody.
(3) A larger one streams through a bounded pipe into a thread.
(4) The answer is 2xx only with a receipt, when everything is durable; any fault before it leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from api.intake.body import CODINGS, BodyLimits, BodyPipe, DeliveredBody
from api.intake.grouper import Delivered, Grouper, Intake, Take
from api.intake.spooler import Durable, TooLargeError
from api.pools import BoundedPool
from api.settings import Settings
from schemas.errors import InputError, LagrumError

if TYPE_CHECKING:
    from store import Receipt

Spool = Callable[[bytes, str], Awaitable[Durable | None]]
"""Makes content of a coding durable; None when it has to be ingested by itself."""

NEUTRAL_TYPES: Final = frozenset(
    {
        "",
        "text/plain",
        "application/octet-stream",
        "application/x-www-form-urlencoded",  # what curl says of every body, and FreeSWITCH of its own
        "application/x-www-form-base64-encoded",
        "application/x-www-form-plaintext",
    }
)
"""Types that say nothing about the format; switches send them with everything."""

NAMED_TYPES: Final[dict[str, frozenset[str]]] = {
    "text/csv": frozenset(
        {
            "csv",
            "acme-csv",
            "asterisk-csv",
            "asterisk-custom",
            "cucm-cdr",
            "cucm-cmr",
            "freeswitch-csv",
            "kamailio-acc",
            "mapping",
        }
    ),
    "application/json": frozenset({"ndjson", "freeswitch-json", "kamailio-json", "mapping"}),
    "text/json": frozenset({"ndjson", "freeswitch-json", "kamailio-json", "mapping"}),
    "application/x-ndjson": frozenset({"ndjson", "freeswitch-json", "kamailio-json"}),
    "application/jsonl": frozenset({"ndjson", "kamailio-json"}),
    "text/xml": frozenset({"freeswitch-xml", "broadworks-xml"}),
    "application/xml": frozenset({"freeswitch-xml", "broadworks-xml"}),
    "application/vnd.apache.arrow.stream": frozenset({"arrow"}),
    "application/vnd.apache.arrow.file": frozenset({"arrow"}),
    "application/vnd.apache.parquet": frozenset({"parquet"}),
}
"""Types that name a format."""


def check_headers(request: Request, form: str, settings: Settings) -> str:
    """Step (1): return the content coding.

    Raises:
        HTTPException: 415 or 413.
    """
    if not fits(media_type_of(request.headers.get("content-type", "")), form):
        raise HTTPException(415, "the content type does not fit the format")
    coding = request.headers.get("content-encoding", "identity").strip().lower() or "identity"
    if coding not in CODINGS:
        raise HTTPException(
            415, f"the content coding is one of {', '.join(CODINGS)}", {"Accept-Encoding": "gzip, zstd"}
        )
    length = request.headers.get("content-length", "0").strip()
    if not length.isdigit() or int(length) > settings.body_bytes_max:
        raise HTTPException(413, "the body is larger than the limit")
    return coding


def media_type_of(header: str) -> str:
    """Return the media type of a Content-Type."""
    return header.partition(";")[0].strip().lower()


def fits(media_type: str, form: str) -> bool:
    """Tell whether a media type does not contradict a format."""
    return media_type in NEUTRAL_TYPES or form in NAMED_TYPES.get(media_type, frozenset())


async def receive(
    request: Request,
    intake: Intake,
    *,
    coding: str,
    settings: Settings,
    small: Grouper,
    large: BoundedPool,
    spool: Spool | None = None,
) -> Receipt | Durable:
    """Steps (2) to (4): hand the body over and return its receipt; a small one goes to `spool` where there is one.

    Raises:
        HTTPException: 413, a limit.
        LagrumError: what `take` raises, or a damaged or cut-off body.
    """
    read: bytes | None = request.scope.get("push")  # the short way has read it, and found that it goes by itself
    if read is not None:
        delivered = small.submit(intake, read, coding, limits_of(settings))
        return await _answer(delivered, delivered.receipt)
    chunks = _chunks(request, settings.body_idle_seconds)
    head = bytearray()
    async for chunk in chunks:
        head += chunk
        if len(head) > settings.small_body_bytes_max:
            pipe = BodyPipe(asyncio.get_running_loop(), bytes_max=settings.pipe_bytes_max)
            body = DeliveredBody(cast(BinaryIO, pipe), coding, limits_of(settings))
            work = large.submit(_take, intake.take, body, pipe.abandon)
            await _feed(pipe, bytes(head), chunks)
            return await _answer(body, work)
    content = bytes(head)
    if spool is not None:
        try:
            durable = await spool(content, coding)
        except TooLargeError as error:
            raise HTTPException(413, error.message) from None
        if durable is not None:
            return durable
    delivered = small.submit(intake, content, coding, limits_of(settings))
    return await _answer(delivered, delivered.receipt)


async def _feed(pipe: BodyPipe, head: bytes, chunks: AsyncIterator[bytes]) -> None:
    """Step (3): pass the body on until its end, a fault, or until nobody wants more."""
    try:
        wanted = await pipe.feed(head)
        async for chunk in chunks:
            if not wanted:
                return
            wanted = await pipe.feed(chunk)
        pipe.end()
    except LagrumError as error:
        pipe.fail(error)
    except BaseException:
        pipe.fail(InputError("the body is cut off"))
        raise


async def _answer(body: DeliveredBody | Delivered, work: asyncio.Future[Receipt]) -> Receipt:
    try:
        return await work
    except LagrumError as error:
        if body.too_large:
            raise HTTPException(413, error.message) from None
        raise


def _take(take: Take, body: DeliveredBody, finished: Callable[[], None]) -> Receipt:
    """Run in a thread; a fault of the body counts before whatever the decoder made of it."""
    try:
        return take(body.buffered())
    except Exception as error:
        if body.error is not None and error is not body.error:
            raise body.error from error
        raise
    finally:
        finished()


async def _chunks(request: Request, idle_seconds: int) -> AsyncIterator[bytes]:
    """Yield the body; a sender that stops or leaves is a fault."""
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(idle_seconds):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            if chunk:
                yield chunk
    except TimeoutError:
        raise InputError("the body stopped coming") from None
    except ClientDisconnect:
        raise InputError("the body is cut off") from None


def limits_of(settings: Settings) -> BodyLimits:
    """Return what a body may cost."""
    return BodyLimits(
        body_bytes_max=settings.body_bytes_max,
        expanded_bytes_max=settings.expanded_bytes_max,
        expansion_ratio_max=settings.expansion_ratio_max,
        expansion_free_bytes=settings.expansion_free_bytes,
    )
