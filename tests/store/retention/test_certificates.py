"""Certificates of erasure: whole ones hold anywhere; forged, altered, replayed and missing ones are found."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import orjson
import pytest

from schemas.errors import IntegrityError, NotFoundError
from store import AuditEntry, Store
from store.audit.checkpoint import Signer
from store.retention.certificate_check import check_log, export, verify_file
from store.retention.certificate_words import facts, paragraphs, title
from store.retention.certificates import DONE, commitment, stored
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records
from tests.store.retention.test_expiry_steps import stop_at


@pytest.fixture
def erased(store: Store, clock: FixedClock) -> Store:
    deliver(store, records(100))
    deliver(store, records(50, first_key=1000, days_ago=3))
    store.audit.rotate_epoch()
    clock.advance(days=729)
    store.expire()
    clock.advance(days=5)
    store.expire()
    return store


def origin(store: Store) -> str:
    return str(store.audit.origin)


def files(store: Store) -> list[bytes]:
    return [export(store, partition) for _, partition, _ in stored(store)]


def test_every_erased_partition_has_one_that_anybody_can_verify(erased: Store) -> None:
    first, second = (verify_file(data, origin(erased)) for data in files(erased))
    assert (first.number, second.number) == (1, 2)
    assert (first.body["previous"], second.body["previous"]) == ("none", first.digest)
    assert (first.body["records"], second.body["records"]) == (50, 100)
    assert first.body["store"] == erased.store_id
    assert first.body["holds"] == {}
    assert erased.verify() == []


def test_it_says_in_words_what_was_erased_and_why(erased: Store) -> None:
    certificate = verify_file(files(erased)[0], origin(erased))
    told = " ".join(paragraphs(certificate))
    assert title(certificate) == "Erasure of the traffic data of 19 November 2026"
    for words in ("All 50 records", "24 calendar months", "Directive 2006/24/EC Art 6", "Holds: none", "was destroyed"):
        assert words in told
    assert facts(certificate)["SHA-256 of this certificate"] == certificate.digest


def test_the_commitment_is_the_keys_and_the_digests_are_the_ciphertexts(store: Store, clock: FixedClock) -> None:
    deliver(store, records(10))
    key = store.partitions()[0].key
    secret, beside = store.keyring.key(key.ref), store.keyring.key(key.location.ref)
    part = store.catalog.parts()[0]
    clock.advance(days=731)
    store.expire()
    data = export(store, str(key))
    body = verify_file(data, origin(store)).body
    assert body["key_commitment"] == commitment(secret, store.store_id, key)
    assert commitment(bytes(32), store.store_id, key) != body["key_commitment"]
    assert body["location_key_commitment"] == commitment(beside, store.store_id, key.location)
    leaf = json.loads(base64.b64decode(json.loads(data)["leaf"]))
    listed = [part.file_id, part.sha256, part.identities_sha256, part.index_sha256, part.location_sha256]
    assert leaf["public"]["files"][0].split(" ") == listed
    assert secret.hex() not in data.decode()


@pytest.mark.parametrize("name", ["certificate", "leaf", "inclusion", "checkpoint", "epochs"])
def test_an_altered_file_does_not_verify(erased: Store, name: str) -> None:
    data = files(erased)[1]
    other = json.loads(files(erased)[0])
    for change in (lambda text: text[:-8] + ("A" if text[-8] != "A" else "B") + text[-7:], lambda text: ""):
        content = json.loads(data)
        value = content[name]
        content[name] = change(value) if isinstance(value, str) else [change(item) for item in value]
        with pytest.raises(IntegrityError):
            verify_file(json.dumps(content).encode(), origin(erased))
    for swapped in ("certificate", "leaf", "inclusion"):
        content = json.loads(data) | {swapped: other[swapped]}
        with pytest.raises(IntegrityError):
            verify_file(json.dumps(content).encode(), origin(erased))


@pytest.mark.parametrize("octet", range(0, 4000, 97))
def test_no_octet_of_the_certificate_can_be_changed(erased: Store, octet: int) -> None:
    content = json.loads(files(erased)[0])
    note = content["certificate"].encode()
    place = octet % len(note)
    content["certificate"] = (note[:place] + bytes([note[place] ^ 1]) + note[place + 1 :]).decode("latin-1")
    with pytest.raises(IntegrityError):
        verify_file(json.dumps(content).encode(), origin(erased))


def test_a_forged_one_under_another_key_does_not_verify(erased: Store) -> None:
    content = json.loads(files(erased)[0])
    text = content["certificate"].rpartition("\n\n")[0] + "\n"
    content["certificate"] = Signer.generate(erased.audit.origin.name).sign(text)
    with pytest.raises(IntegrityError):
        verify_file(json.dumps(content).encode(), origin(erased))
    with pytest.raises(IntegrityError, match="public key"):
        verify_file(files(erased)[0], str(Signer.generate(erased.audit.origin.name).verifier))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"format": 1}'])
def test_what_is_no_certificate_is_refused(erased: Store, data: bytes) -> None:
    with pytest.raises(IntegrityError):
        verify_file(data, origin(erased))


def test_a_partition_that_was_not_erased_has_none(erased: Store) -> None:
    with pytest.raises(NotFoundError):
        export(erased, "2026-01-01/standard/shared")


def test_a_replayed_one_is_found_in_the_log(erased: Store) -> None:
    entry = next(item for item in erased.audit.entries() if item.kind == DONE)
    erased.log(AuditEntry(DONE, {**entry.public, "ref": "0" * 24}))
    found = check_log(erased.layout.audit, origin(erased))
    assert any("is there twice" in text for text in found)
    assert any("does not follow" in text for text in found)
    for partition in ("2026-01-01/standard/shared", "2026-01-02/standard/shared"):
        erased.log(AuditEntry(DONE, {**entry.public, "partition": partition}))
    assert any("another partition's" in text for text in check_log(erased.layout.audit, origin(erased)))


def test_an_erasure_without_one_is_found_in_the_log_and_by_verify(erased: Store) -> None:
    erased.log(AuditEntry(DONE, {"partition": "2026-01-01/standard/shared"}))
    assert any("has no certificate" in text for text in check_log(erased.layout.audit, origin(erased)))
    assert any("has no certificate" in problem.what for problem in erased.verify())


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM certificates WHERE number = 1", "there is no certificate"),
        ("UPDATE certificates SET note = NULL WHERE number = 2", "there is no certificate"),
        ("UPDATE certificates SET note = note || ' ' WHERE number = 2", "not the one in the audit log"),
    ],
)
def test_a_catalog_without_its_certificates_is_found_by_verify(erased: Store, statement: str, what: str) -> None:
    with erased.catalog.transaction() as cursor:
        cursor.execute(statement)
    assert any(what in problem.what for problem in erased.verify())


def test_a_partition_marked_as_dropped_has_no_certificate(store: Store) -> None:
    deliver(store, records(5))
    with store.catalog.transaction() as cursor:
        cursor.execute("UPDATE partitions SET state = 'dropped'")
    assert any("there is no certificate" in problem.what for problem in store.verify())


def test_an_erasure_that_is_ended_again_has_one_certificate(erased: Store, clock: FixedClock) -> None:
    """The catalog is one of before its last transaction; the log has the certificate."""
    before = stored(erased)
    with erased.catalog.transaction() as cursor:
        cursor.execute("UPDATE partitions SET state = 'dropping'")
        cursor.execute("UPDATE certificates SET number = NULL, note = NULL WHERE number = 2")
    with Store.open(Path(erased.root), clock=clock) as other:
        other.expire()
        assert other.partitions() == []
        assert stored(other) == before
        assert [entry.kind for entry in other.audit.entries()].count(DONE) == 2
        assert other.verify() == []


def test_an_erasure_whose_draft_somebody_deletes_is_finished_and_told(store: Store, clock: FixedClock) -> None:
    deliver(store, records(5))
    clock.advance(days=731)
    stop_at("destroyed", store)
    with store.catalog.transaction() as cursor:
        cursor.execute("DELETE FROM certificates")
    with Store.open(Path(store.root), clock=clock) as other:
        other.expire()
        assert other.partitions() == []
        assert any("there is no certificate" in problem.what for problem in other.verify())


def test_the_files_are_the_same_whoever_exports_them(erased: Store, clock: FixedClock) -> None:
    with Store.open(Path(erased.root), clock=clock) as other:
        assert [orjson.loads(data)["certificate"] for data in files(other)] == [note for _, _, note in stored(erased)]
