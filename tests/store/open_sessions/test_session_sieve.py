"""A target finds every session that holds it, however either is written; and few that do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.addresses import pack_address_value, pack_mac_value
from schemas.arrow import PACKED
from store import Store, TargetIdentifier
from store.open_sessions import session_reading
from store.open_sessions.session_rows import decode
from store.open_sessions.session_sieve import SessionSieve, condition
from store.reading.targets import matches
from tests.conftest import FixedClock
from tests.examples import examples
from tests.store.conftest import deliver
from tests.store.open_sessions.test_sessions import START, event
from tests.store.records import NOW_US

V6 = pack_address_value("2001:db8::7")[1]
HELD: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"calling_number": 146701234567}, "number", ["46701234567"]),
    ({"called_number_text": "0046-x"}, "number", ["0046-x"]),
    ({"forwarded_number": 146701234567}, "number", ["46701234567"]),
    ({"imsi": 1240010000000001}, "imsi", ["240010000000001"]),
    ({"imei": 1350050160000450}, "imei", ["350050160000450", "35005016000045", "3500501600004512"]),
    ({"imei": 135005016000045}, "imei", ["350050160000450", "35005016000045"]),
    ({"called_imei": 13500501600004501}, "imei", ["350050160000459"]),
    ({"imei_text": "350050-16-000045-0"}, "imei", ["350050160000450"]),
    ({"mac": pack_mac_value("02:00:5e:10:00:01")}, "mac", ["02-00-5e-10-00-01"]),
    ({"source_ip": pack_address_value("192.0.2.7")[0]}, "ip", ["192.0.2.7", "192.0.2.0/24"]),
    ({"nat_ip_v6": V6}, "ip", ["2001:db8::7", "2001:db8::/32"]),
    ({"ipv6_prefix": "2001:db8:1::/56"}, "ip", ["2001:db8:1::5", "2001:db8::/32", "2001:db8:1:0::/64"]),
    ({"account": 10_077}, "account", ["0077"]),
    ({"account_text": "a-77"}, "account", ["a-77"]),
]


def session(values: dict[str, Any]) -> pa.Table:
    return pa.table({name: pa.array([value], PACKED.field(name).type) for name, value in values.items()})


def is_admitted(sieve: SessionSieve, row: pa.Table, target: TargetIdentifier) -> bool:
    (bits,) = sieve.of_rows(row)
    asked = sieve.of_target(target)
    return not asked or any(bits & word == word for word in asked)


@pytest.mark.parametrize(("values", "kind", "written"), HELD)
def test_whatever_matches_is_admitted(store: Store, values: dict[str, Any], kind: str, written: list[str]) -> None:
    sieve = SessionSieve(store.keyring)
    for value in written:
        target = TargetIdentifier(kind, value)
        assert np.asarray(matches(session(values), target)).all(), "the example is one"
        assert is_admitted(sieve, session(values), target)


@examples(70)
@given(data=st.data())
def test_nothing_that_matches_is_left_out(data: st.DataObject, shared_keyring: SessionSieve) -> None:
    values, kind, _ = data.draw(st.sampled_from(HELD))
    others = data.draw(st.lists(st.sampled_from(HELD), max_size=4))
    row = session({name: value for some in [*(other[0] for other in others), values] for name, value in some.items()})
    target = TargetIdentifier(
        kind, data.draw(st.sampled_from([value for _, of, some in HELD for value in some if of == kind]))
    )
    if np.asarray(matches(row, target)).any():
        assert is_admitted(shared_keyring, row, target)


@pytest.fixture(scope="module")
def shared_keyring(tmp_path_factory: pytest.TempPathFactory) -> SessionSieve:
    with Store.create(tmp_path_factory.mktemp("sieve") / "root", clock=FixedClock(NOW_US)) as store:
        return SessionSieve(store.keyring)


def test_few_are_opened_in_vain_and_another_store_has_other_bits(store: Store, shared_keyring: SessionSieve) -> None:
    rows = 20_000
    names = ("calling_number", "imsi", "imei", "source_ip", "account", "mac")
    table = pa.table({name: pa.array(np.arange(rows) + 10**9, PACKED.field(name).type) for name in names})
    bits = np.array(SessionSieve(store.keyring).of_rows(table))
    (word,) = SessionSieve(store.keyring).of_target(TargetIdentifier("number", "46701234567"))
    assert 0 < np.count_nonzero(bits & word == word) < rows // 20
    assert not np.array_equal(bits, shared_keyring.of_rows(table))


def test_the_catalog_gives_the_sessions_of_a_target_and_opens_no_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = range(146700000000, 146700000300)
    for key, number in enumerate(numbers):
        deliver(store, event("open", f"s{key}", key * 10, start_time=START, calling_number=number))
    opened: list[int] = []

    def counted(blobs: Sequence[bytes]) -> pa.Table:
        opened.append(len(blobs))
        return decode(blobs)

    monkeypatch.setattr(session_reading, "decode", counted)
    target = TargetIdentifier("number", "46700000123")
    (batch,) = store.open_sessions([target])
    assert batch.column("calling_number").to_pylist() == [146700000123]
    assert sum(opened) < 30
    assert list(store.open_sessions([TargetIdentifier("number", "46799999999")])) == []
    both = sum(batch.num_rows for batch in store.open_sessions([target, TargetIdentifier("ip", "192.0.2.0/24")]))
    assert both == 1, "a prefix leaves nothing out, and nothing else comes in"
    assert condition(SessionSieve(store.keyring), []) == ("1", [])
    assert sum(batch.num_rows for batch in store.open_sessions()) == 300


def test_what_a_later_event_tells_is_found(store: Store) -> None:
    deliver(store, event("open", "s1", 1, start_time=START, calling_number=146700000001))
    deliver(store, event("update", "s1", 2, imsi=1240010000000001))
    for target in (TargetIdentifier("number", "46700000001"), TargetIdentifier("imsi", "240010000000001")):
        assert sum(batch.num_rows for batch in store.open_sessions([target])) == 1
