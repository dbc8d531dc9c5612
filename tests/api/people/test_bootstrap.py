from __future__ import annotations

from pathlib import Path

import pytest

from api.cli import main
from api.people import persons
from api.people.bootstrap import create_custodians
from api.people.enrolment import create_first
from api.people.persons import Enrolment
from api.people.signing import PersonKey, read_key_file
from schemas.errors import ConfigurationError, ProcedureError
from store import Store
from tests.conftest import FixedClock


def test_a_new_store_gets_two_custodians_with_key_files_of_their_own(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        made = create_custodians(store, tmp_path / "keys", passphrase=lambda person: f"of {person}".encode())
        assert [item.person_id for item in made] == ["custodian-1", "custodian-2"]
        for item in made:
            assert item.key_file.stat().st_mode & 0o777 == 0o600
            key = read_key_file(item.key_file, f"of {item.person_id}".encode())
            person = persons.find_active(store, item.person_id)
            assert person is not None
            assert person.key_id == key.key_id == item.key_id
        kinds = [entry.kind for entry in store.audit.entries()]
        assert kinds.count("person.first") == 2
        with pytest.raises(ConfigurationError):
            create_custodians(store, tmp_path / "keys")
        with pytest.raises(ProcedureError):
            create_custodians(store, tmp_path / "other")


def test_the_first_two_are_custodians_of_two_keys(tmp_path: Path, clock: FixedClock) -> None:
    key = PersonKey.generate("c-1")
    same = [Enrolment(name, name, ("custodian",), key.public_text) for name in ("c-1", "c-2")]
    auditor = [Enrolment("c-3", "c-3", ("auditor",), PersonKey.generate("c-3").public_text), same[1]]
    with Store.create(tmp_path / "root", clock=clock) as store:
        for wanted in (same, auditor, same[:1], []):
            with pytest.raises(ProcedureError):
                create_first(store, wanted)
        assert persons.list_all(store) == []


def test_an_init_that_ended_before_the_custodians_is_finished_by_the_next_and_no_other(
    tmp_path: Path, clock: FixedClock
) -> None:
    root = tmp_path / "root"
    Store.create(root, clock=clock).close()
    assert main(["init", str(root)], clock=clock) == 0
    with Store.open(root, clock=clock) as store:
        assert persons.find_active(store, "custodian-1") is not None
        assert store.verify() == []
    assert main(["init", str(root), "--custodian-keys", str(tmp_path / "other")], clock=clock) == 2
