"""Forms: how a column of integers lies in a part's file, and which form a column takes.

| form | in the file | good for |
|---|---|---|
| constant | in the layout only | one value |
| word | a slot of its span's bits in the word of the record | random figures: nothing squeezes them |
| bytes | each byte of the code a column of its own, zstd | skewed figures: an entropy coder earns its time |
| repeat | low bytes where a page or another value begins, else null | runs, as of equipment beside its caller |
| delta | `DELTA_BINARY_PACKED`; plain, zstd, in small pages lz4 | sorted figures, sparse ones, spans beyond a slot |

The choice is by estimated bits per record from a stretch of a few thousand rows; a form that takes time has a price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.buffers import STRETCH_ROWS
from store.encoding.bit_packing import SLOT_BITS_MAX, Slot
from store.encoding.figures import Figures

SAMPLE_ROWS: Final = 4_096
BYTES_MAX: Final = 4
_MINIBLOCK: Final = 32
_DELTA_HEADER_BITS: Final = 0.75
_REPEATED_MIN: Final = 0.15
"""From so many rows on that repeat the one before, zstd behind deltas and the form `repeat` are tried."""
_ZSTD_PRICE: Final = 1.0
_ZSTD_PRICE_SMALL: Final = 3.0
"""In pages of 512 rows: zstd begins each anew, for 20 µs, whatever is in it (ADR 44)."""
_DELTA_PRICE: Final = 0.5
"""Bits per record that a form must save to be worth its time."""
_INT64_MIN: Final = -(2**63)
_STILL_BITS_MAX: Final = 0.25
"""A byte with less entropy is nearly always the same: zstd is done with it at once, at a quarter of its price."""
_SQUEEZED_OWN: Final = 1.5
"""A squeezed page has a frame and its tables besides: half as much again as one that is not."""
_NOISE_BITS_MIN: Final = 7.5  # a byte with more entropy is not worth squeezing

SizeOf = Callable[[Any, str, str], int]
"""Size in bytes of an array in a Parquet encoding and codec; the trial of `delta` with zstd."""


@dataclass(frozen=True, slots=True)
class Form:
    """One column's form. Codes are the values less `base`, one more where nulls are possible: code 0 is null."""

    kind: str
    base: int = 0
    bits: int = 0
    at: int = 0
    nulls: bool = False
    codec: str = "none"

    def as_dict(self) -> dict[str, Any]:
        """Return the form as JSON-ready data."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def slot(self) -> Slot:
        """Where a `word` lies."""
        return Slot(self.at, self.bits)

    @property
    def width(self) -> int:
        """Bytes of a code."""
        return max(-(-self.bits // 8), 1)

    def columns(self, name: str) -> list[str]:
        """Return the file's columns that hold the column, but for the word."""
        if self.kind == "bytes":
            return [f"{name}~{place}" for place in range(self.width)]
        return [name] if self.kind in ("repeat", "delta") else []


def choose(column: Figures, size_of: SizeOf, own_bits: float = 0.0) -> Form:
    """Return the form that takes the least room, its time counted in; pure but for the trial.

    `own_bits` is what the pages of a column of the file take for each record, besides its values; it tells that they
    are small. Differences in small pages are squeezed by lz4, which begins at once.
    """
    small = own_bits > 0
    low, high = column.span
    nulls = column.valid is not None
    if low == high and not nulls:
        return Form("constant", base=low)
    bits = (high - low + nulls).bit_length()
    start = max((len(column) - SAMPLE_ROWS) // 2, 0)
    sample = column.slice(start, start + SAMPLE_ROWS)
    repeated = float(np.mean(sample.values[1:] == sample.values[:-1])) if len(sample) > 1 else 0.0
    delta = _delta_bits(sample)
    prices = [(delta + _DELTA_PRICE + own_bits, Form("delta", nulls=nulls))]
    if low == _INT64_MIN:  # codes would not fit
        bits = 64
    if bits <= SLOT_BITS_MAX:
        prices.append((float(bits), Form("word", low, bits, nulls=nulls)))
    if bits <= 8 * BYTES_MAX:
        for base in (low, _centred(sample, low)) if 8 < bits < 8 * BYTES_MAX and low > _INT64_MIN // 2 else (low,):
            wide = (high - base + nulls).bit_length()
            form = Form("bytes", base, wide, nulls=nulls, codec="zstd")
            prices.append((_bytes_bits(sample, base, wide, small=small) + _SQUEEZED_OWN * form.width * own_bits, form))
    if bits <= SLOT_BITS_MAX and not nulls and repeated >= _REPEATED_MIN:
        form = Form("repeat", low, bits)
        prices.append((1 + (1 - repeated) * 8 * form.width + _DELTA_PRICE + own_bits, form))
    if repeated >= _REPEATED_MIN or delta < bits / 2:
        codec = "lz4" if small else "zstd"
        tried = 8 * size_of(_array(sample), "DELTA_BINARY_PACKED", codec) / len(sample)
        price = _DELTA_PRICE + own_bits if small else _ZSTD_PRICE
        prices.append((tried + price, Form("delta", nulls=nulls, codec=codec)))
    return min(prices, key=lambda item: item[0])[1]


def _centred(sample: Figures, low: int) -> int:
    """Return a base, `low` or less, that puts the middle value in the middle of a byte: few cross into the next."""
    values = sample.values if sample.valid is None else sample.values[sample.valid]
    if not len(values):
        return low
    return low - (128 - (int(np.median(values)) - low)) % 256


def _delta_bits(sample: Figures) -> float:
    """Estimate bits per row of `DELTA_BINARY_PACKED`: every 32 differences take the bits of the widest."""
    values = sample.values if sample.valid is None else sample.values[sample.valid]
    null_bits = 0.0 if sample.valid is None else 1.0
    steps = np.diff(values)
    steps = steps[: len(steps) // _MINIBLOCK * _MINIBLOCK].reshape(-1, _MINIBLOCK)
    if not len(steps):
        return 64 + null_bits
    spread = (steps.max(axis=1).astype(np.float64) - steps.min(axis=1) + 1).clip(1)
    return float(np.ceil(np.log2(spread)).mean()) * len(values) / len(sample) + _DELTA_HEADER_BITS + null_bits


def _bytes_bits(sample: Figures, low: int, bits: int, *, small: bool) -> float:
    total = 0.0
    price = _ZSTD_PRICE_SMALL if small else _ZSTD_PRICE
    rows = codes_of(sample, low, nulls=sample.valid is not None).view(np.uint8).reshape(-1, 8)
    for place in range(-(-bits // 8)):
        counts = np.bincount(rows[:, place])
        shares = counts[counts > 0] / len(rows)
        entropy = float(-(shares * np.log2(shares)).sum())
        total += 8 if entropy > _NOISE_BITS_MIN else entropy
        total += price if entropy > _STILL_BITS_MAX else price / 4
    return total


def codes_of(column: Figures, base: int, *, nulls: bool) -> npt.NDArray[np.uint64]:
    """Return the codes of a column's values."""
    if not nulls:
        return (column.values - base).view(np.uint64) if base else np.ascontiguousarray(column.values).view(np.uint64)
    codes = column.values - (base - 1)
    if column.valid is not None:
        codes *= column.valid
    return codes.view(np.uint64)


def codes_between(column: Figures, form: Form, start: int, stop: int) -> npt.NDArray[np.uint64]:
    """Return the codes of a stretch of rows."""
    return codes_of(column.slice(start, stop), form.base, nulls=form.nulls)


def values_of(codes: npt.NDArray[np.uint64], form: Form) -> Figures:
    """Undo `codes_of`, in the memory of the codes."""
    values = codes.view(np.int64)
    if not form.nulls:
        values += form.base
        return Figures(values)
    valid = codes != 0
    values += form.base - 1
    values *= valid
    return Figures(values, valid)


def write(column: Figures, form: Form, told_rows: int) -> list[Any]:
    """Return the file's columns of a column that does not lie in the word, in the order of `Form.columns`."""
    if form.kind == "delta":
        return [_array(column)]
    if form.kind == "repeat":
        return [_without_repeats(column, form, told_rows)]
    if form.kind == "bytes":
        low = _low_bytes(column, form)
        return [_fixed(np.ascontiguousarray(low[:, place]), 1) for place in range(form.width)]
    return []


def read(form: Form, columns: list[Any], rows: int) -> Figures:
    """Undo `write`, given the file's columns of any number of whole row groups, one after another."""
    if form.kind == "constant":
        return Figures(np.broadcast_to(np.asarray(form.base, np.int64), rows))
    if form.kind == "delta":
        array = columns[0]
        if not array.null_count:
            return Figures(array.to_numpy(zero_copy_only=False))
        return Figures(
            array.fill_null(0).to_numpy(zero_copy_only=False), array.is_valid().to_numpy(zero_copy_only=False)
        )
    if form.kind == "bytes" and form.width == 1:
        return values_of(bytes_of(columns[0]).reshape(-1).astype(np.uint64), form)
    codes = np.zeros((rows, 8), np.uint8)
    if form.kind == "bytes":
        for place, array in enumerate(columns):
            codes[:, place] = bytes_of(array).reshape(-1)
    else:
        codes[:, : form.width] = bytes_of(columns[0])
        if columns[0].null_count:
            told = columns[0].is_valid().to_numpy(zero_copy_only=False)
            codes = codes[np.maximum.accumulate(np.where(told, np.arange(rows), 0))]
    return values_of(codes.view(np.uint64).reshape(-1), form)


def bytes_of(array: Any) -> npt.NDArray[np.uint8]:
    """Return a column of fixed width as rows x width bytes; those of a null are anything."""
    width = array.type.byte_width
    buffer = array.buffers()[1]
    return np.frombuffer(buffer, np.uint8, len(array) * width, array.offset * width).reshape(-1, width)


def _without_repeats(column: Figures, form: Form, told_rows: int) -> Any:
    told = np.empty(len(column), bool)
    told[1:] = column.values[1:] != column.values[:-1]
    told[::told_rows] = True
    return _fixed(_low_bytes(column, form), form.width, told)


def _low_bytes(column: Figures, form: Form) -> npt.NDArray[np.uint8]:
    out = np.empty((len(column), form.width), np.uint8)
    for start in range(0, len(column), STRETCH_ROWS):
        codes = codes_between(column, form, start, start + STRETCH_ROWS)
        out[start : start + STRETCH_ROWS] = codes.view(np.uint8).reshape(-1, 8)[:, : form.width]
    return out


def _fixed(data: npt.NDArray[np.uint8], width: int, valid: Any = None) -> Any:
    buffer: Any = pa.py_buffer  # its stub does not know arrays
    bitmap = None if valid is None else buffer(np.packbits(valid, bitorder="little"))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), data.size // width, [bitmap, buffer(data)])


def fixed(words: npt.NDArray[np.uint8]) -> Any:
    """Return rows x width bytes as a column."""
    return _fixed(words, words.shape[1])


def _array(column: Figures) -> Any:
    return pa.array(column.values, pa.int64(), mask=None if column.valid is None else ~column.valid)
