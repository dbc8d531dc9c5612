"""IP and MAC addresses: text to integers and back, a column at a time.

IPv4 is a uint32, IPv6 is 16 bytes, an IPv4-mapped IPv6 address becomes IPv4. Octets with a leading zero are no
addresses: one program reads them as octal, the next as decimal. An empty text is no address delivered: null.

Source: RFC 6943 §3.1.1 (why ambiguous textual forms are refused); RFC 5952 (the text form that comes out).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.arrow import V6_TYPE
from schemas.buffers import Bytes, Column, Mask, as_text, flags, flat, pc, stretches, text_views, valid_mask

_DOT: Final = ord(".")
_ZERO: Final = ord("0")
_OCTET_MIN: Final = np.array([0, 0, 0, 10, 100], np.uint16)  # by distance between separators: no leading zero
_OCTET_TEXT: Final[Column] = pa.array([str(octet) for octet in range(256)])
_OCTET_HEX: Final[Column] = pa.array([f"{octet:02x}" for octet in range(256)])
_HEX: Final = np.full(256, 255, np.uint8)
for _digit in "0123456789abcdefABCDEF":
    _HEX[ord(_digit)] = int(_digit, 16)
_MAC_FORMS: Final = {  # length -> (places of the hex digits, places of the separators)
    17: ([0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16], [2, 5, 8, 11, 14]),  # aa:bb:cc:dd:ee:ff, AA-BB-…
    14: ([0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13], [4, 9]),  # aabb.ccdd.eeff
    12: (list(range(12)), []),  # aabbccddeeff
}
_MAC_SHORT: Final = re.compile(r"[0-9A-Fa-f]{1,2}(?:([:-])[0-9A-Fa-f]{1,2})(?:\1[0-9A-Fa-f]{1,2}){4}")


def pack_address(array: Column) -> tuple[Column, Column, Mask]:
    """Pack addresses: (IPv4, IPv6, which rows are no addresses). Of the first two at most one is non-null in a row."""
    column = flat(array)
    if isinstance(column, pa.DictionaryArray):
        v4, v6, bad = pack_address(column.dictionary)
        told = np.asarray(pc.fill_null(column.indices, 0).to_numpy(zero_copy_only=False))
        spread = bad.take(told) & valid_mask(column.indices) if len(bad) else flags(len(column))
        return v4.take(column.indices), v6.take(column.indices), spread
    column = as_text(column)
    if column.null_count == len(column):
        return pa.nulls(len(column), pa.uint32()), pa.nulls(len(column), V6_TYPE), flags(len(column))
    parts = [_pack_stretch(stretch) for stretch in stretches(column)]
    if len(parts) == 1:
        return parts[0]
    return (
        pa.concat_arrays([part[0] for part in parts]),
        pa.concat_arrays([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
    )


def _pack_stretch(column: Column) -> tuple[Column, Column, Mask]:
    rows = len(column)
    offsets, data = text_views(column)
    if column.null_count == 0 and len(data) and data.min() >= _DOT and data.max() <= ord(":") - 1:
        quads = _dotted_quads(offsets, data)
        if quads is not None and quads[1].all():
            return pa.array(quads[0]), pa.nulls(rows, V6_TYPE), flags(rows)
    return _pack_mixed(column, offsets, data)


def _dotted_quads(offsets: npt.NDArray[np.int32], data: Bytes) -> tuple[npt.NDArray[np.uint32], Mask] | None:
    """Read rows of digits and dots; None unless every row has its three dots.

    The value of "the octet that ends here" is computed at every byte, then taken where octets end: straight
    arithmetic over bytes costs less than looking up each octet's digits.
    """
    rows = len(offsets) - 1
    dots = data == _DOT
    places = np.flatnonzero(dots)
    if len(places) != 3 * rows:
        return None
    bounds = np.empty((5, rows), np.int64)  # before the first octet, the three dots, after the last octet
    bounds[0] = offsets[:-1]
    bounds[1:4] = places.reshape(rows, 3).T
    bounds[4] = offsets[1:]
    first = bounds[0].copy()
    bounds[0] -= 1
    distance = bounds[1:] - bounds[:-1]
    if distance.min() < 1:
        return None
    goes_on = np.empty(len(data), np.uint8)  # 1 where the byte before belongs to the same octet
    np.logical_not(dots[:-1], out=goes_on[1:].view(np.bool_))
    goes_on[first] = 0
    digit = data - np.uint8(_ZERO)
    tens = np.zeros(len(data), np.uint8)
    np.multiply(digit[:-1], goes_on[1:], out=tens[1:])
    hundreds = np.zeros(len(data), np.uint16)
    np.multiply(tens[:-1], goes_on[1:], out=hundreds[1:])
    hundreds *= np.uint16(100)
    tens *= np.uint8(10)
    tens += digit
    hundreds += tens
    ends = bounds[1:]
    ends -= 1
    octets = hundreds.take(ends)
    good = (distance >= 2) & (distance <= 4) & (octets <= 255) & (octets >= _OCTET_MIN.take(distance, mode="clip"))
    wide = octets.astype(np.uint32)
    address = wide[0] << np.uint32(24)
    address |= wide[1] << np.uint32(16)
    address |= wide[2] << np.uint32(8)
    address |= wide[3]
    return address, np.logical_and.reduce(good, axis=0)


def _pack_mixed(column: Column, offsets: npt.NDArray[np.int32], data: Bytes) -> tuple[Column, Column, Mask]:
    """Pack a stretch with nulls, IPv6 or rows that are no addresses; dotted quads keep their fast road."""
    rows = len(column)
    valid = valid_mask(column)
    dots, others = np.zeros(len(data) + 1, np.int32), np.zeros(len(data) + 1, np.int32)
    np.cumsum(data == _DOT, out=dots[1:])
    np.cumsum((data != _DOT) & ((data - np.uint8(_ZERO)) > np.uint8(9)), out=others[1:])
    start, end = offsets[:-1], offsets[1:]
    dotted = valid & (dots[end] - dots[start] == 3) & (others[end] == others[start])
    v4 = np.zeros(rows, np.uint32)
    is_v4 = flags(rows)
    if dotted.any():
        quads = _dotted_quads(*text_views(column.filter(pa.array(dotted))))
        if quads is not None:  # None: two dots in a row somewhere, and then the slow road decides
            v4[dotted], is_v4[dotted] = quads
    v6: list[bytes | None] = [None] * rows
    bad = flags(rows)
    slow = np.flatnonzero(valid & ~is_v4 & (end > start))
    known: dict[str, tuple[int | None, bytes | None]] = {}
    for row, text in zip(slow.tolist(), column.take(pa.array(slow)).to_pylist(), strict=True):
        if text not in known:
            known[text] = pack_address_value(text)
        number, sixteen = known[text]
        if number is not None:
            v4[row], is_v4[row] = number, True
        elif sixteen is not None:
            v6[row] = sixteen
        else:
            bad[row] = True
    return pa.array(v4, mask=~is_v4), pa.array(v6, V6_TYPE), bad


def pack_address_value(text: str) -> tuple[int | None, bytes | None]:
    """Pack one address; (None, None) when the text is no address."""
    try:
        if ":" not in text:
            return int(IPv4Address(text)), None
        address = IPv6Address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None, None
    mapped = address.ipv4_mapped
    return (int(mapped), None) if mapped is not None else (None, address.packed)


def unpack_address(v4: Column | None, v6: Column | None = None) -> Column:
    """Return addresses as text; IPv6 in the form of RFC 5952."""
    dotted: Any = None
    if v4 is not None:
        column = flat(v4)
        values = np.asarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False)).astype(">u4")
        octets = values.view(np.uint8).reshape(-1, 4)
        texts = [_OCTET_TEXT.take(pa.array(np.ascontiguousarray(octets[:, place]))) for place in range(4)]
        dotted = pc.if_else(column.is_valid(), pc.binary_join_element_wise(*texts, "."), pa.scalar(None, pa.string()))
    if v6 is None:
        return dotted
    sixteens = flat(v6)
    if dotted is not None and sixteens.null_count == len(sixteens):
        return dotted
    encoded = sixteens.dictionary_encode()
    names = pa.array([str(IPv6Address(packed)) for packed in encoded.dictionary.to_pylist()], pa.string())
    long = names.take(encoded.indices)
    return long if dotted is None else pc.coalesce(dotted, long)


def pack_mac(array: Column) -> tuple[Column, Mask]:
    """Pack MAC addresses in any usual writing: (int64 of 48 bits, which rows are no MAC addresses).

    `array` is text, plain or as a dictionary; null and empty texts stay null and are no faults.
    """
    column = flat(array)
    if isinstance(column, pa.DictionaryArray):
        packed, bad = pack_mac(column.dictionary)
        told = np.asarray(pc.fill_null(column.indices, 0).to_numpy(zero_copy_only=False))
        return packed.take(column.indices), (bad.take(told) & valid_mask(column.indices)) if len(bad) else flags(
            len(column)
        )
    column = as_text(column)
    rows = len(column)
    offsets, data = text_views(column)
    lengths = offsets[1:] - offsets[:-1]
    wanted = valid_mask(column) & (lengths > 0)
    values, done = np.zeros(rows, np.int64), flags(rows)
    for length, (digits, separators) in _MAC_FORMS.items():
        chosen = np.flatnonzero(wanted & (lengths == length))
        if not len(chosen):
            continue
        text = data[offsets[chosen][:, None] + np.arange(length)]
        nibbles = _HEX[text[:, digits]]
        good = (nibbles <= 15).all(axis=1)
        if separators:
            marks = text[:, separators]
            allowed = np.isin(marks[:, 0], (ord("."),) if length == 14 else (ord(":"), ord("-")))
            good &= (marks == marks[:, :1]).all(axis=1) & allowed
        values[chosen] = nibbles.astype(np.int64) @ (16 ** np.arange(11, -1, -1, dtype=np.int64))
        done[chosen] = good
    bad = flags(rows)
    slow = np.flatnonzero(wanted & ~done)
    for row, one in zip(slow.tolist(), column.take(pa.array(slow)).to_pylist(), strict=True):
        value = pack_mac_value(one)
        if value is None:
            bad[row] = True
        else:
            values[row], done[row] = value, True
    return pa.array(values, mask=~done), bad


def pack_mac_value(text: str) -> int | None:
    """Pack one MAC address; None when the text is none."""
    if _MAC_SHORT.fullmatch(text):
        return int("".join(part.zfill(2) for part in re.split("[:-]", text)), 16)
    if re.fullmatch(r"[0-9A-Fa-f]{12}|[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}", text):
        return int(text.replace(".", ""), 16)
    return None


def unpack_mac(packed: Column) -> Column:
    """Return MAC addresses, an int64 column of 48 bits, as text aa:bb:cc:dd:ee:ff; null stays null."""
    column = flat(packed)
    values = np.asarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False)).astype(">i8")
    octets = values.view(np.uint8).reshape(-1, 8)[:, 2:]
    texts = [_OCTET_HEX.take(pa.array(np.ascontiguousarray(octets[:, place]))) for place in range(6)]
    return pc.if_else(column.is_valid(), pc.binary_join_element_wise(*texts, ":"), pa.scalar(None, pa.string()))
