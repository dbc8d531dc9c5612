"""What else than the own key recognises a person: a TLS client certificate, or a subject of the OpenID provider.

Both authenticate and neither signs: approvals stay under the person's own key.

(1) A custodian requests a binding, another confirms; both sign the digest of person, kind and value.
(2) One value is bound to one person at a time. A certificate is never another owner's
    (`api.people.client_certificates`); a subject can be bound anew once its binding is ended, as when its person is
    enrolled again with another key.
(3) One custodian ends a binding, at once: whoever finds a card or an account misused does not wait for another.
(4) Every step is one transaction of the document and its audit entry; the public part never names the value.

A subject may be an e-mail address or a personal number, so the document's id is keyed.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from api.people import client_certificates, persons
from api.people.custodians import act, acting, refuse_same, requested_of
from api.people.persons import Approval, Person
from api.people.signing import digest_of
from schemas.errors import ConfigurationError, NotFoundError, ProcedureError
from store import AuditEntry, Document, Put
from store.keys import KeyRef, derive

if TYPE_CHECKING:
    from store import Store

KIND: Final = "person-binding"
PENDING, ACTIVE, ENDED = "pending", "active", "ended"
BIND_REQUEST: Final = "person.bind.request"
BIND_CONFIRM: Final = "person.bind.confirm"
BIND_END: Final = "person.bind.end"
SUBJECT_CHARS_MAX: Final = 255
_REF: Final = KeyRef("documents", "", KIND, "shared")


class BindingKind(StrEnum):
    """What is bound."""

    CERTIFICATE = "certificate"
    SUBJECT = "subject"


@dataclass(frozen=True, slots=True)
class Binding:
    """One binding, as stored; `value` is a fingerprint (SHA-256, hex), or a subject of `issuer`."""

    binding_id: str
    person_id: str
    kind: BindingKind
    value: str
    issuer: str | None
    state: str
    acts: dict[str, Any]
    pending: dict[str, Any] | None = None
    revision: int = field(default=0, compare=False)

    @property
    def is_active(self) -> bool:
        """Whether it recognises its person."""
        return self.state == ACTIVE

    def digest(self, store_id: str) -> str:
        """Return the digest that both custodians sign."""
        return digest(store_id, self.person_id, self.kind, self.value, self.issuer)

    def to_body(self) -> dict[str, Any]:
        """Return the document's body."""
        return {
            "person": self.person_id,
            "kind": self.kind.value,
            "value": self.value,
            "issuer": self.issuer,
            "state": self.state,
            "acts": self.acts,
            "pending": self.pending,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return what custodians see."""
        waits = None
        if self.pending is not None:
            waits = {name: self.pending[name] for name in ("action", "by", "time")}
        return {
            "id": self.binding_id,
            "person": self.person_id,
            "kind": self.kind.value,
            "value": self.value,
            "issuer": self.issuer,
            "state": self.state,
            "pending": waits,
        }


def digest(store_id: str, person_id: str, kind: str, value: str, issuer: str | None) -> str:
    """Return the digest that both custodians sign."""
    return digest_of({"store": store_id, "person": person_id, "kind": kind, "value": value, "issuer": issuer})


def from_document(document: Document) -> Binding:
    """Return the binding of a stored document."""
    body = document.body
    return Binding(
        binding_id=document.id,
        person_id=body["person"],
        kind=BindingKind(body["kind"]),
        value=body["value"],
        issuer=body["issuer"],
        state=body["state"],
        acts=body["acts"],
        pending=body["pending"],
        revision=document.revision,
    )


def get(store: Store, binding_id: str) -> Binding:
    """Return a binding, whatever its state.

    Raises:
        NotFoundError: there is none of this id.
    """
    return from_document(store.documents.get(KIND, binding_id))


def list_of(store: Store, person_id: str) -> list[Binding]:
    """Return every binding of a person, the ended included."""
    return [item for item in map(from_document, store.documents.list(KIND)) if item.person_id == person_id]


def person_of(store: Store, kind: BindingKind, value: str, issuer: str | None = None) -> str | None:
    """Return the id of the person to whom a value is bound now; None when it is bound to nobody."""
    if not store.keyring.has(_REF):
        return None
    try:
        binding = get(store, _id_of(store, kind, value, issuer))
    except NotFoundError:
        return None
    return binding.person_id if binding.is_active else None


def request(
    store: Store,
    custodian_id: str,
    person_id: str,
    kind: BindingKind,
    value: str,
    approval: Approval,
    *,
    issuer: str | None = None,
) -> Binding:
    """Step (1), first half.

    Raises:
        ConfigurationError: the value does not have its form.
        ProcedureError: the person is not active, the value is bound or waits, a wrong signature.
        NotFoundError: there is no such person.
    """
    _check(kind, value, issuer)
    person = persons.get(store, person_id)
    if not person.is_active:
        raise ProcedureError("only an active person gets a binding", reason="state")
    signed = digest(store.store_id, person_id, kind, value, issuer)
    custodian = acting(store, custodian_id, approval, action=BIND_REQUEST, case=person_id, digest=signed)
    claimed = []
    if kind is BindingKind.CERTIFICATE:
        claimed = client_certificates.claims(store, f"person:{person_id}", [value])
    store.keyring.ensure([_REF])
    pending = act(BIND_REQUEST, custodian, approval, digest=signed)
    binding = Binding(_id_of(store, kind, value, issuer), person_id, kind, value, issuer, PENDING, {}, pending)
    binding = replace(binding, revision=_free_revision(store, binding))
    store.documents.commit([_put(binding), *claimed], [_entry(BIND_REQUEST, binding, custodian)])
    return get(store, binding.binding_id)


def confirm(store: Store, custodian_id: str, binding_id: str, approval: Approval) -> Binding:
    """Step (1), second half.

    Raises:
        ProcedureError: nothing is requested, the same custodian or key, a wrong signature, the person is revoked.
    """
    binding = get(store, binding_id)
    requested = requested_of(binding.pending, BIND_REQUEST)
    signed = binding.digest(store.store_id)
    custodian = acting(store, custodian_id, approval, action=BIND_CONFIRM, case=binding.person_id, digest=signed)
    refuse_same(store, custodian, requested)
    if not persons.get(store, binding.person_id).is_active:
        raise ProcedureError("only an active person gets a binding", reason="state")
    confirmed = act(BIND_CONFIRM, custodian, approval, digest=signed)
    after = replace(binding, state=ACTIVE, pending=None, acts={"requested": requested, "confirmed": confirmed})
    store.documents.commit([_put(after)], [_entry(BIND_CONFIRM, after, custodian, requested)])
    return get(store, binding_id)


def end(store: Store, custodian_id: str, binding_id: str, approval: Approval) -> Binding:
    """Step (3): end a binding, or withdraw one that is only requested.

    Raises:
        ProcedureError: it is ended already, or a wrong signature.
    """
    binding = get(store, binding_id)
    if binding.state == ENDED:
        raise ProcedureError("the binding is ended already", reason="state")
    signed = binding.digest(store.store_id)
    custodian = acting(store, custodian_id, approval, action=BIND_END, case=binding.person_id, digest=signed)
    ended = act(BIND_END, custodian, approval, digest=signed)
    after = replace(binding, state=ENDED, pending=None, acts=binding.acts | {"ended": ended})
    store.documents.commit([_put(after)], [_entry(BIND_END, after, custodian)])
    return get(store, binding_id)


def _check(kind: BindingKind, value: str, issuer: str | None) -> None:
    if kind is BindingKind.CERTIFICATE:
        if issuer is not None:
            raise ConfigurationError("a certificate is bound by its SHA-256 alone, without an issuer")
        return  # its form is for `client_certificates.claims` to say
    if not issuer or not 0 < len(value) <= SUBJECT_CHARS_MAX or not value.isprintable() or not value.isascii():
        raise ConfigurationError(f"a subject is 1 to {SUBJECT_CHARS_MAX} printable ASCII characters of an issuer")


def _free_revision(store: Store, binding: Binding) -> int:
    """Return the revision that a new binding of this value replaces; 0 when there is none."""
    try:
        before = get(store, binding.binding_id)
    except NotFoundError:
        return 0
    if before.state != ENDED:
        raise ProcedureError("this is bound to a person already, or waits for it", reason="bound")
    return before.revision


def _id_of(store: Store, kind: str, value: str, issuer: str | None) -> str:
    key = derive(store.keyring.key(_REF), "binding id")
    named = "\x00".join((kind, issuer or "", value)).encode()
    return "b-" + hmac.digest(key, named, "sha256")[:16].hex()


def _put(binding: Binding) -> Put:
    return Put(KIND, binding.binding_id, binding.to_body(), expect=binding.revision)


def _entry(action: str, binding: Binding, custodian: Person, requested: dict[str, Any] | None = None) -> AuditEntry:
    public: dict[str, Any] = {
        "person": binding.person_id,
        "binding": binding.binding_id,
        "kind": binding.kind.value,
        "by": custodian.person_id,
        "by_key_id": custodian.key_id,
    }
    if requested is not None:
        public["requested_by"] = requested["by"]
    return AuditEntry(kind=action, public=public, secret={"binding": binding.to_body()})
