"""Proofs over HTTP: of trees that there are, and 404 for all others, before anything is read or written down."""

from __future__ import annotations

import pytest

from tests.api.world import World

CASE = "SE-A-5d0a0f6c1b2e3d4f"


def test_a_proof_is_of_a_tree_that_there_is(world: World) -> None:
    headers = world.as_person("custodian-1")
    size = world.store.audit.size

    def asked(what: str, **where: int) -> int:
        return world.http.get(f"/v1/audit/proofs/{what}", params=where, headers=headers).status_code

    for index, of, status in ((0, size, 200), (size - 1, size, 200), (2, 2, 404), (0, size + 9, 404)):
        assert asked("inclusion", index=index, size=of) == status, (index, of)
    for first, second, status in ((1, size, 200), (size, size, 200), (2, 1, 404), (1, size + 9, 404)):
        assert asked("consistency", first=first, second=second) == status, (first, second)


@pytest.mark.parametrize(
    ("case", "witnessed"), [("auditor-1", None), ("46700000001", None), ("SE-T-5d0a0f6c1b2e3d4f", None), (CASE, 10**6)]
)
def test_what_is_no_case_or_no_tree_is_not_exported_and_not_written_down(
    world: World, case: str, witnessed: int | None
) -> None:
    world.enrol("auditor-1", "auditor")
    headers = world.as_person("auditor-1")
    before = world.store.audit.size
    where = {} if witnessed is None else {"witnessed": witnessed}
    answer = world.http.get(f"/v1/audit/cases/{case}", params=where, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:lagrum:problem:not-found")
    told = list(world.store.audit.entries(before))
    assert "audit.exported" not in [entry.kind for entry in told]
    assert not any(b"46700000001" in entry.leaf for entry in told), "what is no case may be a number"


def test_an_auditors_export_is_written_down_before_it_leaves(world: World) -> None:
    world.enrol("auditor-1", "auditor")
    before = world.store.audit.size
    answer = world.http.get(f"/v1/audit/cases/{CASE}?witnessed=1", headers=world.as_person("auditor-1"))
    assert [entry.kind for entry in world.store.audit.entries(before)] == ["audit.exported"]
    assert answer.status_code == 200, answer.text
