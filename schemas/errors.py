"""Every error that Lagrum raises on purpose, one root.

    LagrumError
    ├── ConfigurationError        what the operator wrote cannot work        (exit 2, HTTP 4xx)
    ├── PermissionsError          a key file others may read, a foreign owner (exit 2)
    ├── InputError                a delivery cannot be read at all            (exit 1, HTTP 400)
    ├── KeyUnavailableError       a key is destroyed, or no keyring has it
    ├── IntegrityError            bytes do not authenticate, counts differ    (exit 1)
    ├── RetentionError            the floor or the ceiling forbids it         (exit 1, HTTP 409)
    ├── ClockError                the clock cannot be trusted
    ├── ProcedureError            a step that the procedure does not allow    (exit 1, HTTP 403/409)
    ├── AuditError                an entry could not be made durable          (HTTP 503)
    ├── BusyError                 try again later                             (HTTP 503)
    └── NotFoundError             no such thing                               (HTTP 404)

A message never carries a number, an address, a key or a row's value: it names positions, fields and reasons.
"""

from __future__ import annotations


class LagrumError(Exception):
    """The root of the tree; `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigurationError(LagrumError):
    """What the operator wrote cannot work."""


class PermissionsError(LagrumError):
    """A secret file is readable by others, or belongs to somebody else."""


class InputError(LagrumError):
    """A delivery cannot be read at all; `position` is 1-based where it is known."""

    def __init__(self, message: str, *, position: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.position = position


class KeyUnavailableError(LagrumError):
    """The key is destroyed, or the keyring at hand does not hold it."""


class IntegrityError(LagrumError):
    """Bytes do not authenticate, or the store disagrees with itself."""


class RetentionError(LagrumError):
    """The floor or the ceiling forbids it."""


class ClockError(LagrumError):
    """The clock cannot be trusted."""


class ProcedureError(LagrumError):
    """A step that the disclosure or administration procedure does not allow; `reason` is a stable word."""

    def __init__(self, message: str, *, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class AuditError(LagrumError):
    """An audit entry could not be made durable: nothing leaves."""


class BusyError(LagrumError):
    """The store cannot take this now; the same call may succeed later."""


class NotFoundError(LagrumError):
    """No such thing."""
