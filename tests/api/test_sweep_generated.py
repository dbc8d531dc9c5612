"""Generated requests to every documented route, by everybody: no 5xx, and nobody reads what is not theirs to read.

The store holds records with planted numbers, and cases at every stage whose target and documents are planted too.
Requests are made from the OpenAPI document by schemathesis, identifiers of real cases put in their paths; bodies of
HI-1 are messages, whole ones and damaged ones. Answers are searched for what was planted: parties of records leave in
envelopes only, so nobody finds them; the target is for those who handle the case and for the auditor.
"""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import schemathesis
from httpx import Response
from hypothesis import HealthCheck, Phase, given, seed, settings

from api.handover import ts103120 as hi1
from api.handover.ts103120_write import write_request
from schemas.fields import FIELDS
from store.clock import to_text
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, PEOPLE, TARGET, Court, peopled
from tests.api.handover.test_retained import ACKNOWLEDGED, CANCEL, STATUS, wanted
from tests.api.handover.test_retained import message as retained_message
from tests.api.test_sweep import METHODS
from tests.api.world import World, make_world
from tests.conftest import FixedClock
from tests.store.records import CALLING, NOW_US

PARTY: Final = "46701749999"
"""Called party of every record that does not call the target."""
NATIONAL: Final = "070-174 00 07"
SECRET_OF_CASE: Final = (TARGET, NATIONAL, NATIONAL.replace("-", "").replace(" ", ""), "B 1234-26")
PARTIES: Final = (PARTY, *(str(CALLING + number)[1:] for number in range(100) if str(CALLING + number)[1:] != TARGET))
INSIDERS: Final = {"officer-1", "handler-1", "handler-2", "approver-1", "approver-2", "auditor-1"}
NOBODY, SWITCH = "nobody", "switch"
CALLERS: Final = (NOBODY, SWITCH, *PEOPLE, "custodian-2", "officer-9")
CLOSING: Final = {("delete", "/v1/sessions"), ("delete", "/v1/sessions/current")}
SHORT, LONG = 1, 6
assert {field.name for field in FIELDS} >= {"calling_number", "called_number"}


class Sweep:
    """The service with something to hide, and everybody who may ask."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.court: Court = peopled(world.store, world.clock)
        self.court.enrol("officer-9", "officer", authority=OTHER_AUTHORITY)
        world.keys.update(self.court.keys)
        self.switch = world.switch("pbx-east")
        world.deliver(self.switch)
        court = self.court
        fetched = court.released()
        court.deliver(fetched.id)
        self.tasks = [
            court.register(court.file()).id,
            court.checked().id,
            court.approved().id,
            court.run(court.approved().id).id,
            court.released().id,
            fetched.id,
        ]
        self.orders = [item.id for item in court.procedure.casebook.authorisations()]

    def headers(self, caller: str) -> dict[str, str]:
        if caller == NOBODY:
            return {}
        return self.switch if caller == SWITCH else self.world.as_person(caller)

    def send(self, caller: str, method: str, path: str, **more: Any) -> Response:
        """Send, log in again where somebody was logged out, and look at the answer."""
        extra = more.pop("headers", {})
        for _ in range(2):
            answer = self.world.http.request(method, path, headers={**extra, **self.headers(caller)}, **more)
            if answer.status_code != 401 or caller in (NOBODY, SWITCH):
                break
            self.world.tokens.pop(caller, None)
        self.look(caller, method, path, answer)
        return answer

    def look(self, caller: str, method: str, path: str, answer: Response) -> None:
        told = answer.text + str(dict(answer.headers))
        assert answer.status_code < 500, (caller, method, path, answer.status_code)
        assert not [item for item in PARTIES if item in told], (caller, method, path)
        files_an_own_order = method == "POST" and caller.startswith("officer")
        if caller not in INSIDERS and not files_an_own_order:
            assert not [item for item in SECRET_OF_CASE if item in told], (caller, method, path)

    def filled(self, name: str, chance: random.Random) -> str:
        """Return a value for a parameter of a path: mostly one that there is."""
        if name in ("task_id", "task"):
            return chance.choice(self.tasks)
        if name in ("case_id", "case", "authorisation_id"):
            return chance.choice(self.orders if name == "authorisation_id" else [*self.tasks, *self.orders])
        known = {"person_id": "handler-1", "authority_id": AUTHORITY, "name": "pbx-east"}
        return known.get(name, "x-1")

    def messages(self, chance: random.Random, caller: str) -> Iterator[bytes]:
        """Yield HI-1 messages: of the own authority and of another, on everything, whole and damaged."""
        space = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:lagrum:{self.world.store.store_id}")
        found = [item.id for item, _ in self.court.procedure.casebook.deliveries()]
        names = [*self.tasks, *self.orders, *(f"{item}/0" for item in found), *(f"{item}/1" for item in found)]
        gets = [hi1.Action(at, "GET", identifier=str(uuid.uuid5(space, name))) for at, name in enumerate(names)]
        cancel = hi1.Word("ETSI", "LDTaskDesiredStatus", "Suspended")
        update = hi1.TaskObject(str(uuid.uuid5(space, self.tasks[0])), desired_status=cancel)
        for authority in (AUTHORITY, OTHER_AUTHORITY):
            head = hi1.Head(
                hi1.Endpoint("SE", authority.upper()),
                hi1.Endpoint("SE", "operator"),
                str(uuid.uuid4()),
                to_text(NOW_US),
            )
            known = str(uuid.uuid5(space, found[0]))
            back = hi1.DeliveryObject(known, self.tasks[-1], known, 0, True, b"{}", "", manifest=hi1.ACKNOWLEDGEMENT_ID)
            deliver = [hi1.Action(0, "DELIVER", known, back)]
            for actions in (gets, [hi1.Action(0, "LIST")], [hi1.Action(0, "UPDATE", thing=update)], deliver):
                message = write_request(head, actions)
                yield message
                at = chance.randrange(len(message))
                yield message[:at]
                yield message[:at] + chance.randbytes(3) + message[at + 3 :]
        yield b"<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><a>&e;</a>"
        yield b"<a>" * 100_000
        yield chance.randbytes(200)

    def retained(self, chance: random.Random) -> Iterator[bytes]:
        """Yield messages of TS 102 657: every kind, for every order and task, whole and damaged."""
        for authority in (AUTHORITY, OTHER_AUTHORITY):
            requests = [wanted(case) for case in (*self.orders, *self.tasks)]
            for payload in (*requests, STATUS, CANCEL, ACKNOWLEDGED, "<responseMessage/>"):
                number = chance.choice([*self.tasks, f"N-{chance.randrange(4)}"])
                message = retained_message(payload, number, authority.upper())
                yield message
                at = chance.randrange(len(message))
                yield message[:at] + chance.randbytes(3) + message[at + 3 :]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweep]:
    with make_world(tmp_path_factory.mktemp("sweep"), FixedClock(NOW_US)) as world:
        yield Sweep(world)


def run(sweep: Sweep, examples: int, number: int) -> set[tuple[str, str, int]]:
    """Send `examples` requests of every operation by every caller; return (caller, operation, status)."""
    chance = random.Random(number)
    seen: set[tuple[str, str, int]] = set()
    for found in schemathesis.openapi.from_dict(sweep.world.http.app.openapi()).get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]
        if operation.method.lower() not in METHODS or (operation.method.lower(), operation.path) in CLOSING:
            continue

        def probe(case: Any, operation: Any = operation) -> None:
            request = asked(sweep, case, operation.path, chance)
            for caller in CALLERS if request else ():
                answer = sweep.send(caller, operation.method.upper(), **(request or {}))
                seen.add((caller, f"{operation.method.lower()} {operation.path}", answer.status_code))

        hypothesis(probe, operation.as_strategy(), examples, number)
    return seen


def hypothesis(probe: Callable[[Any], None], cases: Any, examples: int, number: int) -> None:
    """Call `probe` with so many cases, the same ones for a number."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def each(case: Any) -> None:
        probe(case)

    each()


def asked(sweep: Sweep, case: Any, path: str, chance: random.Random) -> dict[str, Any] | None:
    """Return a case's request; None where its path cannot be written."""
    names = list(case.path_parameters or {})
    made = chance.random() < 0.2
    values = {name: str(case.path_parameters[name]) if made else sweep.filled(name, chance) for name in names}
    try:
        target = path.format(**values)
        target.encode("ascii")
    except (KeyError, IndexError, ValueError):
        return None
    query = {str(key): str(value) for key, value in (case.query or {}).items() if str(value).isprintable()}
    body = case.body if isinstance(case.body, dict | list | str | int) and case.method != "GET" else None
    return {"path": target, "params": query} | ({} if body is None else {"json": body})


def exchanged(sweep: Sweep, number: int) -> dict[str, set[int]]:
    """Send messages of both standards by every caller; return the statuses by caller."""
    chance = random.Random(number)
    found: dict[str, set[int]] = {caller: set() for caller in CALLERS}
    for caller in CALLERS:
        sent = [("/v1/hi1", message) for message in sweep.messages(chance, caller)]
        for path, message in sent + [("/v1/retained-data", message) for message in sweep.retained(chance)]:
            answer = sweep.send(caller, "POST", path, content=message, headers={"Content-Type": "application/xml"})
            found[caller].add(answer.status_code)
            if caller not in INSIDERS:
                assert not [item for item in SECRET_OF_CASE if item in answer.text], caller
                assert b"EncryptedData" not in answer.content and "cover.p7m" not in answer.text
    return found


def test_generated_requests_by_everybody_find_no_fault_and_no_leak(sweep: Sweep) -> None:
    seen = run(sweep, SHORT, 20261122)
    assert len({(caller, operation) for caller, operation, _ in seen}) > len(CALLERS) * 40
    assert {status for caller, _, status in seen if caller == NOBODY} <= {200, 401}
    assert {operation for caller, operation, status in seen if caller == NOBODY and status == 200} <= {"get /v1/health"}
    assert any(status == 200 for caller, operation, status in seen if caller == "handler-1" and "cases" in operation)


def test_messages_by_everybody_find_no_fault_and_no_leak(sweep: Sweep) -> None:
    found = exchanged(sweep, 20261122)
    assert found[NOBODY] == {401}
    assert found[SWITCH] == {403}
    officers = {"officer-1", "officer-2", "officer-9"}
    assert all(200 in found[caller] for caller in officers)
    assert not [caller for caller in CALLERS if caller not in officers and 200 in found[caller]]


def test_the_search_for_what_is_planted_finds_it(sweep: Sweep) -> None:
    """What answers are searched for is in the store, in the case, and in what leaves for the authority."""
    shown = sweep.world.http.get(f"/v1/disclosure/cases/{sweep.tasks[0]}", headers=sweep.headers("handler-1"))
    assert TARGET in shown.text
    with pytest.raises(AssertionError):
        sweep.look("custodian-1", "GET", "/", shown)
    _, records = sweep.court.open(sweep.court.deliver(sweep.tasks[-1]))
    assert PARTY in str(records)
    with pytest.raises(AssertionError):
        sweep.look("officer-1", "GET", "/", Response(200, text=str(records)))
    with pytest.raises(AssertionError):
        sweep.look("officer-1", "GET", "/", Response(500))


@pytest.mark.torture
def test_many_generated_requests_by_everybody_find_no_fault_and_no_leak(sweep: Sweep) -> None:
    for number in range(int(os.environ.get("LAGRUM_SWEEPS", "4"))):
        run(sweep, LONG, number)
        exchanged(sweep, number)
