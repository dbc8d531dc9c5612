"""Shapes of lines: what a format's usual lines look like, step by step, for one compiled walk (ADR 38).

A shape is made of steps: literals, spans of bytes, numbers, addresses, times, options. A line takes them from left to
right, without a way back; so a shape says exactly which lines it takes, and a format takes only lines for one that its
own reader of lines would read the same. That reader is the twin, and reads every line that no shape takes.

`Shapes.match` finds slices and numbers of a block's lines; `joined` makes keys of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import hexdigits
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders import slices
from ingest.decoders.slices import gather
from schemas.buffers import Bytes, Column, Ints
from store import native

_KERNELS: Final = "ingest.decoders.shape_kernels"
_KEYS: Final = "ingest.decoders.key_kernels"

# Steps, as `shape_kernels` numbers them.
_LITERAL, _OPTION, _SPAN, _DIGITS, _HEXADECIMAL, _QUAD, _STAMP, _FRACTION = range(8)
_OFFSET, _UPTO, _PAIRS, _END, _BEGIN, _CLOSE, _SKIP, _WHEN, _FIELDS, _IP = range(8, 18)
SLICE, FIGURES, HEXADECIMAL, ADDRESS = _SPAN, _DIGITS, _HEXADECIMAL, _IP
"""What the value of a pair is."""
LAST, REFUSED = -1, -2
"""What a field is before which the others end, and one that no line may have."""
TEXT, LOWER, NUMBER, QUAD = range(4)
"""What the part of a key is."""
NOWHERE: Final = -1
"""No slot: what stands there is not kept."""
_MANY: Final = 1 << 30
_NUMBER_BYTES: Final = 20

# Classes of bytes.
ANY: Final = 1
"""Printable ASCII."""
GRAPH: Final = 2
"""ASCII that prints and is no space."""
PLAIN: Final = 4
"""ASCII that prints, but no quotation mark."""
NAME: Final = 8
"""ASCII that prints, but no space and no colon."""
UPPER: Final = 16
SMALL: Final = 32
FIGURE: Final = 64
WORD: Final = 128
"""Letters, digits and the underscore."""
BLANK: Final = 256
"""The space."""
FIELD: Final = 512
"""ASCII that prints, but no bracket that closes."""
TOKEN: Final = 1024
"""Letters, digits, `+ - . @ : _`."""
SOLID: Final = 2048
"""ASCII that prints, but no space and no quotation mark."""
CAPITAL: Final = 4096
"""Capital letters, digits and the underscore."""
SPACING: Final = 8192
"""Spaces and tabs."""
INNER: Final = 16384
"""ASCII that prints, but no bracket."""
SIGNED: Final = 32768
"""Digits and the minus sign."""
HEXA: Final = 65536
"""Hexadecimal digits."""
EVERY: Final = 131072
"""Any byte."""
VALUE: Final = 262144
"""ASCII that prints, but none of ` :=,;"[](){}`."""
JOINED: Final = 524288
"""The same without the underscore."""
LETTER: Final = 1048576
"""Letters and digits."""


def _classes() -> Ints:
    found = np.zeros(256, np.int64)
    for byte in range(0x20, 0x7F):
        one = chr(byte)
        word = one.isalnum() or one == "_"
        kinds = (
            (ANY, True), (GRAPH, one != " "), (PLAIN, one != '"'), (NAME, one not in " :"), (UPPER, one.isupper()),
            (SMALL, one.islower()), (FIGURE, one.isdigit()), (WORD, word), (BLANK, one == " "), (FIELD, one != "]"),
            (TOKEN, one.isalnum() or one in "+-.@:_"), (SOLID, one not in ' "'),
            (CAPITAL, word and not one.islower()), (SPACING, one == " "),
            (INNER, one not in "[]"), (SIGNED, one.isdigit() or one == "-"), (HEXA, one in hexdigits),
            (VALUE, one not in ' :=,;"[](){}'), (JOINED, one not in '_ :=,;"[](){}'), (LETTER, one.isalnum()),
        )  # fmt: skip
        found[byte] = sum(kind for kind, held in kinds if held)
    found[ord("\t")] = SPACING
    found |= EVERY
    return found


class Step(NamedTuple):
    """One step; `text` goes to the pool, and `pairs` are the names of pairs."""

    kind: int
    a: int = 0
    b: int = 0
    c: int = 0
    slot: int = NOWHERE
    text: bytes | None = None
    pairs: tuple[tuple[str, int, int], ...] = ()


Steps = tuple[Step, ...]


def shape(*steps: Step | Steps | str) -> Steps:
    """Return steps one behind the other; a text is a literal."""
    found: list[Step] = []
    for one in steps:
        if isinstance(one, str):
            found.append(Step(_LITERAL, text=one.encode()))
        elif isinstance(one, Step):
            found.append(one)
        else:
            found += one
    return tuple(found)


def option(text: str, *steps: Step | Steps | str) -> Steps:
    """Return the steps behind a literal; both are left out where the literal does not stand."""
    behind = shape(*steps)
    return (Step(_OPTION, c=len(behind), text=text.encode()), *behind)


def when(kind: int, ahead: int, *steps: Step | Steps | str) -> Steps:
    """Return steps that are left out unless the byte so many ahead is of a class."""
    behind = shape(*steps)
    return (Step(_WHEN, kind, ahead, len(behind)), *behind)


def span(kind: int, slot: int = NOWHERE, *, least: int = 1, most: int = _MANY) -> Step:
    """Return a step over all bytes of a class, as many as stand there, up to `most`."""
    return Step(_SPAN, kind, least, most, slot)


def figures(most: int, slot: int = NOWHERE, *, least: int = 1) -> Step:
    """Return a step over a number of at most 18 digits, written without zeros before it."""
    return Step(_DIGITS, 0, least, most, slot)


def hexadecimal(least: int, most: int, slot: int = NOWHERE) -> Step:
    """Return a step over so many hexadecimal digits, at most 15."""
    return Step(_HEXADECIMAL, 0, least, most, slot)


def quad(slot: int = NOWHERE) -> Step:
    """Return a step over an IPv4 address."""
    return Step(_QUAD, slot=slot)


def address(slot: int = NOWHERE) -> Step:
    """Return a step over an address; its value is the number of an IPv4 one, else -1."""
    return Step(_IP, slot=slot)


def stamp(between: str, slot: int) -> Step:
    """Return a step over `2026-11-22 10:00:00`, from 1970 to 2261, with this byte between; its value is µs."""
    return Step(_STAMP, ord(between), slot=slot)


def fraction(slot: int = NOWHERE) -> Step:
    """Return a step over 1 to 9 digits of a second; its value is µs."""
    return Step(_FRACTION, 0, 1, 9, slot)


def offset(slot: int) -> Step:
    """Return a step over `Z`, `+hh:mm` or `-hh:mm`; its value is seconds."""
    return Step(_OFFSET, slot=slot)


def upto(byte: str, back: int) -> Step:
    """Return a step to the word whose byte `back` is the first of this kind in the line; all before it prints."""
    return Step(_UPTO, ord(byte), back)


def pairs(*names: tuple[str, int, int]) -> Step:
    """Return a step over all ` name="value"` that follow; values of these (name, what it is, slot) are kept."""
    return Step(_PAIRS, pairs=names)


def fields(kind: int, *names: tuple[str, int, int]) -> Step:
    """Return a step over all ` name=value` that follow, values of a class of bytes; of named ones values are kept."""
    return Step(_FIELDS, c=kind, pairs=names)


def skip(slot: int) -> Step:
    """Return a step over so many bytes as a slot's value says."""
    return Step(_SKIP, slot=slot)


def opened(slot: int) -> Step:
    """Return a step at which the slice of a slot begins."""
    return Step(_BEGIN, slot=slot)


def closed(slot: int) -> Step:
    """Return a step at which the slice of a slot ends."""
    return Step(_CLOSE, slot=slot)


END: Final = Step(_END)
"""Nothing may follow."""


class Found(NamedTuple):
    """What lines hold. By line `which` shape, -1 for none, and where it `stops`; by slot and line a slice, a number.

    A slot that does not stand in its line begins at -1, and its number is 0.
    """

    which: Ints
    stops: Ints
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    values: npt.NDArray[np.int64]


class Shapes:
    """Shapes of one kind of line; a line that takes two of them must be read the same by both."""

    def __init__(self, slots: int, *shapes: Steps) -> None:
        self._slots = slots
        pool, steps = bytearray(), []
        names: list[tuple[int, int, int, int]] = []
        for one in (step for each in shapes for step in each):
            a, b = one.a, one.b
            if one.text is not None:
                a, b = len(pool), len(one.text)
                pool += one.text
            elif one.kind in (_PAIRS, _FIELDS):
                a, b = len(names), len(names) + len(one.pairs)
                for name, kind, slot in one.pairs:
                    names.append((len(pool), len(name), kind, slot))
                    pool += name.encode()
            steps.append((one.kind, a, b, one.c, one.slot))
        self._steps = np.array(steps, np.int64).reshape(-1, 5)
        self._bounds = np.cumsum([0, *map(len, shapes)]).astype(np.int64)
        self._pool = np.frombuffer(bytes(pool), np.uint8)
        self._names = np.array(names, np.int64).reshape(-1, 4)
        self._classes = _classes()

    def match(self, data: Bytes, starts: Ints, ends: Ints) -> Found:
        """Return what the lines `starts[i]:ends[i]` hold; one that begins below 0 is left out."""
        rows = len(starts)
        which, stops = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        begins = np.full((self._slots, rows), -1, np.int64)
        found = Found(which, stops, begins, np.zeros_like(begins), np.zeros_like(begins))
        program = (self._steps, self._bounds, self._pool, self._classes, self._names)
        lines = (np.ascontiguousarray(one, np.int64) for one in (starts, ends))
        native.load(_KERNELS).match(data, int(data.ctypes.data), *lines, *program, *found)
        return found


def takes(size_bytes: int) -> bool:
    """Tell whether so many bytes are worth the compiled walk."""
    if size_bytes < slices.KERNEL_BYTES_MIN:
        return False
    return native.is_loaded(_KERNELS) or size_bytes >= slices.LOAD_BYTES_MIN


def joined(data: Bytes, parts: Sequence[tuple[int, Ints, Ints | None]]) -> Column:
    """Return keys: the parts with a space between them, a dash for what is absent (below 0) or empty.

    Args:
        data: where slices lie; they are UTF-8.
        parts: (kind, where slices begin, where they end); of `NUMBER` and `QUAD` the numbers, and None.
    """
    rows = len(parts[0][1])
    begins = np.stack([begin for _, begin, _ in parts])
    ends = np.stack([begin if end is None else end for _, begin, end in parts])
    sizes = [_NUMBER_BYTES * rows if end is None else int(np.maximum(end - begin, 1).sum()) for _, begin, end in parts]
    out, places = np.empty(sum(sizes) + rows * len(parts), np.uint8), np.zeros(rows + 1, np.int32)
    kinds = np.array([kind for kind, _, _ in parts], np.int64)
    native.load(_KEYS).joined(data, kinds, begins, ends, out, places)
    return pa.StringArray.from_buffers(rows, _buffer(places), _buffer(out[: int(places[-1])]))


def _buffer(values: Any) -> pa.Buffer:
    return pa.py_buffer(values)


def texts(data: Bytes, found: Found, slot: int, rows: Ints) -> Column:
    """Return the slices of a slot of some lines as a column, null where it does not stand."""
    return gather(data, found.begins[slot][rows], found.ends[slot][rows])
