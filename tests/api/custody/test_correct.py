"""Single records, corrected by two custodians: over HTTP, by the command line, and in figures and packages."""

from __future__ import annotations

import io
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from api.billing.usage import Period, usage
from api.cli import main
from api.custody import record_corrections as procedure
from api.settings import Settings
from schemas.errors import InputError
from schemas.fields import NUMBER_FIELDS
from store import ScanQuery, Store, TargetIdentifier
from store.correcting.overlay import Correction
from store.partitions import to_us
from tests.api.disclosure.conftest import TARGET, WINDOW, peopled
from tests.api.test_openapi_examples import _compare, _example_of
from tests.api.world import World, running
from tests.conftest import FixedClock, ends_us
from tests.store.correcting.test_overlay import HERE, refused

REASON = "the subscriber objects, ticket 4711"
ACT = "9f1c2d3e4b5a6978"
SALT = "00112233445566778899aabbccddeeff"
NEW = "46701741234"
ART_17 = "Regulation (EU) 2016/679 Art 17(1)(d)"
TODAY = Period(date(2026, 11, 22), date(2026, 11, 23))


@pytest.fixture
def batch(world: World) -> int:
    answer = world.deliver(world.switch("pbx-east"))
    assert answer.status_code == 200, answer.text
    return int(answer.json()["batch_id"])


def wish(
    batch: int, kind: str = "restricted", position: int = 2, reason: str = REASON, **fields: Any
) -> procedure.Wish:
    return procedure.Wish(kind, batch, position, reason, SALT, fields)


def signed(world: World, action: str, wanted: procedure.Wish, by: str, act: str = ACT) -> dict[str, str]:
    approval = world.approval(world.keys[by], action, act, wanted.digest(world.store.store_id, act))
    return {"time": approval.time, "signature": approval.signature}


def ask(world: World, wanted: procedure.Wish, by: str = "custodian-1", act: str = ACT) -> Any:
    sent = {**wanted.as_dict(), "approval": signed(world, procedure.REQUEST, wanted, by, act)}
    return world.http.post(f"/v1/corrections/{act}/request", json=sent, headers=world.as_person(by))


def confirm(world: World, wanted: procedure.Wish, by: str = "custodian-2", act: str = ACT) -> Any:
    sent = {"approval": signed(world, procedure.CONFIRM, wanted, by, act)}
    return world.http.post(f"/v1/corrections/{act}/confirm", json=sent, headers=world.as_person(by))


def both(world: World, wanted: procedure.Wish, act: str = ACT) -> None:
    assert ask(world, wanted, act=act).status_code == 200
    answer = confirm(world, wanted, act=act)
    assert (answer.status_code, answer.json()["state"]) == (200, "in-force"), answer.text


def figures(world: World) -> tuple[int, int]:
    lines = usage(world.store, TODAY)
    return sum(lines["records"].to_pylist()), sum(lines["duration_ms"].to_pylist())


def positions(store: Store, number: str | None = None) -> list[int]:
    targets = () if number is None else (TargetIdentifier("number", number),)
    found = store.scan(ScanQuery(0, 2**60, targets=targets))
    return sorted(row["batch_position"] for rows in found for row in rows.to_pylist())


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("restricted", {}, (1, 61_000)),
        ("superseded", {}, (1, 61_000)),
        ("rectified", {"duration_ms": 5_000}, (2, 66_000)),
    ],
)
def test_two_custodians_correct_what_is_billed(
    world: World, batch: int, kind: str, fields: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert figures(world) == (2, 123_000)
    wanted = wish(batch, kind, **fields)
    assert ask(world, wanted).json()["state"] == "pending"
    assert figures(world) == (2, 123_000), "one custodian alone changes nothing"
    answer = confirm(world, wanted)
    assert (answer.status_code, answer.json()["confirmed_by"]) == (200, "custodian-2")
    assert figures(world) == expected
    assert world.store.verify() == []


def test_a_rectified_record_is_found_by_its_new_number_only(world: World, batch: int) -> None:
    both(world, wish(batch, "rectified", calling_number=NEW))
    assert positions(world.store, NEW) == [2]
    assert positions(world.store, "46700000003") == []
    assert positions(world.store) == [1, 2]


def test_the_list_and_the_request_tell_what_custodians_need(world: World, batch: int) -> None:
    ask(world, wish(batch, "rectified", calling_number=NEW))
    headers = world.as_person("custodian-2")
    listed = world.http.get("/v1/corrections", headers=headers).json()
    assert NEW not in json.dumps(listed)
    assert [item["correction"] for item in listed["corrections"]] == [ACT]
    shown = world.http.get(f"/v1/corrections/{ACT}", headers=headers).json()
    assert procedure.Wish.from_dict(shown) == wish(batch, "rectified", calling_number=NEW)


def test_the_documented_examples_work(world: World) -> None:
    for _ in range(17):  # the example speaks of batch 17
        world.deliver(world.switch("pbx-east"))
    world.store.withdraw_batch(1, reason="test", actors=("one", "two"))
    batch = world.deliver(world.switch("pbx-east")).json()["batch_id"]
    document = world.http.app.openapi()
    schemas = document["components"]["schemas"]
    body = _example_of(schemas["CorrectionModel"], schemas) | {"batch_id": batch}
    wanted = procedure.Wish.from_dict(body)
    for path, method, answer in (
        ("/v1/corrections/{act}/request", "post", ask(world, wanted)),
        ("/v1/corrections", "get", world.http.get("/v1/corrections", headers=world.as_person("custodian-1"))),
        (
            "/v1/corrections/{act}",
            "get",
            world.http.get(f"/v1/corrections/{ACT}", headers=world.as_person("custodian-1")),
        ),
    ):
        assert answer.status_code == 200, answer.text
        _compare(document["paths"][path][method]["responses"]["200"], answer)
    assert confirm(world, wanted).status_code == 200


def test_the_same_custodian_does_not_confirm(world: World, batch: int) -> None:
    wanted = wish(batch)
    ask(world, wanted)
    answer = confirm(world, wanted, by="custodian-1")
    assert (answer.status_code, answer.json()["reason"]) == (403, "same-person")
    assert figures(world) == (2, 123_000)


def test_nobody_but_custodians_corrects(world: World, batch: int) -> None:
    world.enrol("handler-3", "case-handler")
    assert ask(world, wish(batch), by="handler-3").status_code == 403
    approval = world.approval(
        world.keys["handler-3"], procedure.REQUEST, ACT, wish(batch).digest(world.store.store_id, ACT)
    )
    refused("role", lambda: procedure.request(world.store, "handler-3", ACT, wish(batch), approval))


def test_a_signature_under_anything_else_is_refused(world: World, batch: int) -> None:
    wanted = wish(batch, "rectified", duration_ms=5_000)
    store, key = world.store, world.keys["custodian-1"]
    others = (
        wish(batch, "rectified", duration_ms=5_001),
        wish(batch, "rectified", position=1, duration_ms=5_000),
        wish(batch, "rectified", reason="another", duration_ms=5_000),
        wish(batch, "superseded"),
    )
    for other in others:
        approval = world.approval(key, procedure.REQUEST, ACT, other.digest(store.store_id, ACT))
        refused("signature", lambda it=approval: procedure.request(store, "custodian-1", ACT, wanted, it))
    approval = world.approval(key, procedure.CONFIRM, ACT, wanted.digest(store.store_id, ACT))
    refused("signature", lambda: procedure.request(store, "custodian-1", ACT, wanted, approval))
    assert store.corrections.all() == []


def test_a_second_request_or_confirmation_is_refused(world: World, batch: int) -> None:
    wanted = wish(batch)
    ask(world, wanted)
    assert ask(world, wanted, by="custodian-2").json()["reason"] == "stale"
    confirm(world, wanted)
    for by in ("custodian-2", "custodian-1"):  # it is done, whoever asks
        assert confirm(world, wanted, by=by).json()["reason"] == "state"


def test_what_is_unknown_expired_or_without_form_is_refused(world: World, batch: int) -> None:
    assert ask(world, wish(batch, position=3)).status_code == 404
    assert ask(world, wish(batch + 1)).status_code == 404
    assert confirm(world, wish(batch)).status_code == 404
    for wrong in (
        wish(batch, "rectified"),
        wish(batch, "rectified", end_time="2026-11-22T10:00:00Z"),
        wish(batch, "rectified", calling_number="+46 70"),
        wish(batch, "restricted", duration_ms=1),
        wish(batch, reason="two\nlines"),
    ):
        answer = ask(world, wrong)
        assert answer.status_code == 400, answer.text
        assert "+46 70" not in answer.text
    waiting = wish(batch)
    assert ask(world, waiting).status_code == 200
    world.clock.value_us = ends_us(world.store.partitions()[0].key)
    world.tokens.clear()
    assert confirm(world, waiting).status_code == 404
    assert ask(world, waiting, act=ACT[::-1]).status_code == 404


@pytest.mark.parametrize("reason", ["", " ", "x" * (procedure.REASON_CHARS_MAX + 1), "two\nlines"])
def test_a_reason_without_its_form_is_refused_by_the_procedure_itself(world: World, batch: int, reason: str) -> None:
    wanted = wish(batch, reason=reason)
    approval = world.approval(
        world.keys["custodian-1"], procedure.REQUEST, ACT, wanted.digest(world.store.store_id, ACT)
    )
    with pytest.raises(InputError, match="a reason"):
        procedure.request(world.store, "custodian-1", ACT, wanted, approval)
    assert world.store.corrections.all() == []


def test_the_log_names_both_and_keeps_the_values_sealed(world: World, batch: int) -> None:
    both(world, wish(batch, "rectified", calling_number=NEW))
    entries = list(world.store.audit.entries(0, world.store.audit.size, reveal=True))
    told = {entry.kind: entry for entry in entries}
    assert told["record.corrected"].public["actors"] == ["custodian-1", "custodian-2"]
    assert told["record.correction-requested"].public["by"] == "custodian-1"
    assert all(REASON not in str(entry.public) for entry in entries)
    assert all(NEW not in str((entry.public, entry.secret)) for entry in entries)


def test_a_package_tells_which_records_are_restricted_or_rectified(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        court = peopled(store, clock)
        query = ScanQuery(WINDOW.start_us, WINDOW.end_us, targets=(TargetIdentifier("number", TARGET),))
        found = sorted(row["batch_position"] for rows in store.scan(query) for row in rows.to_pylist())
        before = court.released()
        for act, kind, position, fields in (
            ("00000000000000a1", "restricted", found[0], {}),
            ("00000000000000a2", "rectified", found[1], {"duration_ms": 777_000}),
            ("00000000000000a3", "superseded", found[2], {}),
            ("00000000000000a4", "rectified", found[3], dict.fromkeys(NUMBER_FIELDS)),
        ):
            wanted = Correction(act, kind, HERE, 1, position, fields, said={"by": "custodian-1"})
            store.corrections.request(wanted, {"by": "custodian-1"})
            store.corrections.confirm(act, {}, ("custodian-1", "custodian-2"))
        data = court.deliver(court.released().id)
        opened, rows = court.open(data)
        manifest = opened.manifest
        (restricted,) = manifest["corrections"]["restricted"]
        (rectified,) = manifest["corrections"]["rectified"]
        assert len(rows) == len(court.open(court.deliver(before.id))[1]) - 2
        assert rows[rectified - 1]["duration_ms"] == 777_000
        assert restricted != rectified
        assert set(manifest["corrections"]) == {"restricted", "rectified"}


def test_the_command_line_corrects(
    world: World, batch: int, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [str(tmp_path / "keys" / f"custodian-{number}.key.json") for number in (1, 2)]

    def run(*words: str, by: int = 0, given: str = "", code: int = 0) -> dict[str, Any]:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        capfd.readouterr()
        argv = ["--root", str(world.store.root), "correct", *words, "--json", "--as", keys[by]]
        got = main(argv, clock=world.clock)
        out, err = capfd.readouterr()
        assert got == code, err
        assert NEW not in out + err
        found: dict[str, Any] = json.loads(out) if out else {}
        return found

    with running(world.store, Settings(port=0)):
        made = run("restrict", f"{batch}:1", "--reason", REASON)
        assert made["state"] == "pending"
        run("confirm", made["correction"], code=1)
        assert run("confirm", made["correction"], by=1)["state"] == "in-force"
        values = json.dumps({"calling_number": NEW})
        run("rectify", f"{batch}:2", "--reason", REASON, "--second", keys[1], given=values)
        assert positions(world.store, NEW) == [2]
        run("supersede", f"{batch}:2", "--reason", REASON, "--second", keys[1])
        assert positions(world.store) == []
        assert [item["state"] for item in run("list")["corrections"]] == ["in-force"] * 3
        run("release", f"{batch}:1", "--reason", REASON, code=0)
        freed = run("list")["corrections"][-1]["correction"]
        run("confirm", freed, code=1)
        assert run("confirm", freed, by=1)["state"] == "in-force"
        assert positions(world.store) == [1]
        run("release", f"{batch}:1", "--reason", REASON, code=1)
        run("restrict", f"{batch}:1", "--reason", REASON, "--second", keys[1])
        run("restrict", str(batch), "--reason", REASON, code=2)
        run("rectify", f"{batch}:1", "--reason", REASON, given="[1]", code=2)
        run("rectify", f"{batch}:1", "--reason", REASON, given="{", code=2)
        run("restrict", f"{batch}:9", "--reason", REASON, code=1)
        run("erase", f"{batch}:1", "--citation", ART_17, "--reason", REASON, code=1)
        run("erase", f"{batch}:1", "--reason", REASON, code=2)
        after_the_floor(world)
        words = ("--citation", ART_17, "--reason", REASON, "--second", keys[1])
        assert run("erase", f"{batch}:1", f"{batch}:2", *words)["records"] == 2


def test_two_custodians_end_a_restriction(world: World, batch: int) -> None:
    assert ask(world, wish(batch, "released")).json()["reason"] == "state", "there is none to end"
    both(world, wish(batch))
    assert positions(world.store) == [1]
    released, act = wish(batch, "released", reason="the objection was withdrawn"), ACT[::-1]
    assert ask(world, wish(batch, "released", duration_ms=1), act=act).status_code == 400
    assert ask(world, released, act=act).json()["state"] == "pending"
    assert positions(world.store) == [1], "one custodian alone ends nothing"
    assert confirm(world, released, by="custodian-1", act=act).json()["reason"] == "same-person"
    answer = confirm(world, released, act=act)
    assert (answer.status_code, answer.json()["state"]) == (200, "in-force"), answer.text
    assert positions(world.store) == [1, 2]
    assert figures(world) == (2, 123_000)
    again = ask(world, released, act="00000000000000a1")
    assert (again.status_code, again.json()["reason"]) == (409, "state"), again.text
    assert world.store.verify() == []


def after_the_floor(world: World) -> str:
    """Move on until the records of the batch may be erased; return their partition."""
    (kept,) = world.store.partitions()
    world.clock.value_us = to_us(kept.key.floor_until)
    world.tokens.clear()
    return str(kept.key)


def test_two_custodians_erase_after_the_floor_and_not_before(world: World, batch: int) -> None:
    wanted = wish(batch, "erased", citation=ART_17)
    answer = ask(world, wanted)
    assert (answer.status_code, answer.json()["type"].endswith("retention")) == (409, True), answer.text
    partition = after_the_floor(world)
    assert ask(world, wish(batch, "erased")).status_code == 400, "it needs its basis"
    assert ask(world, wanted).json()["state"] == "pending"
    assert confirm(world, wanted, by="custodian-1").json()["reason"] == "same-person"
    assert positions(world.store) == [1, 2]
    answer = confirm(world, wanted)
    assert (answer.status_code, answer.json()["state"], answer.json()["records"]) == (200, "erased", 1), answer.text
    assert (answer.json()["partition"], answer.json()["into"]) == (partition, f"{partition}.2")
    assert positions(world.store) == [1]
    assert confirm(world, wanted).status_code == 404
    assert world.store.verify() == []
