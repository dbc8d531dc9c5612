"""A target is found in every role that it can have, and nowhere else: compared with a search by eye."""

from __future__ import annotations

import ipaddress
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import PACKED
from schemas.errors import ConfigurationError
from schemas.packing import pack_address, pack_identifier, pack_mac
from store import ScanQuery, Store, TargetIdentifier
from store.reading.targets import matches
from tests.examples import examples
from tests.store.conftest import deliver
from tests.store.records import records

NUMBERS = ["46701740001", "046701740001", "46701740002", "112", "sip:alice@example.net", "x" * 40, "9" * 19]
NUMBER_ROLES = ("calling_number", "called_number", "dialled_number", "forwarded_number")
IMSIS = ["240010000000001", "24001000000001", "240010000000002"]
IMEIS = [
    "35209900176148",
    "352099001761481",
    "3520990017614823",
    "35209900176149",
    "35-209900-176148-1",
    "352099",
    "abc",
]
MACS = ["00:11:22:33:44:55", "00:11:22:33:44:56"]
ADDRESSES = ["192.0.2.1", "192.0.2.2", "192.0.3.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "2001:db8:1::1", "::1"]
ADDRESS_ROLES = ("source_ip", "destination_ip", "nat_ip")
PREFIXES = ["2001:db8::/48", "2001:db8:1::/56", "2001:db8::/32"]
PORTS = [0, 80, 1023, 1024, 2047, 65535]
ACCOUNTS = ["A-1", "1001", "01001"]


def maybe(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.none() | st.sampled_from(values)


ROW = st.fixed_dictionaries(
    {
        **{name: maybe(NUMBERS) for name in NUMBER_ROLES},
        **{name: maybe(IMSIS) for name in ("imsi", "called_imsi")},
        **{name: maybe(IMEIS) for name in ("imei", "called_imei")},
        "mac": maybe(MACS),
        **{name: maybe(ADDRESSES) for name in ADDRESS_ROLES},
        "ipv6_prefix": maybe(PREFIXES),
        **{name: maybe(PORTS) for name in ("source_port", "destination_port", "nat_port_first", "nat_port_last")},
        "account": maybe(ACCOUNTS),
    }
)
TARGET = st.one_of(
    *(
        st.builds(TargetIdentifier, st.just(kind), st.sampled_from(values))
        for kind, values in (
            ("number", NUMBERS),
            ("imsi", IMSIS),
            ("imei", IMEIS[:4]),
            ("mac", MACS),
            (
                "ip",
                [*ADDRESSES, "192.0.2.0/24", "192.0.2.1/32", "0.0.0.0/0", "2001:db8::/47", "2001:db8:1::/48", "::/0"],
            ),
            ("account", ACCOUNTS),
        )
    ),
    st.builds(TargetIdentifier, st.just("ip"), st.sampled_from(ADDRESSES), st.sampled_from(PORTS)),
)


def packed(rows: list[dict[str, Any]], absent: frozenset[str] = frozenset()) -> pa.Table:
    """Pack rows; columns in which every row is null are left out, as parts leave them out."""
    made: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name.endswith("_ip"):
            made[name], made[name + "_v6"], _ = pack_address(pa.array(values, pa.string()))
        elif name == "mac":
            made[name], _ = pack_mac(pa.array(values, pa.string()))
        elif name + "_text" in PACKED.names:
            made[name], made[name + "_text"] = pack_identifier(pa.array(values, pa.string()))
        else:
            made[name] = pa.array(values, PACKED.field(name).type)
    kept = {name: column for name, column in made.items() if column.null_count < len(column)}
    return pa.table({"row": pa.array(range(len(rows))), **kept})


def by_eye(row: dict[str, Any], target: TargetIdentifier) -> bool:
    value = target.value
    if target.kind == "number":
        return value in [row[name] for name in NUMBER_ROLES]
    if target.kind == "imsi":
        return value in (row["imsi"], row["called_imsi"])
    if target.kind == "imei":
        written = ["".join(filter(str.isalnum, row[name] or "")) for name in ("imei", "called_imei")]
        return any(text.isdigit() and 14 <= len(text) <= 16 and text[:14] == value[:14] for text in written)
    if target.kind in ("mac", "account"):
        return bool(row[target.kind] == value)
    wanted = ipaddress.ip_network(value, strict=False)
    ports = {
        "source_ip": (row["source_port"], row["source_port"]),
        "destination_ip": (row["destination_port"], row["destination_port"]),
        "nat_ip": (row["nat_port_first"], row["nat_port_last"]),
    }
    for name, (first, last) in ports.items():
        if row[name] is None or ipaddress.ip_address(row[name]) not in wanted:
            continue
        low, high = (first if first is not None else last), (last if last is not None else first)
        if target.port is None or low is None or low <= target.port <= high:
            return True
    prefix = row["ipv6_prefix"]
    return prefix is not None and wanted.version == 6 and ipaddress.ip_network(prefix).overlaps(wanted)


@examples(100)
@given(st.lists(ROW, min_size=1, max_size=12), st.lists(TARGET, min_size=1, max_size=6))
def test_matching_equals_a_search_by_eye(rows: list[dict[str, Any]], targets: list[TargetIdentifier]) -> None:
    table = packed(rows)
    for target in targets:
        found = matches(table, target).to_pylist()
        assert found == [by_eye(row, target) for row in rows], (target.kind, target.value, target.port)


def test_a_stored_record_is_found_by_each_of_its_identifiers_in_every_role(store: Store) -> None:
    row = {
        "calling_number": "46701740001", "called_number": "46701740002", "dialled_number": "112",
        "forwarded_number": "sip:alice@example.net", "imsi": IMSIS[0], "called_imsi": IMSIS[2], "imei": IMEIS[2],
        "called_imei": "490154203237518", "mac": MACS[0], "source_ip": ADDRESSES[0], "destination_ip": ADDRESSES[5],
        "nat_ip": ADDRESSES[2], "nat_port_first": 1024, "nat_port_last": 2047, "ipv6_prefix": PREFIXES[1],
        "account": "A-1", "source_port": None, "destination_port": 443,
    }  # fmt: skip
    one = packed([row]).drop_columns(["row"])
    table = records(1)
    table = table.drop_columns([name for name in table.column_names if name in one.column_names])
    for name in one.column_names:
        table = table.append_column(name, one.column(name))
    deliver(store, table)
    others: dict[str, Any] = {name: pa.nulls(50, pa.int64()) for name in ("calling_number", "called_number", "imsi")}
    deliver(store, records(50, first_key=100, source_ip=pa.nulls(50, pa.uint32()), **others))

    def found(kind: str, value: str, port: int | None = None) -> int:
        query = ScanQuery(0, 2**60, targets=(TargetIdentifier(kind, value, port),), columns=("record_key",))
        return sum(batch.num_rows for batch in store.scan(query))

    hits = [
        *(("number", row[name]) for name in NUMBER_ROLES),
        ("imsi", IMSIS[0]), ("imsi", IMSIS[2]), ("imei", "35209900176148"), ("imei", "490154203237510"),
        ("mac", "0011.2233.4455"), ("ip", "192.0.2.1"), ("ip", "2001:0db8::1"), ("ip", "192.0.3.0/25"),
        ("ip", "2001:db8:1::77"), ("account", "A-1"),
    ]  # fmt: skip
    assert [(kind, value) for kind, value in hits if found(kind, str(value)) != 1] == []
    assert [found("ip", "192.0.3.1", port) for port in (1023, 1024, 2047, 2048)] == [0, 1, 1, 0]
    assert [found("ip", "2001:db8::1", port) for port in (443, 80)] == [1, 0]
    assert found("number", "46701749999") == found("imsi", "46701740001") == found("ip", "198.51.100.1") == 0


@pytest.mark.parametrize(
    ("kind", "value", "port"),
    [
        ("phone", "46701740001", None),
        ("number", "", None),
        ("mac", "00:11:22:33:44", None),
        ("imei", "352099", None),
        ("imei", "35209900176148X", None),
        ("ip", "192.0.2.256", None),
        ("ip", "192.0.2.0/33", None),
        ("ip", "::ffff:192.0.2.0/120", None),
        ("ip", "example.net", None),
        ("ip", "192.0.2.1", 65536),
        ("ip", "192.0.2.0/24", 80),
        ("number", "46701740001", 80),
    ],
)
def test_a_target_that_can_never_match_is_refused_and_not_answered_with_nothing(
    store: Store, kind: str, value: str, port: int | None
) -> None:
    with pytest.raises(ConfigurationError) as caught:  # even where there is nothing to search
        list(store.scan(ScanQuery(0, 2**60, targets=(TargetIdentifier(kind, value, port),))))
    assert not value or value not in str(caught.value)
