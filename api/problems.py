"""Every refusal as RFC 9457 problem details; `api.problem_kinds` has the kinds and the way back.

A problem never echoes what was sent: no values, no unknown field names, no paths, no query strings.

Source: RFC 9457 (problem details); RFC 9110 section 10.2.3 (Retry-After).
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from api.problem_kinds import KINDS, TYPE_PREFIX
from schemas.errors import BusyError, LagrumError, NotFoundError, ProcedureError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1

FORBIDDEN_REASONS: Final = frozenset(
    {"role", "roles", "source", "signature", "same-person", "same-key", "tenant-foreign"}
)
"""Reasons of a `ProcedureError` that say who may not (403); every other reason says when not (409)."""

HIDDEN_REASON: Final = "not-yours"
"""Answered as what is not there (404), so that nobody learns of another person's case by asking for it."""

DISK_ERRORS: Final = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})
"""What a system call says when the disk, or the process's room for files, is at its end."""


_STATUS_SLUGS: Final[dict[int, str]] = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "validation",
    429: "locked-out",
    500: "internal",
    503: "busy",
}

_OPAQUE_TYPES: Final = frozenset({"value_error", "assertion_error", "extra_forbidden"})
_LOCATION_DEPTH_MAX: Final = 2


def problem(
    status: int,
    slug: str,
    title: str,
    *,
    detail: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return one problem document; members that are None are left out."""
    body: dict[str, Any] = {"type": TYPE_PREFIX + slug, "title": title, "status": status}
    if detail is not None:
        body["detail"] = detail
    body.update((name, value) for name, value in members.items() if value is not None)
    all_headers = {"Cache-Control": "no-store", **(headers or {})}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        all_headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    return Response(orjson.dumps(body), status_code=status, media_type=MEDIA_TYPE, headers=all_headers)


def from_error(error: LagrumError) -> Response:
    """Return the problem of an error of the tree."""
    if isinstance(error, ProcedureError) and error.reason == HIDDEN_REASON:
        error = NotFoundError(error.message, hint=error.hint)
    for kind in KINDS:
        if isinstance(error, kind.error):
            status = kind.status
            reason = getattr(error, "reason", None)
            if isinstance(error, ProcedureError) and error.reason in FORBIDDEN_REASONS:
                status = 403
            return problem(
                status,
                kind.slug,
                kind.title,
                detail=error.message,
                hint=error.hint,
                reason=reason,
                position=getattr(error, "position", None),
            )
    return internal()


def from_status(status: int, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """Return the problem of a bare status code."""
    slug = _STATUS_SLUGS.get(status, "http")
    return problem(status, slug, HTTPStatus(status).phrase, detail=detail, headers=headers)


def internal() -> Response:
    """Return what the caller learns of a bug: nothing."""
    return problem(500, "internal", "Internal error", detail="the service could not do this; its log says where")


def from_disk(error: OSError) -> Response:
    """Return the problem of a disk that is full or fails: nothing was kept, and it may go better later."""
    if error.errno not in DISK_ERRORS:
        raise error
    return from_error(BusyError("the disk does not take it", hint="check its space and its state"))


def from_validation(errors: Sequence[Mapping[str, Any]]) -> Response:
    """Return the problem of a request that does not have the documented form."""
    return problem(
        422,
        "validation",
        "The request does not have the documented form",
        errors=[{"where": _where(error), "what": _what(error)} for error in errors],
    )


def _where(error: Mapping[str, Any]) -> list[str | int]:
    """Return where the fault is, without names that the caller made up."""
    location = list(error.get("loc", ()))[:_LOCATION_DEPTH_MAX]
    if error.get("type") == "extra_forbidden":
        location = location[:1]
    return location


def _what(error: Mapping[str, Any]) -> str:
    """Return what is wrong; messages of our own validators could quote a value, so only their type is told."""
    kind = str(error.get("type", "invalid"))
    if kind == "extra_forbidden":
        return "a field that is not documented"
    if kind in _OPAQUE_TYPES:
        return "the value is not allowed here"
    return str(error.get("msg", kind))


def install(app: FastAPI) -> None:
    """Make `app` answer every refusal as problem details."""

    @app.exception_handler(LagrumError)
    def _tree(_: Request, error: LagrumError) -> Response:
        return from_error(error)

    @app.exception_handler(OSError)
    def _disk(_: Request, error: OSError) -> Response:
        return from_disk(error)

    @app.exception_handler(HTTPException)
    def _status(_: Request, error: HTTPException) -> Response:
        # Details of the framework's own exceptions may quote the request; ours are texts that we wrote.
        detail = error.detail if error.status_code in (401, 403, 413, 415, 429, 503) else None
        return from_status(error.status_code, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    def _validation(_: Request, error: RequestValidationError) -> Response:
        return from_validation(error.errors())
