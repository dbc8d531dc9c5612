"""Choices: small parts that are alike take the forms of the one before, as far as these fit.

A choice costs a small part as much as it costs a large one: some thousand rows are looked at and tried. Whatever the
form, nothing is lost, and a column that has another shape than the one before takes a few bits of a record more at
most: who changes its span, or has nulls for the first time, is chosen for anew, and so is everybody after `USES_MAX`
parts. Merging chooses for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from store.encoding.bit_packing import SLOT_BITS_MAX
from store.encoding.figures import Figures
from store.encoding.forms import Form, SizeOf, choose

ROWS_MAX: Final = 65_536
"""Parts of more records choose for themselves."""
USES_MAX: Final = 32
"""After so many parts forms are chosen anew."""
_KINDS_MAX: Final = 64
_SPAN_BITS_MAX: Final = 1
"""Spans that differ by more are of other figures."""
_INT64_HALF: Final = -(2**62)


class Choices:
    """The forms of the last small parts, by their size and the columns that they have; safe for threads."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, tuple[str, ...]], tuple[dict[str, Form], int]] = {}

    def choose(self, columns: Mapping[str, Figures], rows: int, size_of: SizeOf, own_bits: float) -> dict[str, Form]:
        """Return every column's form; see `forms.choose`."""
        kind = (rows.bit_length() // 2, tuple(columns))
        last, uses = self._last.get(kind, ({}, 0)) if rows <= ROWS_MAX else ({}, 0)
        chosen: dict[str, Form] = {}
        for name, column in columns.items():
            like = last.get(name)
            form = None if like is None else fitting(column, like)
            chosen[name] = choose(column, size_of, own_bits) if form is None else form
        if rows <= ROWS_MAX:
            if len(self._last) >= _KINDS_MAX:
                self._last.clear()
            self._last[kind] = (chosen, uses + 1) if uses < USES_MAX else ({}, 0)
        return chosen


def fitting(column: Figures, like: Form) -> Form | None:
    """Return the form of a column that is like another one; None when it is not. Pure."""
    low, high = column.span
    nulls = column.valid is not None
    if low == high and not nulls:
        return Form("constant", base=low)
    if like.kind == "constant" or nulls != like.nulls or (nulls and like.kind == "repeat"):
        return None
    if like.kind == "delta":
        return like
    bits = (high - low + nulls).bit_length()
    if low <= _INT64_HALF or abs(bits - like.bits) > _SPAN_BITS_MAX:
        return None
    if like.kind == "word":
        return Form("word", low, bits, nulls=nulls) if bits <= SLOT_BITS_MAX else None
    base = low
    if like.kind == "bytes" and like.width > 1:  # bytes begin where they did: that was the middle of a byte, or best
        base -= (low - like.base) % 256
    form = Form(like.kind, base, (high - base + nulls).bit_length(), nulls=nulls, codec=like.codec)
    return form if form.width == like.width else None
