"""Texts that are figures in disguise: UUIDs, counters behind a time, Call-IDs of a switch's own making.

A column of such texts has one *template*: literal pieces, and between them numbers, decimal or hexadecimal, of a fixed
width or without leading zeros. It is kept as the numbers alone, side by side in as few bits as their spans need
(`store.encoding.bit_packing`), and comes back letter by letter. A column whose numbers are all among those of another,
as the link of a call mostly is its key, keeps nothing. Every row is proven to have the template; else the column stays
text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.buffers import Bytes, Column, Ints, text_views
from store import native
from store.encoding import bit_packing
from store.encoding.bit_packing import Slot
from store.encoding.forms import SAMPLE_ROWS, SizeOf

COLUMNS: Final = ("record_key_text", "call_link_text")
"""Texts that are tried, in the order in which the latter may lie in the former."""
ROWS_MIN: Final = 4_096
"""Columns of fewer rows stay texts: kernels need not be loaded for them."""
KERNEL_ROWS_MIN: Final = 512
"""From so many rows on texts are put together by the compiled loop; it is used for fewer where it is loaded."""
RULE: Final = "text"
LITERAL, NUMBER, DIGITS, HEX = range(4)
"""Kinds of pieces: bytes as they are; decimal without leading zeros; decimal and hexadecimal of a fixed width."""

_SAMPLES: Final = 256
_TRIES: Final = 4
"""A row without the template is an example for the next one."""
_TEXT_BYTES_MAX: Final = 128
_WIDTHS: Final = {NUMBER: 16, DIGITS: 16, HEX: 8}
"""Digits of a number at most: more are several numbers where their width is fixed."""
_NIBBLE: Final = 4
"""Slots are so many bits, or twice, and so on: parts of like days are then laid out alike, and restored together."""
_PRICE_BYTES: Final = 3
"""More than the text takes: zstd costs 0.15 core-µs a text, to write and nearly to read."""
_NUMBERS: Final = re.compile(r"([0-9]+)")
_KERNELS: Final = "store.encoding.text_kernels"


@dataclass(frozen=True, slots=True)
class Piece:
    """A literal, or a number of so many digits (at most, where its width is not fixed)."""

    kind: int
    width: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of texts as its template and its numbers, rows x numbers."""

    pieces: tuple[Piece, ...]
    values: Ints

    def packed(self, order: Ints | None) -> Packed:
        """Return the column in an order of its rows."""
        kernels = native.load(_KERNELS)
        low, high = (np.empty(self.values.shape[1], np.int64) for _ in range(2))
        kernels.spans(self.values, low, high)
        slots, at = [], 0
        for span in (high - low).tolist():
            bits = -(-span.bit_length() // _NIBBLE) * _NIBBLE
            slots.append(Slot(at, bits))
            at += bits
        laid = np.empty((len(self.values), at // 64 + 1), np.uint64)
        kernels.pack(self.values, low, np.array([slot.bits for slot in slots], np.int64), laid)
        octets = laid.view(np.uint8)
        rows = np.arange(len(laid)) if order is None else order.astype(np.int64, copy=False)
        out = np.empty((len(rows), max(bit_packing.width_of(at), 1)), np.uint8)
        kernels.place(octets, rows, out)
        return Packed(self.pieces, "", tuple(slots), tuple(low.tolist()), out)


@dataclass(frozen=True, slots=True)
class Packed:
    """A column of texts as the file keeps it; `words` is None where its numbers lie in column `host`."""

    pieces: tuple[Piece, ...]
    host: str
    slots: tuple[Slot, ...]
    bases: tuple[int, ...]
    words: Bytes | None

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return 0 if self.words is None else int(self.words.shape[1])

    def rule(self, name: str) -> dict[str, Any]:
        """Return what the layout says of the column."""
        return {
            "rule": RULE,
            "column": self.host or name,
            "pieces": [[piece.kind, piece.width, piece.text] for piece in self.pieces],
            "slots": [[slot.at, slot.bits] for slot in self.slots],
            "bases": list(self.bases),
        }


def numbers_of(column: Column) -> Numbers | None:
    """Return a column of texts, an array or several, as numbers; None where not every row has one template. Pure."""
    if len(column) < ROWS_MIN or column.null_count:
        return None
    samples = _examples(column)
    for _ in range(_TRIES):
        pieces = template_of(samples)
        if pieces is None:
            return None
        found = _parsed(column, pieces)
        if not isinstance(found, int):
            return Numbers(pieces, found)
        samples.append(column[found].as_py())
    return None


def _chunks(column: Column) -> list[Column]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def _examples(column: Column) -> list[str]:
    """Return some texts from all over the column, chunk by chunk: to take rows of several lays these end to end."""
    found: list[str] = []
    step = -(-len(column) // _SAMPLES)
    for chunk in _chunks(column):
        found += chunk.take(pa.array(np.arange(0, len(chunk), step))).to_pylist()
    return found


def _parsed(column: Column, pieces: tuple[Piece, ...]) -> Ints | int:
    """Return the numbers of all rows, or the first row that has another template."""
    plan, literals = planned(pieces)
    values = np.empty((len(column), int((plan[:, 0] != LITERAL).sum())), np.int64)
    parse, at = native.load(_KERNELS).parse, 0
    for chunk in _chunks(column):
        offsets, data = text_views(chunk)
        good = int(parse(data, offsets, plan, literals, values[at : at + len(chunk)]))
        if good < len(chunk):
            return at + good
        at += len(chunk)
    return values


def planned(pieces: Sequence[Piece]) -> tuple[Ints, Bytes]:
    """Return pieces as the kernels read them: kind, width, and where a literal begins among the second's bytes."""
    plan, literals = [], b""
    for piece in pieces:
        plan.append((piece.kind, piece.width, len(literals)))
        literals += piece.text.encode()
    return np.array(plan, np.int64), np.frombuffer(literals + b"\0", np.uint8)


def template_of(samples: Sequence[str]) -> tuple[Piece, ...] | None:
    """Return the pieces that all samples have; None where there are none, or no number. Pure."""
    lengths = {len(text) for text in samples}
    if not samples or min(lengths) == 0 or max(lengths) > _TEXT_BYTES_MAX or not all(map(str.isascii, samples)):
        return None
    found = _of_one_length(samples) if len(lengths) == 1 else _of_numbers(samples)
    if found is None or all(piece.kind == LITERAL for piece in found):
        return None
    return tuple(found)


def _of_one_length(samples: Sequence[str]) -> list[Piece] | None:
    places = [set(letters) for letters in zip(*samples, strict=True)]
    pieces: list[Piece] = []
    at = 0
    for is_hex, run in groupby(places, key=lambda letters: letters <= set("0123456789abcdef")):
        letters = list(run)
        text = samples[0][at : at + len(letters)]
        at += len(letters)
        varies = any(len(one) > 1 for one in letters)
        decimal = all(one <= set("0123456789") for one in letters)
        if not is_hex or not (varies or decimal):
            if varies:
                return None
            before = pieces.pop().text if pieces and pieces[-1].kind == LITERAL else ""
            pieces.append(Piece(LITERAL, len(before + text), before + text))
            continue
        kind = DIGITS if decimal else HEX
        for start in range(0, len(letters), _WIDTHS[kind]):
            pieces.append(Piece(kind, min(_WIDTHS[kind], len(letters) - start)))
    return pieces


def _of_numbers(samples: Sequence[str]) -> list[Piece] | None:
    split = [_NUMBERS.split(text) for text in samples]
    if len({tuple(parts[::2]) for parts in split}) > 1:
        return None
    pieces: list[Piece] = []
    for place, texts in enumerate(zip(*split, strict=True)):
        widths = {len(text) for text in texts}
        if place % 2 == 0:
            if texts[0]:
                pieces.append(Piece(LITERAL, len(texts[0]), texts[0]))
        elif max(widths) <= _WIDTHS[NUMBER] and not any(text[0] == "0" and len(text) > 1 for text in texts):
            pieces.append(Piece(NUMBER, _WIDTHS[NUMBER]))
        elif max(widths) <= _WIDTHS[DIGITS] and len(widths) == 1:
            pieces.append(Piece(DIGITS, widths.pop()))
        else:
            return None
    return pieces


def of(records: pa.Table, order: Ints | None, size_of: SizeOf) -> dict[str, Packed]:
    """Return the columns of texts that are kept as numbers, as the file keeps them; no others.

    Args:
        records: any rows, packed columns.
        order: of the file: its row i is row order[i] of `records`; None where they are in its order.
        size_of: tries what a column would take as text.
    """
    packed: dict[str, Packed] = {}
    known: dict[str, Numbers] = {}
    for name in COLUMNS:
        if name not in records.schema.names:
            continue
        column = records.column(name)
        same = (known[other] for other in known if column.equals(records.column(other)))
        numbers = next(same, None) or numbers_of(column)
        if numbers is None:
            continue
        found = _within(numbers, known, packed) or _worthy(numbers, order, size_of)
        if found is not None:
            known[name], packed[name] = numbers, found
    return packed


def _worthy(numbers: Numbers, order: Ints | None, size_of: SizeOf) -> Packed | None:
    """Return numbers that, by a sample, take about as little as their texts: rows in order repeat the rows before."""
    first = max((len(numbers.values) - SAMPLE_ROWS) // 2, 0)
    rows = slice(first, first + SAMPLE_ROWS)
    sample = text_of(numbers.pieces, numbers.values[rows if order is None else order[rows]])
    tried = size_of(sample, "DELTA_LENGTH_BYTE_ARRAY", "zstd")
    packed = numbers.packed(order)
    return packed if packed.width <= tried / len(sample) + _PRICE_BYTES else None


def _within(numbers: Numbers, known: Mapping[str, Numbers], packed: Mapping[str, Packed]) -> Packed | None:
    """Return a column whose numbers are all among those of another that is kept; None where they are not."""
    for host, other in packed.items():
        places = None if other.words is None else _among(numbers.values, known[host].values)
        if places is not None:
            slots, bases = tuple(other.slots[at] for at in places), tuple(other.bases[at] for at in places)
            return Packed(numbers.pieces, host, slots, bases, None)
    return None


def _among(values: Ints, others: Ints) -> list[int] | None:
    """Return which column of others each column is; None where one is none of them."""
    if values is others:
        return list(range(values.shape[1]))
    slots = []
    for place in range(values.shape[1]):
        own = values[:, place]
        same = (at for at in range(others.shape[1]) if own[0] == others[0, at] and np.array_equal(own, others[:, at]))
        at = next(same, None)
        if at is None:
            return None
        slots.append(at)
    return slots


def unpack(rule: Mapping[str, Any], rows: Bytes) -> Column:
    """Return the texts of a column, given its rule and the rows of the column that its numbers lie in.

    A rule of several layouts has bases for each row.
    """
    pieces = [Piece(*piece) for piece in rule["pieces"]]
    slots = [Slot(*slot) for slot in rule["slots"]]
    bases = np.asarray(rule["bases"], np.int64).reshape(-1, len(slots))
    values = np.empty((len(rows), len(slots)), np.int64)
    for place, slot in enumerate(slots):
        codes = bit_packing.unpack(rows, slot) if slot.bits else np.zeros(len(rows), np.uint64)
        values[:, place] = codes.view(np.int64) + bases[:, place]
    return text_of(pieces, values)


def text_of(pieces: Sequence[Piece], values: Ints) -> Column:
    """Return the texts of a template and of its numbers, an int64 array of rows x numbers, as a string column.

    Raises:
        pyarrow.ArrowCapacityError: The texts have more than 2 GiB together.
    """
    if len(values) < KERNEL_ROWS_MIN and not native.is_loaded(_KERNELS):
        return pa.array(written(pieces, values), pa.string())
    plan, literals = planned(pieces)
    offsets = np.empty(len(values) + 1, np.int32)
    kernels = native.load(_KERNELS)
    size = int(kernels.measure(plan, values, offsets))
    if size > np.iinfo(np.int32).max:
        raise pa.ArrowCapacityError("texts of one column are longer than an array holds")
    data = np.empty(size, np.uint8)
    kernels.write(plan, literals, values, offsets, data)
    buffer: Any = pa.py_buffer  # its stub does not know arrays
    return pa.StringArray.from_buffers(len(values), buffer(offsets), buffer(data))


def written(pieces: Sequence[Piece], values: npt.NDArray[np.int64]) -> list[str]:
    """Return the texts of templates and numbers: the twin of the compiled loop."""
    forms = {NUMBER: "d", DIGITS: "0{}d", HEX: "0{}x"}
    form = "".join(
        piece.text.replace("{", "{{").replace("}", "}}")
        if piece.kind == LITERAL
        else "{:" + forms[piece.kind].format(piece.width) + "}"
        for piece in pieces
    )
    return [form.format(*row) for row in values.tolist()]
