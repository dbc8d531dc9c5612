"""How authorities come, change and go: every step takes two custodians.

(1) A custodian requests a registration, or other terms for an authority that stands; signed over the
    digest of all of it.
(2) The terms have their forms, the certificate takes encryption, the client certificates are nobody else's, and the one
    that we are to present at its endpoint is of our own key.
(3) Another custodian, another person with another key, confirms; signed over the same digest. Other terms replace the
    ones before as a whole; until then the old ones hold.
(4) A revocation takes the same two steps. From then on its officers can do nothing, and nothing is delivered to it.
(5) Any one custodian may withdraw what is only requested.
(6) Every step is one transaction of the document and its audit entry; the entry's public part names ids only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from api.disclosure.push_key import PushKey
from api.people import authorities, client_certificates
from api.people.authorities import ACTIVE, KIND, PENDING, REVOKED, Authority, Terms
from api.people.authority_endpoint import public_key_of
from api.people.custodians import act, acting, refuse_same, requested_of
from api.people.persons import Approval, Person
from api.people.signing import digest_of
from schemas.errors import ConfigurationError, ProcedureError
from store import AuditEntry, Put

if TYPE_CHECKING:
    from store import Store

REGISTER_REQUEST: Final = "authority.register.request"
REGISTER_CONFIRM: Final = "authority.register.confirm"
REVOKE_REQUEST: Final = "authority.revoke.request"
REVOKE_CONFIRM: Final = "authority.revoke.confirm"
WITHDRAW: Final = "authority.withdraw"
REASON_CHARS_MAX: Final = 500


def request_registration(store: Store, custodian_id: str, terms: Terms, approval: Approval) -> Authority:
    """Steps (1) and (2): put an authority down as pending, or other terms for one that stands.

    Raises:
        ProcedureError: something is pending or revoked, a client certificate is another's, a wrong signature.
        ConfigurationError, InputError: a field does not have its form.
    """
    terms = authorities.check_terms(terms, store.clock.now_us())
    digest = terms.digest(store.store_id)
    case = terms.authority_id
    custodian = acting(store, custodian_id, approval, action=REGISTER_REQUEST, case=case, digest=digest)
    _require_own_key(store, terms)
    before = authorities.find(store, case)
    pending = act(REGISTER_REQUEST, custodian, approval, digest=digest, terms=terms.to_body())
    if before is None:
        after = Authority(terms, PENDING, {}, pending)
    elif before.is_active and before.pending is None:
        after = replace(before, pending=pending)
    else:
        raise ProcedureError("the authority is revoked, or something waits for it already", reason="state")
    claimed = client_certificates.claims(store, f"authority:{case}", terms.fingerprints)
    _commit(store, [_put(after), *claimed], _entry(REGISTER_REQUEST, after, custodian, pending))
    return authorities.get(store, case)


def confirm_registration(store: Store, custodian_id: str, authority_id: str, approval: Approval) -> Authority:
    """Step (3): another custodian puts the requested terms in force.

    Raises:
        ProcedureError: nothing is requested, the same custodian or the same key again, a wrong signature.
    """
    authority = authorities.get(store, authority_id)
    requested = requested_of(authority.pending, REGISTER_REQUEST)
    terms = authorities.check_terms(authority.pending_terms(), store.clock.now_us())
    digest = terms.digest(store.store_id)
    custodian = acting(store, custodian_id, approval, action=REGISTER_CONFIRM, case=authority_id, digest=digest)
    refuse_same(store, custodian, requested)
    confirmed = act(REGISTER_CONFIRM, custodian, approval, digest=digest)
    signed = {"requested": {name: requested[name] for name in requested if name != "terms"}, "confirmed": confirmed}
    after = replace(authority, terms=terms, state=ACTIVE, pending=None, registered=signed)
    _commit(store, [_put(after)], _entry(REGISTER_CONFIRM, after, custodian, confirmed, requested))
    return authorities.get(store, authority_id)


def revocation_digest(store_id: str, authority_id: str, reason: str) -> str:
    """Return the digest that both custodians sign to revoke an authority."""
    return digest_of({"store": store_id, "authority": authority_id, "reason": reason})


def request_revocation(
    store: Store, custodian_id: str, authority_id: str, reason: str, approval: Approval
) -> Authority:
    """Step (4), first half; the authority stays in force until it is confirmed.

    Raises:
        ProcedureError: the authority is not active, something is pending, a wrong signature.
        ConfigurationError: the reason is empty or too long.
    """
    if not reason.strip() or len(reason) > REASON_CHARS_MAX:
        raise ConfigurationError(f"a reason has 1 to {REASON_CHARS_MAX} characters")
    authority = authorities.get(store, authority_id)
    if not authority.is_active or authority.pending is not None:
        raise ProcedureError("only an active authority with nothing pending can be revoked", reason="state")
    digest = revocation_digest(store.store_id, authority_id, reason)
    custodian = acting(store, custodian_id, approval, action=REVOKE_REQUEST, case=authority_id, digest=digest)
    pending = act(REVOKE_REQUEST, custodian, approval, digest=digest, reason=reason)
    _commit(store, [_put(replace(authority, pending=pending))], _entry(REVOKE_REQUEST, authority, custodian, pending))
    return authorities.get(store, authority_id)


def confirm_revocation(store: Store, custodian_id: str, authority_id: str, approval: Approval) -> Authority:
    """Step (4), second half; it takes effect with the next request of any of its officers.

    Raises:
        ProcedureError: nothing is requested, the same custodian or key, a wrong signature.
    """
    authority = authorities.get(store, authority_id)
    requested = requested_of(authority.pending, REVOKE_REQUEST)
    digest = revocation_digest(store.store_id, authority_id, requested["reason"])
    custodian = acting(store, custodian_id, approval, action=REVOKE_CONFIRM, case=authority_id, digest=digest)
    refuse_same(store, custodian, requested)
    confirmed = act(REVOKE_CONFIRM, custodian, approval, digest=digest)
    after = replace(authority, state=REVOKED, pending=None, revoked={"requested": requested, "confirmed": confirmed})
    _commit(store, [_put(after)], _entry(REVOKE_CONFIRM, after, custodian, confirmed, requested))
    return authorities.get(store, authority_id)


def withdraw_digest(store_id: str, authority_id: str, pending: dict[str, Any]) -> str:
    """Return the digest that a custodian signs to withdraw what is pending."""
    return digest_of(
        {"store": store_id, "authority": authority_id, "action": pending["action"], "time": pending["time"]}
    )


def withdraw(store: Store, custodian_id: str, authority_id: str, approval: Approval) -> Authority:
    """Step (5): a first registration leaves no document, other terms or a revocation are dropped.

    Raises:
        ProcedureError: nothing is pending, or a wrong signature.
    """
    authority = authorities.get(store, authority_id)
    if authority.pending is None:
        raise ProcedureError("nothing is pending for this authority", reason="state")
    digest = withdraw_digest(store.store_id, authority_id, authority.pending)
    custodian = acting(store, custodian_id, approval, action=WITHDRAW, case=authority_id, digest=digest)
    withdrawn = act(WITHDRAW, custodian, approval, digest=digest)
    is_new = authority.state == PENDING
    after = replace(authority, state=REVOKED if is_new else authority.state, pending=None)
    put = replace(_put(after), body=None) if is_new else _put(after)
    _commit(store, [put], _entry(WITHDRAW, after, custodian, withdrawn, authority.pending))
    return after


def _require_own_key(store: Store, terms: Terms) -> None:
    """What we present to an authority is a certificate of our own key."""
    if terms.endpoint_client is not None and public_key_of(terms.endpoint_client) != PushKey(store).public_bytes():
        raise ProcedureError(
            "the certificate that we are to present is of another key",
            reason="push-key",
            hint="the authority issues it for the request of: lagrum disclosure push-key",
        )


def _put(authority: Authority) -> Put:
    return Put(KIND, authority.authority_id, authority.to_body(), expect=authority.revision)


def _entry(
    action: str, authority: Authority, custodian: Person, done: dict[str, Any], requested: dict[str, Any] | None = None
) -> AuditEntry:
    public: dict[str, Any] = {
        "authority": authority.authority_id,
        "by": custodian.person_id,
        "by_key_id": custodian.key_id,
    }
    if requested is not None:
        public["requested_by"] = requested["by"]
    secret = {"authority": authority.to_body() | {"pending": None}, "act": done, "requested": requested}
    return AuditEntry(kind=action, public=public, secret=secret)


def _commit(store: Store, puts: Sequence[Put], entry: AuditEntry) -> None:
    store.documents.commit(puts, [entry])
