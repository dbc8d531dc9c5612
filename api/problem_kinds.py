"""The kinds of refusal that the service tells over HTTP, and the way back into the error tree on the client's side.

Nothing here needs a web framework: a command that asks the service loads this alone.

Source: RFC 9457 (problem details).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import (
    AuditError,
    BusyError,
    ClockError,
    ConfigurationError,
    InputError,
    IntegrityError,
    KeyUnavailableError,
    LagrumError,
    NotFoundError,
    PermissionsError,
    ProcedureError,
    RetentionError,
)

TYPE_PREFIX: Final = "urn:lagrum:problem:"


@dataclass(frozen=True, slots=True)
class Kind:
    """How one class of error looks over HTTP."""

    error: type[LagrumError]
    slug: str
    status: int
    title: str


KINDS: Final[tuple[Kind, ...]] = (
    Kind(NotFoundError, "not-found", 404, "No such thing"),
    Kind(InputError, "input", 400, "The delivery cannot be read"),
    Kind(ConfigurationError, "configuration", 422, "The configuration or the request cannot work"),
    Kind(ProcedureError, "procedure", 409, "The procedure does not allow this step"),
    Kind(RetentionError, "retention", 409, "The retention rules forbid it"),
    Kind(KeyUnavailableError, "key-unavailable", 410, "The data are erased or their key is not available"),
    Kind(BusyError, "busy", 503, "Try again later"),
    Kind(AuditError, "audit", 503, "The audit log cannot take the entry, so nothing was done"),
    Kind(ClockError, "clock", 503, "The clock cannot be trusted"),
    Kind(IntegrityError, "integrity", 500, "The store does not authenticate"),
    Kind(PermissionsError, "permissions", 500, "A secret file has the wrong permissions"),
)
"""In the order in which they are tried; the first class that fits decides."""


def to_error(status: int, body: Mapping[str, Any]) -> LagrumError:
    """Return the error of the tree that a problem document stands for."""
    slug = str(body.get("type", "")).removeprefix(TYPE_PREFIX)
    message = str(body.get("detail") or body.get("title") or f"the service answered {status}")
    hint = body.get("hint")
    if slug == "validation":
        faults = [f"{'.'.join(map(str, f.get('where', ())))}: {f.get('what')}" for f in body.get("errors", ())]
        told = f"{message} ({'; '.join(faults)})" if faults else message
        return ConfigurationError(told, hint="the command's --help says how each value is written")
    for kind in KINDS:
        if kind.slug == slug:
            if kind.error is ProcedureError:
                return ProcedureError(message, reason=str(body.get("reason", "procedure")), hint=hint)
            if kind.error is InputError:
                return InputError(message, position=body.get("position"), hint=hint)
            return kind.error(message, hint=hint)
    if status in (401, 403):
        return ProcedureError(message, reason=slug or "forbidden", hint=hint)
    if status in (429, 503):
        return BusyError(message, hint=hint)
    if status in (400, 413, 415):
        return InputError(message, hint=hint)
    return LagrumError(message, hint=hint)
