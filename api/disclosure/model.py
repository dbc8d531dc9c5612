"""What the procedure keeps: authorisation, task, delivery, and who did what. Values only, no I/O.

Each class turns into a document's body and back (`as_body`, `from_body`). Documents are sealed by the store; nothing
here is written anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Final, Self

from api.disclosure.states import AuthorisationState, Stage, TaskState, task_state
from api.people.signing import Statement, digest_of
from schemas.fields import Category
from schemas.legal_terms import Decider

AUTHORISATION: Final = "authorisation"
TASK: Final = "task"
DELIVERY: Final = "delivery"
DECISION: Final = "decision"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts now: person, key and roles as the door established them."""

    person_id: str
    key_id: str
    roles: frozenset[str]

    @property
    def signatory(self) -> Signatory:
        """What is recorded of the actor."""
        return Signatory(self.person_id, self.key_id)


@dataclass(frozen=True, slots=True)
class Signatory:
    """Who acted, under which key."""

    person_id: str
    key_id: str

    def as_body(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"person_id": self.person_id, "key_id": self.key_id}

    @classmethod
    def from_body(cls, body: Mapping[str, Any] | None) -> Self | None:
        """Return the value of a JSON form; None of None."""
        return None if body is None else cls(**body)


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """One target: identifier kind, normalised value, and the order's own way of writing it.

    `port` narrows an address behind a translator to one of its users; None takes every port. `held_on` (ISO date, UTC)
    narrows it to the subscription of that day; None takes every subscriber, kept apart. `tenant` says whose account it
    is, or in whose network an address is, "" nobody's but the operator's; None is refused where several have an account
    of that name, and for an address that every network gives out anew. `element` narrows an address to one network
    element's records; None takes all, and is refused where an inner address is in several VRFs.
    """

    kind: str
    value: str
    as_written: str
    port: int | None = None
    held_on: str | None = None
    tenant: str | None = None
    element: str | None = None

    def __repr__(self) -> str:
        return f"Target(kind={self.kind!r})"

    @property
    def sought(self) -> tuple[str, str, int | None, str | None, str | None, str | None]:
        """What is searched for, however it was written."""
        return self.kind, self.value, self.port, self.held_on, self.tenant, self.element

    def as_body(self) -> dict[str, Any]:
        """Return the JSON form."""
        body = {"kind": self.kind, "value": self.value, "as_written": self.as_written, "port": self.port}
        narrowed = {"held_on": self.held_on, "tenant": self.tenant, "element": self.element}
        return body | {name: value for name, value in narrowed.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open stretch of time in µs, UTC; a record counts when it overlaps it."""

    start_us: int
    end_us: int

    def as_body(self) -> dict[str, int]:
        """Return the JSON form."""
        return {"start_us": self.start_us, "end_us": self.end_us}

    def contains(self, other: Window) -> bool:
        """Tell whether `other` lies inside."""
        return self.start_us <= other.start_us and other.end_us <= self.end_us


Scope = tuple[tuple[Target, ...], Window, frozenset[Category]]
"""What is asked for, or may be."""
_SCOPE: Final = ("targets", "window", "categories")


@dataclass(frozen=True, slots=True)
class Approval:
    """A signed statement: what was signed, the signature (base64), and by whom."""

    statement: Statement
    signature: str
    by: Signatory

    def as_body(self) -> dict[str, Any]:
        """Return the JSON form."""
        said = self.statement
        terms = {"action": said.action, "case": said.case, "digest": said.digest, "time": said.time}
        return {"statement": terms, "signature": self.signature, "by": self.by.as_body()}

    @classmethod
    def from_body(cls, body: Mapping[str, Any] | None) -> Self | None:
        """Return the value of a JSON form; None of None."""
        if body is None:
            return None
        return cls(Statement(**body["statement"]), body["signature"], Signatory(**body["by"]))


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: its reference, its day, whose it is, the law of that day, its end, and the document that says so.

    `document` is the id under which the document is kept, `sha256` of its octets.
    """

    reference: str
    decided_on: date
    decided_by: Decider
    basis_version: int
    expires_at_us: int
    document: str
    media_type: str
    size_bytes: int
    sha256: str

    def as_body(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _body(self)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Return the value of a JSON form."""
        return cls(**{**body, **_decided(body)})


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The regular decision that confirms an emergency approval, and who brought it.

    `granted` is what it grants of the emergency's scope; None is all.
    """

    decision: Decision
    by: Signatory
    at_us: int
    granted: Scope | None = None

    def as_body(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _body(self)

    @classmethod
    def from_body(cls, body: Mapping[str, Any] | None) -> Self | None:
        """Return the value of a JSON form; None of None."""
        if body is None:
            return None
        granted = body["granted"] and _scope(dict(zip(_SCOPE, body["granted"], strict=True)))
        return cls(Decision.from_body(body["decision"]), Signatory(**body["by"]), body["at_us"], granted)


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why an authorisation rests; only the side that suspended it lets it go on."""

    by: Signatory
    by_authority: bool
    reason: str
    at_us: int

    def as_body(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _body(self)

    @classmethod
    def from_body(cls, body: Mapping[str, Any] | None) -> Self | None:
        """Return the value of a JSON form; None of None."""
        return None if body is None else cls(**{**body, "by": Signatory(**body["by"])})


@dataclass(frozen=True, slots=True, repr=False)
class CallBack:
    """A call to the authority's registered number, before an emergency is believed: who spoke, with whom, when."""

    spoken_with: str
    number: str
    called_at_us: int
    by: Signatory

    def as_body(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _body(self)

    @classmethod
    def from_body(cls, body: Mapping[str, Any] | None) -> Self | None:
        """Return the value of a JSON form; None of None."""
        return None if body is None else cls(**{**body, "by": Signatory(**body["by"])})


@dataclass(frozen=True, slots=True)
class Authorisation:
    """What a court, prosecutor or authority decided, as the officer filed it.

    `authority` is the id of a registered one. `decisions` begins with the decision that was filed and ends with the one
    in force, whose reference, day, decider, version and end stand in the other fields too. `confirm_by_us` is when an
    emergency approval lapses without its confirmation.
    """

    id: str
    state: AuthorisationState
    basis_id: str
    basis_version: int
    decision_reference: str
    decided_on: date
    decided_by: Decider
    authority: str
    country: str
    targets: tuple[Target, ...]
    window: Window
    categories: frozenset[Category]
    expires_at_us: int
    officer: Signatory
    filed_at_us: int
    authority_name: str = ""
    decisions: tuple[Decision, ...] = ()
    emergency: bool = False
    is_test: bool = False
    confirm_by_us: int | None = None
    confirmation: Confirmation | None = None
    suspension: Suspension | None = None
    preservation: str | None = None
    """Reference of the preservation order whose records it reaches too."""

    def as_body(self) -> dict[str, Any]:
        """Return the document's body."""
        return _body(self)

    @property
    def awaits_confirmation(self) -> bool:
        """Whether it is an emergency that the regular decider has not confirmed."""
        return self.confirm_by_us is not None and self.confirmation is None

    @property
    def scope(self) -> Scope:
        """What it reaches: all that it names, or what the confirmation of an emergency grants of that."""
        granted = self.confirmation and self.confirmation.granted
        return granted or (self.targets, self.window, self.categories)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Authorisation:
        """Return the authorisation of a document's body."""
        return cls(
            **{
                **body,
                "state": AuthorisationState(body["state"]),
                **_decided(body),
                **dict(zip(_SCOPE, _scope(body), strict=True)),
                "officer": Signatory(**body["officer"]),
                "decisions": tuple(Decision.from_body(item) for item in body["decisions"]),
                "confirmation": Confirmation.from_body(body["confirmation"]),
                "suspension": Suspension.from_body(body["suspension"]),
            }
        )

    def moved(self, state: AuthorisationState) -> Authorisation:
        """Return the same authorisation in another state."""
        return replace(self, state=state)


@dataclass(frozen=True, slots=True)
class Task:
    """One search under an authorisation, from registration to delivery.

    `salt` keeps the request digest from being guessed back to the target: the digest stands in signed statements and
    in the public part of audit entries.
    """

    id: str
    authorisation_id: str
    stage: Stage
    targets: tuple[Target, ...]
    window: Window
    categories: frozenset[Category]
    salt: str
    officer: Signatory
    registered_at_us: int
    due_at_us: int | None = None
    case_handler: Signatory | None = None
    request_approval: Approval | None = None
    release_approval: Approval | None = None
    delivery_id: str | None = None
    result_digest: str | None = None
    records: int | None = None
    runs: int = 0
    reason: str | None = None
    call_back: CallBack | None = None
    preflights: int = 0

    def as_body(self) -> dict[str, Any]:
        """Return the document's body."""
        return _body(self)

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Task:
        """Return the task of a document's body."""
        return cls(
            **{
                **body,
                "stage": Stage(body["stage"]),
                **dict(zip(_SCOPE, _scope(body), strict=True)),
                "officer": Signatory(**body["officer"]),
                "case_handler": Signatory.from_body(body["case_handler"]),
                "request_approval": Approval.from_body(body["request_approval"]),
                "release_approval": Approval.from_body(body["release_approval"]),
                "call_back": CallBack.from_body(body["call_back"]),
            }
        )

    @property
    def state(self) -> TaskState:
        """The standard's state."""
        return task_state(self.stage, found=self.records != 0)

    @property
    def approver(self) -> Signatory | None:
        """Who approved the request."""
        return self.request_approval.by if self.request_approval else None


_AFTER_APPROVAL: Final = ("state", "confirmation", "suspension")
_TASK_TERMS: Final = ("id", "targets", "window", "categories", "salt", "officer", "call_back")


def order_of(authorisation: Authorisation, task: Task) -> dict[str, Any]:
    """Return exactly what an approver approves: the order's terms, its documents' digests, the task's, the persons.

    What may come after an approval without a new one is left out: state, suspension, and an emergency's confirmation.
    """
    order = {name: value for name, value in authorisation.as_body().items() if name not in _AFTER_APPROVAL}
    terms = {name: task.as_body()[name] for name in _TASK_TERMS}
    handler = task.case_handler.as_body() if task.case_handler else None
    return {"authorisation": order, "task": terms, "case_handler": handler}


def request_digest(authorisation: Authorisation, task: Task) -> str:
    """Return the digest that a request approval names."""
    return digest_of(order_of(authorisation, task))


def _body(value: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Signatory | Target | Window | Approval | Decision | Confirmation | Suspension | CallBack):
        return value.as_body()
    if isinstance(value, frozenset):
        return sorted(str(item) for item in value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, str) else value


def _decided(body: Mapping[str, Any]) -> dict[str, Any]:
    return {"decided_on": date.fromisoformat(body["decided_on"]), "decided_by": Decider(body["decided_by"])}


def _scope(body: Mapping[str, Any]) -> Scope:
    targets = tuple(Target(**item) for item in body["targets"])
    return targets, Window(**body["window"]), frozenset(Category(item) for item in body["categories"])
