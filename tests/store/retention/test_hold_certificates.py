"""The certificate of a hold's end: it says what went and names nobody; forged, replayed and missing ones are found."""

from __future__ import annotations

import json

import pytest

from api.pages import certificate_page
from schemas.errors import IntegrityError
from store import AuditEntry, Store, files
from store.audit.checkpoint import Signer
from store.keys import derive
from store.retention import certificates
from store.retention.certificate_check import check_log, export, verify_file
from store.retention.certificate_words import facts, paragraphs, title
from store.retention.certificates import NONE, held_name, stored
from store.retention.commitments import ENDED
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records
from tests.store.retention.test_holds import number_of, place, preserve

NAME = held_name("a1")


@pytest.fixture
def holding(store: Store, clock: FixedClock) -> Store:
    """A store that erased a partition and holds some of its records."""
    table = records(200)
    deliver(store, table)
    preserve(store, clock, table)
    store.expire()
    return store


@pytest.fixture
def ended(holding: Store) -> Store:
    holding.holds.end("a1", reason="released", actors=["custodian-1", "custodian-2"])
    return holding


def origin(store: Store) -> str:
    return str(store.audit.origin)


def entry_of(store: Store) -> dict[str, object]:
    return next(item.public for item in store.audit.entries() if item.kind == ENDED)


def test_it_tells_what_went_and_why_and_names_nobody(holding: Store) -> None:
    store = holding
    secret, row = store.keyring.key(store.holds.get("a1").ref), store.catalog.query("SELECT rows, bytes FROM held")[0]
    target = number_of(records(200))[0]
    store.holds.end("a1", reason="released", actors=["custodian-1", "custodian-2"])
    data = export(store, NAME)
    certificate = verify_file(data, origin(store))
    body = certificate.body
    assert (body["number"], body["records"], body["parts"], body["bytes"]) == (2, row[0], 1, row[1])
    assert body["previous"] == certificates.digest_of_note(stored(store)[0][2])
    context = f"{store.store_id}|{NAME}".encode()
    assert body["key_commitment"] == derive(secret, "erasure-commitment", context, 32).hex()
    assert secret.hex() not in data.decode() and target not in data.decode()
    told = " ".join(paragraphs(certificate))
    assert title(certificate) == "Erasure of what hold a1 kept"
    for words in (
        f"All {row[0]} records that hold a1 kept",
        "released, ended by 2 persons",
        "preservation",
        "destroyed",
    ):
        assert words in told
    page = certificate_page(title(certificate), paragraphs(certificate), facts(certificate), checked="", note="")
    assert "hold a1 kept" in page and "<th" in page.lower()
    assert store.verify() == []


def test_a_hold_that_kept_nothing_has_one_too(store: Store, clock: FixedClock) -> None:
    place(store, "a1")
    store.holds.end("a1", reason="its time is over")
    certificate = verify_file(export(store, NAME), origin(store))
    assert (certificate.body["records"], certificate.body["key_commitment"]) == (0, NONE)
    assert "It had kept no record" in " ".join(paragraphs(certificate))
    assert store.verify() == [] and check_log(store.layout.audit, origin(store)) == []


def test_the_commitment_outlives_a_crash_after_the_key(holding: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store = holding
    secret = store.keyring.key(store.holds.get("a1").ref)

    def crash(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr(files, "remove_dirs", crash)
    with pytest.raises(OSError):
        store.holds.end("a1", reason="released")
    monkeypatch.undo()
    assert not store.keyring.has(store.holds.get("a1").ref)
    with Store.open(store.root, clock=store.clock) as other:
        other.holds.lapse()
        body = verify_file(export(other, NAME), origin(other)).body
        context = f"{store.store_id}|{NAME}".encode()
        assert body["key_commitment"] == derive(secret, "erasure-commitment", context, 32).hex()
        assert other.verify() == []


@pytest.mark.parametrize("name", ["certificate", "leaf", "inclusion", "checkpoint", "epochs"])
def test_one_that_is_altered_or_mixed_with_a_partitions_does_not_verify(ended: Store, name: str) -> None:
    own, other = json.loads(export(ended, NAME)), json.loads(export(ended, stored(ended)[0][1]))
    value = own[name]
    flip = lambda text: text[:-8] + ("A" if text[-8] != "A" else "B") + text[-7:]  # noqa: E731
    changed = flip(value) if isinstance(value, str) else [flip(item) for item in value]
    mixed = [] if name in ("checkpoint", "epochs") else [other[name]]
    for bad in (changed, *mixed):
        with pytest.raises(IntegrityError):
            verify_file(json.dumps({**own, name: bad}).encode(), origin(ended))


def test_a_forged_one_does_not_verify(ended: Store) -> None:
    content = json.loads(export(ended, NAME))
    text = content["certificate"].rpartition("\n\n")[0] + "\n"
    content["certificate"] = Signer.generate(ended.audit.origin.name).sign(text)
    with pytest.raises(IntegrityError):
        verify_file(json.dumps(content).encode(), origin(ended))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({}, "is there twice"),
        ({"hold": "a2"}, "another hold's"),
        ({"hold": "a2", "partitions": []}, "another hold's"),
        ({"partitions": []}, "the listed files are not those"),
    ],
)
def test_a_replayed_or_contradicted_one_is_found_in_the_log(ended: Store, change: dict[str, object], what: str) -> None:
    ended.log(AuditEntry(ENDED, {**entry_of(ended), "ref": "0" * 24, **change}))
    assert any(what in text for text in check_log(ended.layout.audit, origin(ended)))
    assert any(what in problem.what for problem in ended.verify())


def test_an_end_without_one_is_found(ended: Store) -> None:
    public = {name: value for name, value in entry_of(ended).items() if name not in ("certificate", "number")}
    ended.log(AuditEntry(ENDED, {**public, "hold": "a3", "ref": "0" * 24}))
    assert any("hold/a3 has no certificate" in text for text in check_log(ended.layout.audit, origin(ended)))


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM certificates WHERE number = 2", "there is no certificate"),
        ("UPDATE certificates SET note = note || ' ' WHERE number = 2", "not the one in the audit log"),
    ],
)
def test_a_catalog_without_it_is_found_and_mended_before_the_next(
    ended: Store, clock: FixedClock, statement: str, what: str
) -> None:
    with ended.catalog.transaction() as cursor:
        cursor.execute(statement)
    assert ("hold a1", True) in {(problem.where, what in problem.what) for problem in ended.verify()}
    place(ended, "a4")
    ended.holds.end("a4", reason="released")
    assert verify_file(export(ended, held_name("a4")), origin(ended)).number == 3
    assert check_log(ended.layout.audit, origin(ended)) == [] and ended.verify() == []
