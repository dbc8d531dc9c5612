"""What is released is pushed, to a real TLS server that fails, hangs, cuts, answers wrong and restarts; taken once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.disclosure import package, views
from api.disclosure.deliveries import Delivery
from api.disclosure.push_key import PushKey
from api.disclosure.push_outbox import push_of, waiting
from api.disclosure.pushes import BACK_OFF_SECONDS_MAX, BACK_OFF_SECONDS_MIN, Push, back_off_us
from api.disclosure.pushing import Pushing
from api.disclosure.states import Stage
from api.disclosure.worklist import worklist
from api.handover.envelope import disclose
from api.handover.push_line import Limits
from api.people import authorities
from api.pusher import Pusher
from store import Put, Store
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, TARGET, Court, court
from tests.api.handover.authority import side
from tests.api.handover.etsi import checked
from tests.api.handover.receiver import Office, Receiver, receiving
from tests.patience import PATIENCE_S, until

__all__ = ["court"]

PATIENT = Limits(connect_seconds=PATIENCE_S, idle_seconds=PATIENCE_S, request_seconds=PATIENCE_S)
HASTY = replace(PATIENT, idle_seconds=0.5, request_seconds=0.6)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.fixture
def there(office: Office) -> Iterator[Receiver]:
    with receiving(office) as found:
        yield found


def register(court: Court, office: Office, url: str | None, of: str = AUTHORITY, **changes: Any) -> None:
    document = court.store.documents.get(authorities.KIND, of)
    client = office.issued(PushKey(court.store).as_dict()["request"])
    endpoint: dict[str, Any] = {"endpoint": url, "endpoint_ca": office.pem, "endpoint_client": client}
    endpoint |= {"fingerprints": ("ab" * 32,)}
    terms = replace(authorities.from_document(document).terms, **(endpoint | changes))
    if terms.endpoint is not None:
        terms = authorities.check_terms(terms, court.clock.now_us())
    put = Put(authorities.KIND, of, authorities.Authority(terms, authorities.ACTIVE, {}).to_body())
    court.store.documents.commit([put])


def pusher(court: Court, limits: Limits = PATIENT) -> Pusher:
    return Pusher(court.store, limits)


def held(court: Court, task_id: str) -> Delivery:
    return court.procedure.casebook.delivery(court.procedure.casebook.task(task_id)[0].delivery_id or "")[0]


def told(court: Court, task_id: str) -> dict[str, Any]:
    found = push_of(court.store, held(court, task_id))
    assert found is not None
    return found


def kinds(court: Court, start: int) -> list[str]:
    return [entry.kind.removeprefix("disclosure.") for entry in court.log(start)]


def later(court: Court) -> None:
    court.clock.advance(seconds=BACK_OFF_SECONDS_MAX)


def test_every_envelope_is_pushed_in_sequence_once_and_is_what_a_fetch_gives(
    court: Court, office: Office, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "PART_RECORDS", 20)
    register(court, office, there.url)
    task = court.released()
    start = court.store.audit.size
    parts = len(held(court, task.id).parts)
    assert parts > 1
    assert told(court, task.id) | {"since": ""} == {
        "state": "waiting",
        "envelopes": f"0 of {parts + 1}",
        "attempts": 0,
        "reason": None,
        "since": "",
        "ended_at": None,
        "next_at": told(court, task.id)["since"],
    }
    assert pusher(court).look() == parts + 1
    assert kinds(court, start) == ["pushed", "push-acknowledged"] * (parts + 1)
    things = list(there.kept.values())
    assert [thing.sequence for thing in things] == list(range(parts + 1))
    assert [thing.last for thing in things] == [False] * parts + [True]
    assert {thing.ldid for thing in things} == {task.id}
    assert len({thing.delivery for thing in things}) == 1
    polled = dict(court.procedure.vault.envelopes(held(court, task.id)))
    assert there.envelopes() == list(polled.values())
    ours = side(AUTHORITY)
    assert b"manifest.json" in disclose(things[0].envelope, ours.certificate, ours.key)
    # Ciphertext, and nothing of the case in a URL or a header.
    for (path, headers), request in zip(there.heads, there.requests, strict=True):
        assert path == "/hi1"
        assert set(headers) == {"Host", "Accept-Encoding", "Content-Length", "Content-Type", "Accept", "Connection"}
        assert TARGET.encode() not in checked(request)
    assert set(there.clients) == {"operator"}
    assert told(court, task.id)["state"] == "acknowledged"
    assert told(court, task.id)["envelopes"] == f"{parts + 1} of {parts + 1}"
    assert waiting(court.store) == []
    assert court.procedure.casebook.task(task.id)[0].stage is Stage.DELIVERED
    assert len(held(court, task.id).fetched) == 1
    assert held(court, task.id).acknowledged_at_us is None, "the officer's acknowledgement is another thing"
    assert pusher(court).look() == 0
    assert court.open(court.deliver(task.id))[1], "polling goes on"


WRONG = {
    "503": "status-503",
    "404": "status-404",
    "302": "status-302",
    "307": "status-307",
    "hang": "timeout",
    "drip": "timeout",
    "cut": "cut",
    "cut after": "cut",
    "page": "no-answer",
    "nothing": "no-answer",
    "entity": "no-answer",
    "much": "too-long",
    "other transaction": "no-answer",
    "other object": "no-answer",
    "other action": "no-answer",
    "refuses": "refused-42",
    "refuses all": "no-answer",
}


def test_whatever_an_endpoint_does_wrong_it_has_every_envelope_once_in_the_end(
    court: Court, office: Office, there: Receiver
) -> None:
    register(court, office, there.url)
    task = court.released()
    for number, (plan, word) in enumerate(WRONG.items(), start=1):
        there.plan = [plan]
        start = court.store.audit.size
        assert pusher(court, HASTY if word == "timeout" else PATIENT).look() == 0, plan
        until(lambda: not there.plan, "the request does not come")  # the endpoint may be later than who gave it up
        shown = told(court, task.id)
        assert (shown["state"], shown["reason"], shown["attempts"]) == ("waiting", word, number), plan
        assert kinds(court, start)[0] == "pushed", "what may have left is logged"
        assert pusher(court).look() == 0, "it waits"
        assert len(there.requests) == number, "no redirect is followed, nothing is repeated at once"
        later(court)
    assert "push-undelivered" in kinds(court, 0)
    assert kinds(court, 0).count("push-undelivered") == 1
    assert pusher(court).look() == 2
    assert told(court, task.id)["state"] == "acknowledged"
    assert [thing.sequence for thing in there.kept.values()] == [0, 1]
    # The same envelope came under one identifier, one transaction and with the same octets each time.
    first = there.requests[: len(WRONG) + 1]
    assert len({request.partition(b"<core:Timestamp>")[0] for request in first}) == 1
    assert len({request.partition(b"</core:Timestamp>")[2] for request in first}) == 1


def test_a_push_goes_on_after_a_restart_of_either_side(court: Court, office: Office, tmp_path: Path) -> None:
    with receiving(office) as there:
        register(court, office, there.url)
        task = court.released()
        there.plan = ["take", "cut after"]
        assert pusher(court).look() == 1
        port, kept = there.port, there.kept
    later(court)
    assert pusher(court).look() == 0
    assert told(court, task.id)["reason"] == "unreached"
    later(court)
    court.store.close()
    with Store.open(court.store.root, clock=court.clock) as store, receiving(office, port=port) as there:
        again = replace(court, store=store)
        there.kept = kept
        assert told(again, task.id)["envelopes"] == "1 of 2"
        assert pusher(again).look() == 1
        assert told(again, task.id)["state"] == "acknowledged"
        assert len(there.requests) == 1
        assert [thing.sequence for thing in there.kept.values()] == [0, 1]


def test_a_crash_between_an_answer_and_its_entry_repeats_the_envelope_and_not_its_effect(
    court: Court, office: Office, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(court, office, there.url)
    task = court.released()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Pushing, "_taken", crash)
        with pytest.raises(KeyboardInterrupt):
            pusher(court).look()
    assert told(court, task.id)["envelopes"] == "0 of 2"
    assert len(there.kept) == 1
    assert pusher(court).look() == 2
    assert len(there.requests) == 3
    assert len(there.kept) == 2


def test_a_second_release_brings_its_cover_as_a_later_generation(court: Court, office: Office, there: Receiver) -> None:
    register(court, office, there.url)
    task = court.released()
    assert pusher(court).look() == 2
    court.release(task.id)
    assert pusher(court).look() == 2
    assert sorted((thing.sequence, thing.generation) for thing in there.kept.values()) == [(0, 1), (0, 2), (1, 1)]


def test_the_worklist_the_case_and_the_metrics_tell(court: Court, office: Office, there: Receiver) -> None:
    register(court, office, there.url)
    task = court.released()
    there.plan = ["503"]
    looks = pusher(court)
    looks.look()
    court.clock.advance(seconds=10)
    gauges = {metric.name: metric.samples[0].value for metric in looks.collect()}
    assert gauges == {
        "lagrum_disclosure_pushes": 1.0,
        "lagrum_disclosure_push_oldest_seconds": 10.0,
        "lagrum_disclosure_pushes_damaged": 0.0,
    }
    for person in ("officer-1", "handler-1"):
        items = {item["case"]: item["push"] for item in worklist(court.store, court.actor(person))["items"]}
        assert items[task.id] == "status-503"
        assert views.show(court.store, court.actor(person), task.id)["push"]["reason"] == "status-503"
    court.clock.advance(seconds=BACK_OFF_SECONDS_MIN)
    looks.look()
    looks.look()
    assert {metric.name: metric.samples[0].value for metric in looks.collect()} == dict.fromkeys(gauges, 0.0)
    item = worklist(court.store, court.actor("officer-1"))["items"][0]
    assert (item["clock"], item["push"]) == ("acknowledgement", None)


def test_an_authority_that_hangs_delays_no_other(
    court: Court, office: Office, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.pusher.AGAIN_SECONDS", 0.02)
    with receiving(office) as other:
        register(court, office, there.url)
        court.enrol("officer-3", "officer", authority=OTHER_AUTHORITY)
        register(court, office, other.url, of=OTHER_AUTHORITY)
        slow = court.released()
        there.plan = ["hang"]
        looks = pusher(court)
        with ThreadPoolExecutor(1) as aside:
            round_of_it = aside.submit(looks.look)
            until(lambda: there.requests, "nothing is pushed")
            # Released while the round runs: the other authority has it before the round ends.
            task = court.register(court.file("officer-3", authority=OTHER_AUTHORITY), "officer-3")
            court.release(court.run(court.approve(court.check(task.id).id).id).id)
            until(lambda: told(court, task.id)["state"] == "acknowledged", "it waits")  # its answers are read, too
            assert not round_of_it.done()
            looks.stop()
            assert round_of_it.result() == 2
        assert told(court, slow.id)["reason"] == "cut"
        assert {thing.ldid for thing in other.kept.values()} == {task.id}


@pytest.mark.parametrize(("kind", "what"), [("push", "push"), ("delivery", "delivery"), ("task", "case")])
def test_what_cannot_be_read_is_told_once_and_passed_over(
    court: Court, office: Office, there: Receiver, kind: str, what: str
) -> None:
    register(court, office, there.url)
    damaged, task = court.released(), court.released()
    delivery = held(court, damaged.id).id
    with court.store.documents._catalog.transaction() as cursor:
        where = (kind, damaged.id if kind == "task" else delivery)
        cursor.execute("UPDATE documents SET sealed = zeroblob(64) WHERE kind = ? AND id = ?", where)
    start, looks = court.store.audit.size, pusher(court)
    assert looks.look() == 2
    assert told(court, task.id)["state"] == "acknowledged"
    assert looks.look() == 0
    entries = [entry for entry in court.log(start) if entry.kind == "disclosure.push-damaged"]
    assert [entry.public for entry in entries] == [{"delivery": delivery, "what": what}]
    gauges = {metric.name: metric.samples[0].value for metric in looks.collect()}
    assert gauges["lagrum_disclosure_pushes_damaged"] == 1.0


def test_a_stopped_service_begins_nothing(court: Court, office: Office, there: Receiver) -> None:
    register(court, office, there.url)
    court.released()
    looks = pusher(court)
    looks.stop()
    assert looks.look() == 0
    assert there.requests == []


def test_the_wait_doubles_up_to_an_hour() -> None:
    waits = [back_off_us(failures) // 1_000_000 for failures in range(1, 400)]
    assert waits[:8] == [30, 60, 120, 240, 480, 960, 1920, BACK_OFF_SECONDS_MAX]
    assert set(waits[7:]) == {BACK_OFF_SECONDS_MAX}
    push = Push("SE-D-0", "SE-T-0", 1, 2, 3, 4, 5, 6, "ab", "cut", True)
    assert Push.from_body(push.as_body()) == push
