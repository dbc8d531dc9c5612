"""Who a result is enclosed for: the order's authority, as the register has it now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography import x509

from api.disclosure.model import Authorisation
from api.disclosure.package import FILES
from api.people import authorities
from store import Store

_PEOPLE: Final = ("csv", "ndjson")


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who a result is for, as the register of authorities tells now."""

    authority: str
    name: str
    country: str
    organisation: str
    formats: tuple[str, ...]
    certificate: x509.Certificate

    @property
    def files(self) -> tuple[str, ...]:
        """The forms of `package.FILES` that it takes; who names none gets those for people."""
        taken = tuple(name for name in FILES if name in self.formats)
        return taken or _PEOPLE


def recipient_of(store: Store, authorisation: Authorisation, now_us: int) -> Recipient:
    """Return the recipient of an authorisation's results.

    Raises:
        ProcedureError: reason `authority` (not registered, or not in force) or `certificate-expired`.
    """
    authority = authorities.require(store, authorisation.authority, now_us)
    terms = authority.terms
    return Recipient(
        authority.authority_id,
        terms.name,
        terms.country,
        terms.organisation,
        tuple(str(form) for form in terms.formats),
        authorities.encryption_certificate(authority, now_us),
    )
