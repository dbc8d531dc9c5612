"""Results at rest: which envelopes there are, and under which key a delivery is signed."""

from __future__ import annotations

from base64 import b64encode

import pytest

from schemas.errors import IntegrityError, NotFoundError
from tests.api.disclosure.conftest import Court
from tests.api.disclosure.test_pushing import held


def test_there_are_a_cover_and_the_parts_of_a_release_and_no_others(shared_court: Court) -> None:
    vault = shared_court.procedure.vault
    run = shared_court.run(shared_court.approved().id)
    for act in (lambda: list(vault.envelopes(held(shared_court, run.id))), lambda: _read(shared_court, run.id, 1)):
        with pytest.raises(NotFoundError, match="no such part"):
            act()
    shared_court.release(run.id)
    delivery = held(shared_court, run.id)
    count = len(delivery.parts)
    assert [_read(shared_court, run.id, number) for number in range(count + 1)] == [
        data for _, data in vault.envelopes(delivery)
    ]
    for number in (-1, count + 1):
        with pytest.raises(NotFoundError, match="no such part"):
            _read(shared_court, run.id, number)


def test_an_envelope_in_anothers_place_is_not_given_though_its_seal_is_ours(shared_court: Court) -> None:
    task = shared_court.released()
    delivery = held(shared_court, task.id)
    shared_court.procedure.vault.keep(delivery.id, "part-0001", _read(shared_court, task.id, 0))
    with pytest.raises(IntegrityError, match="not the one on file"):
        _read(shared_court, task.id, 1)


def _read(court: Court, task_id: str, number: int) -> bytes:
    return court.procedure.vault.envelope(held(court, task_id), number)


def test_a_delivery_key_whose_public_half_was_exchanged_signs_nothing(shared_court: Court) -> None:
    vault = shared_court.procedure.vault
    right, path = vault.public_key(), shared_court.store.root / "deliveries" / "signing.pub"
    path.write_text(b64encode(shared_court.keys["officer-1"].public_bytes).decode())
    with pytest.raises(IntegrityError, match="public half was changed"):
        shared_court.release(shared_court.run(shared_court.approved().id).id)
    path.unlink()
    assert vault.public_key() == right == path.read_text().strip(), "it is told again"
