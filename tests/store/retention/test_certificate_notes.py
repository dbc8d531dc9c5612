"""Certificates that the log's own key signed and that are none, or another's: whoever took that key makes them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from schemas.errors import IntegrityError
from store import AuditEntry, Store
from store.audit.checkpoint import Signer
from store.audit.epochs import Certificate as EpochCertificate
from store.audit.epochs import load_epoch
from store.retention.certificate_check import check_log, export, verify_file
from store.retention.certificates import DONE, HEADER, HELD, HELD_MEMBERS, MEMBERS, held_name, open_note, stored
from store.retention.commitments import ENDED
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records
from tests.store.retention.test_holds import preserve

SIGNER = Signer.generate("log")
BODY = dict.fromkeys(MEMBERS, "x")
HELD_BODY = {**dict.fromkeys(HELD_MEMBERS, "x"), "category": HELD}
NAME = held_name("a1")


def text(body: Any, header: str = HEADER, more: str = "") -> str:
    return f"{header}\n{orjson.dumps(body, option=orjson.OPT_SORT_KEYS).decode()}\n{more}"


def refused(note: str, what: str = "not an erasure certificate") -> None:
    with pytest.raises(IntegrityError, match=what):
        open_note(note, [SIGNER.verifier])


def test_a_note_is_one_line_of_canonical_json_under_its_header_signed_once() -> None:
    good = SIGNER.sign(text(BODY))
    assert open_note(good, [SIGNER.verifier]).body == BODY
    assert open_note(SIGNER.sign(text(HELD_BODY)), [SIGNER.verifier]).body == HELD_BODY
    refused(SIGNER.sign(text(BODY, more="more\n")))
    refused(SIGNER.sign(f"{HEADER}\n"))
    refused(SIGNER.sign(text(BODY, header="lagrum-erasure-certificate/v2")))
    refused(good + good.splitlines(keepends=True)[-1])
    refused(SIGNER.sign(f"{HEADER}\n{json.dumps(BODY)}\n"))
    refused(SIGNER.sign(f"{HEADER}\n{{\n"))
    refused(SIGNER.sign(text([BODY])))


def test_its_members_are_those_of_its_category() -> None:
    for body in (
        {name: word for name, word in BODY.items() if name != "holds"},
        {**BODY, "more": "x"},
        {**BODY, "category": HELD},
        {**HELD_BODY, "category": "record"},
        {**HELD_BODY, "policy": "x"},
    ):
        refused(SIGNER.sign(text(body)))


def test_the_signature_is_that_of_its_text() -> None:
    good = SIGNER.sign(text(BODY))
    refused(good.replace('"store":"x"', '"store":"y"'), "does not verify")
    with pytest.raises(IntegrityError, match="no key of this log"):
        open_note(good, [Signer.generate("log").verifier])


@pytest.fixture
def erased(store: Store, clock: FixedClock) -> Store:
    """A store that erased a partition and, after it, what a hold had kept of it."""
    table = records(30)
    deliver(store, table)
    preserve(store, clock, table)
    store.expire()
    store.holds.end("a1", reason="released", actors=["custodian-1", "custodian-2"])
    return store


def origin(store: Store) -> str:
    return str(store.audit.origin)


def last(store: Store, kind: str) -> dict[str, Any]:
    return next(entry.public for entry in store.audit.entries() if entry.kind == kind)


def signed(store: Store, public: dict[str, Any], /, **changed: Any) -> str:
    """Return the certificate of an entry with other words, under the key with which the log signs."""
    body = json.loads(public["certificate"].split("\n")[1])
    return load_epoch(store.layout.audit, store.audit.epoch, store.keyring).signer.sign(text({**body, **changed}))


def told(store: Store, name: str, what: str) -> None:
    """Neither its file nor the log holds."""
    with pytest.raises(IntegrityError, match=what):
        verify_file(export(store, name), origin(store))
    assert any(what in found for found in check_log(store.layout.audit, origin(store)))


def test_one_of_another_store_is_refused(erased: Store) -> None:
    public, name = last(erased, DONE), stored(erased)[0][1]
    erased.log(AuditEntry(DONE, {**public, "certificate": signed(erased, public, store="0" * 32)}))
    told(erased, name, "another store's")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"number": 9}, "another partition's"),
        ({"files": ["x"]}, "the listed files"),
        ({"files": ["x", "y"]}, "the listed files"),
    ],
)
def test_an_entry_that_contradicts_its_certificate_is_found(erased: Store, changed: dict[str, Any], what: str) -> None:
    erased.log(AuditEntry(DONE, {**last(erased, DONE), **changed}))
    told(erased, stored(erased)[0][1], what)


def test_an_entry_of_a_holds_end_that_contradicts_its_certificate_is_found(erased: Store) -> None:
    public = last(erased, ENDED)
    (kept,) = public["partitions"]
    erased.log(AuditEntry(ENDED, {**public, "number": 9}))
    told(erased, NAME, "another hold's")
    for other in ({**kept, "sha256": "0" * 64}, {**kept, "records": kept["records"] + 1}):
        erased.log(AuditEntry(ENDED, {**public, "partitions": [other]}))
        told(erased, NAME, "the listed files")


def test_the_certificate_of_a_hold_is_not_that_of_a_partition(erased: Store) -> None:
    erased.log(AuditEntry(DONE, {**last(erased, ENDED), "partition": NAME}))
    told(erased, NAME, "another certificate")


def test_the_certificate_beside_an_entry_is_the_one_in_it(erased: Store) -> None:
    """The same partition, number, store and files, and other words."""
    content = json.loads(export(erased, stored(erased)[0][1]))
    content["certificate"] = signed(erased, last(erased, DONE), records=7)
    with pytest.raises(IntegrityError, match="another certificate"):
        verify_file(json.dumps(content).encode(), origin(erased))


@pytest.mark.parametrize(
    "changed",
    [
        {"format": "lagrum-erasure-certificate-file/v2"},
        {"epochs": 1},
        {"inclusion": None},
        {"certificate": 1},
        {"leaf": 1},
        {"checkpoint": {}},
        {"epochs": [1]},
        {"inclusion": [1]},
        {"more": "x"},
    ],
)
def test_a_file_of_another_form_is_refused(erased: Store, changed: dict[str, Any]) -> None:
    content = json.loads(export(erased, stored(erased)[0][1])) | changed
    with pytest.raises(IntegrityError, match="not the file of an erasure certificate"):
        verify_file(json.dumps(content).encode(), origin(erased))


@pytest.mark.parametrize(("name", "number"), [("log", 2), ("other", 1)])
def test_an_epoch_that_the_origin_signed_for_elsewhere_is_refused(erased: Store, name: str, number: int) -> None:
    epoch = EpochCertificate(name, erased.store_id, number, Signer.generate(name).verifier, 0, bytes(32))
    content = json.loads(export(erased, stored(erased)[0][1]))
    content["epochs"] = [SIGNER.sign(epoch.text())]
    with pytest.raises(IntegrityError, match="belongs elsewhere"):
        verify_file(json.dumps(content).encode(), str(SIGNER.verifier))
