"""Packing loses nothing, and refuses what is no address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import packing
from schemas.arrow import PACKED, V6_TYPE
from schemas.buffers import STRETCH_ROWS
from schemas.packing import (
    pack_address,
    pack_address_value,
    pack_identifier,
    pack_identifier_value,
    pack_mac,
    pack_mac_value,
    unpack_address,
    unpack_identifier,
    unpack_identifier_value,
    unpack_mac,
    unpack_table,
)
from store import native
from tests.examples import examples

DIGITS = st.text("0123456789", min_size=1, max_size=22)
ODD = st.sampled_from(
    [
        "",
        "+46701234567",
        "0x1F",
        "-5",
        " 46",
        "46 ",
        "\u0664\u0666",
        "\uff14\uff16",
        "1e5",
        "00",
        "0",
        "9" * 18,
        "9" * 19,
        "1\x002",
        "\ud7ff",
    ]
)
IDENTIFIERS = st.lists(st.none() | DIGITS | ODD | st.text(max_size=8), max_size=30)


@given(IDENTIFIERS)
@example(["46701234567", "0046", "9" * 18])
@example([None, "", "1"])
@example(["", None])
def test_identifiers_survive_packing(values: list[str | None]) -> None:
    column = pa.array(values, pa.string())
    packed, text = pack_identifier(column)
    assert (packed.type, text.type) == (pa.int64(), pa.string())
    assert unpack_identifier(packed, text).to_pylist() == values
    for row, value in enumerate(values):
        both = (packed[row].as_py(), text[row].as_py())
        assert None in both
        assert (both == (None, None)) == (value is None)
        if value is not None:
            assert both == pack_identifier_value(value)
            assert unpack_identifier_value(*both) == value


@given(st.lists(DIGITS | ODD | st.none(), min_size=1, max_size=20), st.data())
def test_slices_chunks_and_dictionaries_pack_alike(values: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(values)))
    whole = pa.array(["012", "x", *values], pa.string())
    sliced = whole.slice(2 + start)
    for column in (
        sliced,
        pa.chunked_array([sliced.slice(0, 1), sliced.slice(1)]),
        sliced.dictionary_encode(),
        whole.dictionary_encode().slice(2 + start),
        sliced.cast(pa.large_string()),
    ):
        assert unpack_identifier(*pack_identifier(column)).to_pylist() == values[start:]


@given(st.lists(DIGITS | ODD | st.none(), min_size=1, max_size=20), st.integers(0, 20))
def test_compiled_packing_is_the_same(values: list[str | None], start: int) -> None:
    column = pa.array(values, pa.string()).slice(start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_kernels", [])
        expected = pack_identifier(column)
        patch.setattr(packing, "_kernels", [native.load("schemas.number_kernels")])
        patch.setattr(packing, "KERNEL_ROWS_MIN", 1)
        found = pack_identifier(column)
    for one, other in zip(found, expected, strict=True):
        one.validate(full=True)
        assert one.equals(other)


def test_leading_zeros_stay_apart() -> None:
    packed, _ = pack_identifier(pa.array(["46", "046", "0046"]))
    assert packed.to_pylist() == [146, 1046, 10046]


def test_columns_without_a_value_pack_to_nulls() -> None:
    for column in (pa.nulls(3, pa.string()), pa.nulls(3), pa.array([], pa.string()), pa.chunked_array([], pa.string())):
        packed, text = pack_identifier(column)
        assert packed.null_count == text.null_count == len(column)
        v4, v6, bad = pack_address(column)
        assert v4.null_count == v6.null_count == len(column)
        assert (v4.type, v6.type) == (pa.uint32(), V6_TYPE)
        assert not bad.any()
        mac, bad = pack_mac(column)
        assert mac.null_count == len(column)
        assert not bad.any()


V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).map(str)
NO_ADDRESS = st.sampled_from(
    [
        *(
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.999",
            "01.2.3.4",
            "1.2.3.04",
            "1.2.3.",
            ".1.2.3",
            "1..2.3",
            "...",
            ".",
        ),
        *(
            "1.2.3.4 ",
            "a.b.c.d",
            "1.2.3.4/8",
            "1/2.3.4",
            ":",
            "::1::",
            "12345::",
            "1.2.3.-4",
            "0x1.2.3.4",
            "1234.1.1.1",
        ),
        "\uff11.2.3.4",
    ]
)


@given(st.lists(V4 | V6 | NO_ADDRESS | st.none() | st.just(""), max_size=30))
@examples(100)
def test_addresses_agree_with_the_standard_library(values: list[str | None]) -> None:
    v4, v6, bad = pack_address(pa.array(values, pa.string()))
    for row, value in enumerate(values):
        both = (v4[row].as_py(), v6[row].as_py())
        if not value:
            assert both == (None, None)
            assert not bad[row]
            continue
        expected = _reference(value)
        assert both == expected == pack_address_value(value)
        assert bool(bad[row]) == (expected == (None, None))
        assert unpack_address(v4, v6)[row].as_py() == _text(*both)


def _text(v4: int | None, v6: bytes | None) -> str | None:
    if v4 is not None:
        return str(IPv4Address(v4))
    return None if v6 is None else str(IPv6Address(v6))


def _reference(text: str) -> tuple[int | None, bytes | None]:
    try:
        if ":" not in text:
            return int(IPv4Address(text)), None
        address = IPv6Address(text)
    except ValueError:
        return None, None
    return (int(address.ipv4_mapped), None) if address.ipv4_mapped else (None, address.packed)


@given(st.lists(V4, max_size=50))
def test_dotted_quads_survive_packing(values: list[str]) -> None:
    v4, v6, bad = pack_address(pa.array(values, pa.string()))
    assert not bad.any()
    assert unpack_address(v4, v6).to_pylist() == values


def test_a_mapped_address_becomes_ipv4() -> None:
    v4, v6, bad = pack_address(pa.array(["::ffff:10.0.0.1", "::FFFF:0a00:0001", "[2001:db8::1]", "fe80::1%eth0"]))
    assert v4.to_pylist() == [0x0A000001, 0x0A000001, None, None]
    assert unpack_address(None, v6).to_pylist() == [None, None, "2001:db8::1", "fe80::1"]
    assert not bad.any()


def test_one_bad_address_in_a_long_column_is_the_only_one() -> None:
    rows = 2 * STRETCH_ROWS + 5
    numbers = np.random.default_rng(1).integers(0, 2**32, rows)
    texts = [str(IPv4Address(int(number))) for number in numbers]
    place = STRETCH_ROWS + 1
    for wrong in ("300.1.1.1", "1.1..1", "host"):
        texts[place] = wrong
        v4, _, bad = pack_address(pa.array(texts))
        assert np.flatnonzero(bad).tolist() == [place]
        kept = np.delete(np.asarray(v4.fill_null(0)), place)
        assert (kept == np.delete(numbers, place)).all()


def test_addresses_in_dictionaries_pack_alike() -> None:
    column = pa.array(["1.2.3.4", None, "no", "::1", "1.2.3.4"]).dictionary_encode()
    v4, v6, bad = pack_address(column)
    assert v4.to_pylist() == [0x01020304, None, None, None, 0x01020304]
    assert v6.is_valid().to_pylist() == [False, False, False, True, False]
    assert bad.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    "text",
    [
        "00:1a:2b:3c:4d:5e",
        "00-1A-2B-3C-4D-5E",
        "001a.2b3c.4d5e",
        "001A2B3C4D5E",
        "0:1a:2b:3c:4d:5e",
        "0-1a-2b-3c-4d-5e",
    ],
)
def test_a_mac_is_read_in_every_usual_writing(text: str) -> None:
    packed, bad = pack_mac(pa.array([text, None, text]))
    assert not bad.any()
    assert packed.to_pylist() == [0x001A2B3C4D5E, None, 0x001A2B3C4D5E]
    assert pack_mac_value(text) == 0x001A2B3C4D5E
    assert unpack_mac(packed).to_pylist() == ["00:1a:2b:3c:4d:5e", None, "00:1a:2b:3c:4d:5e"]


@pytest.mark.parametrize(
    "text",
    [
        "00:1a:2b:3c:4d",
        "00:1a-2b:3c:4d:5e",
        "001a:2b3c:4d5e",
        "001a2b3c4d5g",
        "00.1a.2b.3c.4d.5e",
        "0:0:0:0:0:0:0",
        "x",
    ],
)
def test_what_is_no_mac_is_bad(text: str) -> None:
    packed, bad = pack_mac(pa.array([text, "00:00:00:00:00:01"]).dictionary_encode())
    assert bad.tolist() == [True, False]
    assert packed.to_pylist() == [None, 1]
    assert pack_mac_value(text) is None


@given(st.lists(st.integers(0, 2**48 - 1), max_size=20))
def test_macs_survive_packing(values: list[int]) -> None:
    texts = [value.to_bytes(6, "big").hex(":") for value in values]
    packed, bad = pack_mac(pa.array(texts, pa.string()))
    assert not bad.any()
    assert packed.to_pylist() == values
    assert unpack_mac(packed).to_pylist() == texts


def test_a_packed_table_unpacks_to_logical_names_and_types() -> None:
    v4, v6, _ = pack_address(pa.array(["10.0.0.1", "2001:db8::1"]))
    number, text = pack_identifier(pa.array(["46701234567", "sip:a@example.org"]))
    packed = pa.table(
        {
            "calling_number": number,
            "calling_number_text": text,
            "imsi": pack_identifier(pa.array(["240010000000001", None]))[0],
            "source_ip": v4,
            "source_ip_v6": v6,
            "destination_ip_v6": v6,
            "mac": pa.array([1, None], pa.int64()),
            "switch": pa.array(["a", "b"]).dictionary_encode(),
            "start_time": pa.array([1, 2], PACKED.field("start_time").type),
            "session_key": pa.array(["x", "y"]),
        }
    )
    plain = unpack_table(packed)
    assert plain.to_pydict()["calling_number"] == ["46701234567", "sip:a@example.org"]
    assert plain.column("source_ip").to_pylist() == ["10.0.0.1", "2001:db8::1"]
    assert plain.column("destination_ip").to_pylist() == [None, "2001:db8::1"]
    assert plain.column("imsi").to_pylist() == ["240010000000001", None]
    assert plain.column("mac").to_pylist() == ["00:00:00:00:00:01", None]
    assert plain.schema.field("switch").type == pa.string()
    assert "session_key" not in plain.column_names
