"""The compiled road of Kannel's access log: messages of one line, their texts skipped by their lengths (ADR 38).

What is read here reads `ingest.decoders.kannel` the same: it says at which place of a block it stands, and takes what
is read from there. Messages in hexadecimal, texts with line ends and values with brackets or beyond ASCII are its own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders import shapes as of
from ingest.decoders.shapes import Shapes, Steps, shape
from ingest.decoders.slices import Column, Lines, compute
from ingest.times import ZoneTimes
from schemas.buffers import Ints

_KINDS: Final = (("Sent SMS", "sent", b"S"), ("Receive SMS", "received", b"R"), ("DLR SMS", "delivery-report", b"D"))
_LETTERS: Final = b"SRD"
_TIME, _SMSC, _ACCOUNT, _FID, _SENDER, _RECEIVER, _CODING, _LENGTH, _HEAD, _UDH, _SLOTS = range(11)


def _value(name: str, slot: int = of.NOWHERE) -> Steps:
    return shape(f" [{name}:", of.span(of.INNER, slot, least=0, most=4096), "]")


def _optional(name: str, slot: int = of.NOWHERE) -> Steps:
    return of.option(f" [{name}:", of.span(of.INNER, slot, least=0, most=4096), "]")


def _line(words: str) -> Steps:
    return shape(
        *(of.opened(_HEAD), of.stamp(" ", _TIME), f" {words}", _value("SMSC", _SMSC), _value("SVC")),
        *(_value("ACT", _ACCOUNT), _value("BINF"), _optional("FID", _FID), _optional("META")),
        *(_value("from", _SENDER), _value("to", _RECEIVER), " [flags:", of.span(of.SIGNED), ":"),
        *(of.span(of.SIGNED, _CODING), ":", of.span(of.SIGNED)),
        *(of.option(":", of.span(of.SIGNED)), of.option(":", of.span(of.SIGNED))),
        *("] [msg:", of.figures(7, _LENGTH), ":", of.closed(_HEAD), of.skip(_LENGTH), "]"),
        *(of.option(" [udh:", of.figures(5), ":", of.span(of.HEXA, _UDH, least=0), "]"), of.END),
    )


_SHAPES: Final = Shapes(_SLOTS, *(_line(words) for words, _, _ in _KINDS))


class Usual:
    """Messages of one block that the walk can read; the reader takes them at their places."""

    def __init__(self, data: bytes, zone: ZoneTimes) -> None:
        lines = Lines(data)
        self._data = lines.bytes
        self._found = _SHAPES.match(lines.bytes, np.where(lines.terminated, lines.starts, -1), lines.ends)
        begins, ends = self._found.begins, self._found.ends
        coding = lines.bytes[np.maximum(begins[_CODING], 0)] if len(data) else np.zeros(0, np.uint8)
        binary = (ends[_CODING] - begins[_CODING] == 1) & ((coding == ord("1")) | (coding == ord("2")))
        identified = (begins[_FID] >= 0) & (ends[_FID] > begins[_FID])
        good = (self._found.which >= 0) & ~binary & ~(identified & (ends[_SMSC] == begins[_SMSC]))
        rows = np.flatnonzero(good)
        times = zone.convert_column(of.texts(lines.bytes, self._found, _TIME, rows))
        kept = ~times.bad
        local: tuple[Column, ...] = (times.times, times.offsets_s, times.ambiguous)
        self._rows, self._times = rows[kept], tuple(one.filter(pa.array(kept)) for one in local)
        self.places: dict[int, int] = dict(zip(lines.starts[self._rows].tolist(), range(len(self._rows)), strict=True))
        """By the byte at which it begins: which message stands there."""
        self.identified: list[bool] = identified[self._rows].tolist()
        """Whether a message has an id of its centre."""
        following = np.append(lines.starts, len(data))
        self._following: list[int] = following[self._rows + 1].tolist()
        self.taken: list[int] = []
        """The messages that were taken, in order."""
        self._positions: list[int] = []
        self._digests: list[bytes | None] = []

    def said(self, row: int) -> tuple[bytes, bytes, bytes]:
        """Return a message's letter, what stands before its text, and its user data header."""
        line = int(self._rows[row])
        begins, ends = self._found.begins, self._found.ends
        head = self._data[begins[_HEAD, line] : ends[_HEAD, line]].tobytes()
        udh = self._data[max(begins[_UDH, line], 0) : ends[_UDH, line]].tobytes()
        return _KINDS[int(self._found.which[line])][2], head, udh

    def take(self, row: int, position: int, digest: bytes | None) -> int:
        """Take a message, with its key where it has no id; return where the next line begins."""
        self.taken.append(row)
        self._positions.append(position)
        self._digests.append(digest)
        return self._following[row]

    def columns(self) -> tuple[Column, tuple[Column, ...], tuple[Column, ...], Column]:
        """Return what was taken: positions; key, sender, receiver, centre, account; times; disposition."""
        order = np.array(self.taken, np.int64)
        rows = self._rows[order]
        which = self._found.which[rows]
        texts = [of.texts(self._data, self._found, slot, rows) for slot in (_SENDER, _RECEIVER, _SMSC, _ACCOUNT)]
        times = tuple(one.take(pa.array(order)) for one in self._times)
        dispositions = compute.take(pa.array([name for _, name, _ in _KINDS]), pa.array(which))
        return pa.array(self._positions, pa.int64()), (self._keys(rows, which), *texts), times, dispositions

    def _keys(self, rows: Ints, which: Ints) -> Column:
        data = np.concatenate([self._data, np.frombuffer(_LETTERS, np.uint8)])
        letter = len(self._data) + which
        slices = [(self._found.begins[slot][rows], self._found.ends[slot][rows]) for slot in (_SMSC, _FID)]
        keys = of.joined(data, [(of.TEXT, letter, letter + 1), *((of.TEXT, *one) for one in slices)])
        if any(self._digests):
            digests = pa.array(self._digests, pa.binary()).cast(pa.string())
            keys = compute.coalesce(digests, keys)
        return keys
