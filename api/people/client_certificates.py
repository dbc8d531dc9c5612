"""One client certificate belongs to one owner: a switch, a person or an authority's system.

A claim is a document of its own, so that two requests at once cannot both get a certificate; it is never given to
another owner, whatever becomes of the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from schemas.errors import ConfigurationError, NotFoundError, ProcedureError
from store import Put

if TYPE_CHECKING:
    from store import Store

KIND: Final = "client-certificate"
FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


def claims(store: Store, owner: str, fingerprints: Iterable[str]) -> list[Put]:
    """Return what puts the certificates down as `owner`'s; nothing for those that are.

    An owner is "authority:ID", "person:ID" or "switch": what a switch is called may change with its credential.

    Raises:
        ConfigurationError: a fingerprint is not 64 hex digits.
        ProcedureError: a certificate is, or was, another owner's.
    """
    puts = []
    for fingerprint in fingerprints:
        if not FINGERPRINT.fullmatch(fingerprint):
            raise ConfigurationError("a fingerprint is the SHA-256 of the certificate: 64 hex digits in lower case")
        held = owner_of(store, fingerprint)
        if held is None:
            puts.append(Put(KIND, fingerprint, {"owner": owner}, expect=0))
        elif held != owner:
            raise ProcedureError("this certificate is, or was, another owner's", reason="certificate-taken")
    return puts


def owner_of(store: Store, fingerprint: str) -> str | None:
    """Return whose certificate it is or was; None when nobody has it."""
    try:
        return str(store.documents.get(KIND, fingerprint).body["owner"])
    except NotFoundError:
        return None
