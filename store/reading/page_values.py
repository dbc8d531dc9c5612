"""Values of one page of a Parquet column, without Arrow's reader: the encodings that parts have. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store import native
from store.reading import thrift

PLAIN, DELTA, LENGTHS = 0, 5, 6
"""Parquet's numbers of encodings: PLAIN, DELTA_BINARY_PACKED, DELTA_LENGTH_BYTE_ARRAY."""
KERNEL_ROWS: Final = 512
_NAMES: Final = {"PLAIN": PLAIN, "DELTA_BINARY_PACKED": DELTA, "DELTA_LENGTH_BYTE_ARRAY": LENGTHS}
_LEVELS: Final = "RLE"
_KERNELS: Final = "store.reading.page_kernels"
_DATA_PAGE: Final = 0
_NEXT_NUMBER: Final = 0x15
"""Of a structure in Thrift's compact protocol: the next field, a whole number of 32 bits."""
_SHORT: Final = bytes([_NEXT_NUMBER, _DATA_PAGE, _NEXT_NUMBER])
"""How a header of a page of values begins, its size behind it."""
_OWN: Final = b"\x2c\x15"
"""What pages of values have of their own begins: the field after the next, a structure; its rows."""
_FRAME: Final = b"\x28\xb5\x2f\xfd"
_WORD_MAX: Final = 2**64 - 1

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a page says."""

    rows: int
    bytes: int
    """Of the page, decompressed."""
    encoding: int


def header(data: bytes) -> Header | None:
    """Parse a page's header; None where it is no page of values.

    Raises:
        IndexError, ValueError: it is none.
    """
    return _short(data) or _any(data)


def _short(data: bytes) -> Header | None:
    """Parse a header that is laid as Arrow lays those of pages of values; None for any other."""
    if data[:3] != _SHORT:
        return None
    size, at = thrift.varint(data, 3)
    if data[at] != _NEXT_NUMBER:
        return None
    _, at = thrift.varint(data, at + 1)
    if data[at : at + 2] != _OWN:
        return None
    rows, at = thrift.varint(data, at + 2)
    if data[at] != _NEXT_NUMBER:
        return None
    encoding, _ = thrift.varint(data, at + 1)
    return Header(thrift.zigzag(rows), thrift.zigzag(size), thrift.zigzag(encoding))


def _any(data: bytes) -> Header | None:
    told, _ = thrift.struct(data)
    if told.get(1) != _DATA_PAGE or not isinstance(told.get(5), dict):
        return None
    return Header(told[5][1], told[2], told[5][2])


def encoding(names: Iterable[str]) -> int:
    """Return the number of the one encoding that a column's values have, beside that of levels; -1 for no such."""
    of_values = [name for name in names if name != _LEVELS]
    return _NAMES.get(of_values[0], -1) if len(of_values) == 1 else -1


def frame_bytes(data: bytes) -> int:
    """Return the bytes that a zstd frame says it holds (RFC 8878, section 3.1.1.1); -1 where it does not say.

    Raises:
        IndexError: it is cut short.
    """
    told = data[4]
    whole = told & 32  # in one segment: no window is told, and a size always
    size = (1 if whole else 0, 2, 4, 8)[told >> 6]
    if data[:4] != _FRAME or not size:
        return -1
    at = (5 if whole else 6) + (0, 1, 2, 4)[told & 3]
    found = int.from_bytes(data[at : at + size], "little")
    return found + 256 if size == 2 else found


def is_known(kind: Any, encoding: int) -> bool:
    """Tell whether values of a type in an encoding can be read here."""
    if pa.types.is_fixed_size_binary(kind):
        return encoding == PLAIN
    if pa.types.is_int64(kind):
        return encoding == DELTA
    return bool(pa.types.is_string(kind)) and encoding == LENGTHS


def values(data: bytes | memoryview, rows: int, kind: Any, *, nullable: bool) -> Any:
    """Return the rows of a decompressed page as an Arrow array.

    Raises:
        IndexError, ValueError: the page is torn.
    """
    rest = np.frombuffer(data, np.uint8)
    valid = None
    if nullable:
        end = 4 + int.from_bytes(data[:4], "little")
        valid, rest = levels(rest[4:end], rows), rest[end:]
    present = rows if valid is None else int(valid.sum())
    if pa.types.is_fixed_size_binary(kind):
        return _fixed(rest, present, kind, valid)
    if pa.types.is_int64(kind):
        whole, _ = deltas(rest)
        if len(whole) != present:
            raise ValueError("a page has other values than it says")
        return array(kind, rows, _spread(whole, valid), valid)
    return _texts(rest, present, valid)


def levels(data: Bytes, rows: int) -> Flags | None:
    """Return which rows have a value, from definition levels of one bit; None for all.

    Raises:
        ValueError: they are torn.
    """
    found = np.empty(rows, np.bool_)
    compiled = kernels(rows)
    present = (_unpack_levels if compiled is None else compiled.unpack_levels)(data, found)
    if present < 0:
        raise ValueError("a page's levels are torn")
    return None if present == rows else found


def _unpack_levels(data: Bytes, found: Flags) -> int:
    """Twin of the compiled loop: Parquet's hybrid of runs and packed bits; return how many are set, -1 if torn."""
    view: Any = memoryview(data.data)
    at = told = 0
    while told < len(found):
        try:
            run, at = thrift.varint(view, at)
        except IndexError:
            return -1
        if not run >> 1 or at + (run >> 1 if run & 1 else 1) > len(data):
            return -1
        if run & 1:
            bits = np.unpackbits(data[at : at + (run >> 1)], bitorder="little")[: len(found) - told]
            found[told : told + len(bits)] = bits
            at, told = at + (run >> 1), told + len(bits)
        else:
            count = min(run >> 1, len(found) - told)
            found[told : told + count] = bool(data[at] & 1)
            at, told = at + 1, told + count
    return int(found.sum())


def deltas(data: Bytes) -> tuple[Ints, int]:
    """Undo `DELTA_BINARY_PACKED`; return the values and where they end.

    Raises:
        IndexError, ValueError: they are torn.
    """
    view: Any = memoryview(data.data)
    block, at = thrift.varint(view, 0)
    miniblocks, at = thrift.varint(view, at)
    count, at = thrift.varint(view, at)
    first, at = thrift.varint(view, at)
    if not miniblocks or not block or block % miniblocks or (block // miniblocks) % 8 or count > 64 * (len(data) + 1):
        raise ValueError("a page has no such blocks")
    found = np.empty(count, np.int64)
    if not count:
        return found, at
    found[0] = thrift.zigzag(first)
    compiled = kernels(count)
    unpack = _unpack_deltas if compiled is None else compiled.unpack_deltas
    end = unpack(data, at, block, block // miniblocks, found)
    if end < 0:
        raise ValueError("a page of differences is torn")
    return found, end


def _unpack_deltas(data: Bytes, at: int, block: int, miniblock: int, found: Ints) -> int:
    """Twin of the compiled loop."""
    view: Any = memoryview(data.data)
    steps = np.empty(len(found) - 1 + block, np.uint64)
    done, count = 0, len(found) - 1
    while done < count:
        try:
            least, at = thrift.varint(view, at)
        except IndexError:
            return -1
        widths = data[at : at + block // miniblock]
        at += block // miniblock
        if at > len(data):
            return -1
        for width in widths.tolist():
            if done >= count:
                break
            size = width * miniblock // 8
            if width > 64 or at + size > len(data):
                return -1
            bits = np.unpackbits(data[at : at + size], bitorder="little").reshape(miniblock, width)
            weights = np.uint64(1) << np.arange(width, dtype=np.uint64)
            steps[done : done + miniblock] = bits.astype(np.uint64) @ weights + np.uint64(
                thrift.zigzag(least) & _WORD_MAX
            )
            at += size
            done += miniblock
    found[1:] = (np.cumsum(steps[:count]) + found[:1].view(np.uint64)).view(np.int64)
    return at


def kernels(rows: int) -> Any:
    """Return the compiled loops where they are worth loading for so many rows, or None."""
    if rows < KERNEL_ROWS and not native.is_loaded(_KERNELS):
        return None
    return native.load(_KERNELS)


def _fixed(data: Bytes, present: int, kind: Any, valid: Any) -> Any:
    width = kind.byte_width
    if len(data) != present * width:
        raise ValueError("a page has other values than it says")
    spread = _spread(data.reshape(present, width), valid)
    return array(kind, len(spread), spread, valid)


def _texts(data: Bytes, present: int, valid: Any) -> Any:
    sizes, at = deltas(data)
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    if len(sizes) != present or (sizes < 0).any() or at + offsets[-1] != len(data):
        raise ValueError("a page has other values than it says")
    if valid is not None:
        offsets = offsets[np.concatenate([[0], np.cumsum(valid)])]
    buffers = [_bitmap(valid), _buffer(offsets.astype(np.int32)), _buffer(data[at:].copy())]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


def _spread(found: Any, valid: Any) -> Any:
    """Put the values of rows that have one into their rows."""
    if valid is None:
        return found
    out = np.zeros((len(valid), *found.shape[1:]), found.dtype)
    out[valid] = found
    return out


def array(kind: Any, rows: int, data: Any, valid: Any) -> Any:
    """Return values side by side as an Arrow array; `valid` tells which rows have one, None that all do."""
    return pa.Array.from_buffers(kind, rows, [_bitmap(valid), _buffer(data)])


def _bitmap(valid: Any) -> Any:
    return None if valid is None else _buffer(np.packbits(valid, bitorder="little"))


def _buffer(data: Any) -> Any:
    wrap: Any = pa.py_buffer  # its stub does not know arrays
    return wrap(data if isinstance(data, bytes) else np.ascontiguousarray(data))
