"""Two tenants may each have an account 0099: an order on one of them reaches no record of the other."""

from __future__ import annotations

import ipaddress
import json

import pyarrow as pa
import pytest

from api.disclosure.completeness import COMPLETE, verify
from api.disclosure.orders import WrittenTarget
from api.disclosure.preflight import ZERO
from api.disclosure.targets import normalise_target
from schemas.errors import ProcedureError
from tests.api.disclosure.conftest import Court
from tests.store.conftest import deliver
from tests.store.records import records, with_column

INNER = "10.1.2.3"
OVERLAPPING = "10.9.9.9"
ELEMENTS = ("cgn1/vrf1", "cgn1/vrf2", "cgn1/vrf2", "cgn2")
TENANTS = ("acme", "acme", "beta", None)


@pytest.fixture(scope="module")
def court(shared_court: Court) -> Court:
    rows = len(TENANTS)
    table = records(rows, days_ago=6, days=2, seed=9, account=[10_099] * rows, tenant=[*TENANTS])
    deliver(shared_court.store, table, source="tenants")
    inner = int(ipaddress.ip_address(INNER))
    table = records(
        rows, days_ago=6, days=2, seed=10, source_ip=pa.array([inner] * rows, pa.uint32()), tenant=[*TENANTS]
    )
    deliver(shared_court.store, table, source="inner")
    inner = int(ipaddress.ip_address(OVERLAPPING))
    table = records(rows, days_ago=6, days=2, seed=11, source_ip=pa.array([inner] * rows, pa.uint32()))
    table = with_column(table, "tenant", ["acme"] * rows)
    deliver(shared_court.store, with_column(table, "switch", [*ELEMENTS]), source="vrfs")
    return shared_court


@pytest.mark.parametrize(("tenant", "found"), [("acme", 2), ("beta", 1), ("", 1), ("gamma", 0)])
def test_an_order_that_says_whose_account_it_is_reaches_that_one(court: Court, tenant: str, found: int) -> None:
    task = court.released(targets=(WrittenTarget("account", "0099", tenant=tenant),))
    opened, rows = court.open(court.deliver(task.id))
    assert (len(rows), opened.manifest["counts"]["by_target"]) == (found, [found])
    assert opened.manifest["order"]["targets"][0]["tenant"] == tenant
    assert verify(court.store, task.id).verdict == COMPLETE
    others = {"acme", "beta"} - {tenant}
    assert not any(other in json.dumps(rows) for other in others), "whose the record is does not leave under this basis"


def test_both_are_reached_by_an_order_that_names_both(court: Court) -> None:
    both = tuple(WrittenTarget("account", "0099", tenant=tenant) for tenant in ("acme", "beta"))
    task = court.released(targets=both)
    assert court.open(court.deliver(task.id))[0].manifest["counts"]["by_target"] == [2, 1]


def test_an_order_that_does_not_say_is_not_guessed(court: Court) -> None:
    task = court.approved(targets=(WrittenTarget("account", "0099"),))
    with pytest.raises(ProcedureError) as refusal:
        court.run(task.id)
    assert refusal.value.reason == "several-tenants"
    assert court.procedure.casebook.task(task.id)[0].reason == "several-tenants"
    single = court.released(targets=(WrittenTarget("account", "0077"),))
    assert (single.records or 0) > 0, "one owner needs no word"


def test_who_weighs_such_an_order_is_told_so_and_is_told_no_zero(court: Court) -> None:
    task = court.checked(targets=(WrittenTarget("account", "0099"),))
    start = court.store.audit.size
    with pytest.raises(ProcedureError) as refusal:
        court.procedure.preflight(court.actor("approver-1"), task.id)
    assert refusal.value.reason == "several-tenants"
    told = [(entry.kind, entry.public.get("reason")) for entry in court.log(start)]
    assert told == [("disclosure.preflight", None), ("disclosure.refused", "several-tenants")]
    for person in ("officer-1", "handler-1", "auditor-1"):  # who may not weigh learns nothing
        assert court.procedure.preflight(court.actor(person), task.id) == ZERO
    one = court.checked(targets=(WrittenTarget("account", "0099", tenant="acme"),))
    assert court.procedure.preflight(court.actor("approver-1"), one.id)["records"] == "1-9"


def test_a_task_names_no_other_tenants_account(court: Court) -> None:
    order = court.file(targets=(WrittenTarget("account", "0099", tenant="acme"),))
    for tenant in ("beta", "", None):
        with pytest.raises(ProcedureError) as refusal:
            court.register(order, targets=(WrittenTarget("account", "0099", tenant=tenant),))
        assert refusal.value.reason == "target-out-of-scope"


@pytest.mark.parametrize(("kind", "tenant"), [("number", "acme"), ("account", "a b"), ("account", "x" * 65)])
def test_only_an_account_has_a_tenant(kind: str, tenant: str) -> None:
    with pytest.raises(ProcedureError) as refusal:
        normalise_target(kind, "0701740007", country="SE", tenant=tenant)
    assert refusal.value.reason == "bad-target"


@pytest.mark.parametrize(("tenant", "found"), [("acme", 2), ("beta", 1), ("", 1)])
def test_an_inner_address_is_searched_in_the_network_that_the_order_names(
    court: Court, tenant: str, found: int
) -> None:
    task = court.released(targets=(WrittenTarget("ip", INNER, tenant=tenant),))
    opened, rows = court.open(court.deliver(task.id))
    assert (len(rows), opened.manifest["counts"]["by_target"]) == (found, [found])
    assert verify(court.store, task.id).verdict == COMPLETE


@pytest.mark.parametrize("address", [INNER, "::ffff:10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.9", "fd00::1"])
def test_an_inner_address_alone_names_nobody(court: Court, address: str) -> None:
    """Every customer's own network may have it."""
    with pytest.raises(ProcedureError) as refusal:
        court.file(targets=(WrittenTarget("ip", address),))
    assert refusal.value.reason == "inner-address"


@pytest.mark.parametrize(("element", "found"), [("cgn1/vrf1", 1), ("cgn1/vrf2", 2), ("cgn2", 1), ("cgn1", 0)])
def test_an_address_of_several_vrfs_is_searched_at_the_element_that_the_order_names(
    court: Court, element: str, found: int
) -> None:
    task = court.released(targets=(WrittenTarget("ip", OVERLAPPING, tenant="acme", element=element),))
    opened, rows = court.open(court.deliver(task.id))
    assert (len(rows), opened.manifest["counts"]["by_target"]) == (found, [found])
    assert {row["switch"] for row in rows} <= {element}
    assert opened.manifest["order"]["targets"][0]["element"] == element
    assert verify(court.store, task.id).verdict == COMPLETE


def test_an_address_of_several_vrfs_is_not_guessed(court: Court) -> None:
    target = WrittenTarget("ip", OVERLAPPING, tenant="acme")
    task = court.checked(targets=(target,))
    with pytest.raises(ProcedureError) as refusal:
        court.procedure.preflight(court.actor("approver-1"), task.id)
    assert refusal.value.reason == "several-networks"
    court.approve(task.id)
    with pytest.raises(ProcedureError) as refusal:
        court.run(task.id)
    assert refusal.value.reason == "several-networks"
    order = court.file(targets=(WrittenTarget("ip", OVERLAPPING, tenant="acme", element="cgn1/vrf1"),))
    for element in ("cgn1/vrf2", None):
        with pytest.raises(ProcedureError) as refusal:
            court.register(order, targets=(WrittenTarget("ip", OVERLAPPING, tenant="acme", element=element),))
        assert refusal.value.reason == "target-out-of-scope"


@pytest.mark.parametrize(("kind", "element"), [("number", "cgn1"), ("account", "cgn1"), ("ip", ""), ("ip", "a\nb")])
def test_only_an_address_has_a_network_element(kind: str, element: str) -> None:
    with pytest.raises(ProcedureError) as refusal:
        normalise_target(kind, INNER if kind == "ip" else "0701740007", country="SE", element=element)
    assert refusal.value.reason == "bad-target"
