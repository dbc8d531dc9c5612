"""Who says again what was found right just now: recognised without a thread and without the steps of a first attempt.

A switch sends the same secret with every push. What is said anew, wrong or held back goes the long way
(`api.people.authenticator`), which also counts and logs it.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from api.people.authenticator import Authenticator
    from api.people.credentials import Credential

HEADER_CHARS_MAX: Final = 1024


def credential_of(authenticator: Authenticator, authorization: str, host: str) -> Credential | None:
    """Return the credential whose secret an Authorization header holds; None when it takes more to tell."""
    claim = claim_of(authorization)
    if claim is None or authenticator.throttle.locked_seconds((claim[0], host)):
        return None
    found = authenticator.credentials.proven(*claim)
    if found is not None:
        authenticator.throttle.succeeded((claim[0], host))
    return found


def claim_of(authorization: str) -> tuple[str, str] | None:
    """Return the id and the secret of a header that has them in the documented form, else None."""
    scheme, _, rest = authorization.partition(" ")
    scheme = scheme.lower()
    if len(authorization) > HEADER_CHARS_MAX:
        return None
    if scheme == "basic":
        try:
            user, colon, password = b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")
        except (Base64Error, ValueError):
            return None
    elif scheme == "bearer" and rest.count(".") == 1:
        user, colon, password = rest.strip().partition(".")
    else:
        return None
    return (user, password) if colon else None
