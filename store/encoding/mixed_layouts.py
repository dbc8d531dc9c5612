"""Columns of records that parts keep in other forms or slots each: read for all at once, as if of one part. Pure.

What lies in the words of the records is taken out of them for all columns in one step, each record by the slots of its
part; a constant is a slot of no bits. The other forms are read for the records of the parts that have them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from store.encoding import bit_packing, forms
from store.encoding.figures import Figures, Ints
from store.encoding.forms import Form

_AT, _BITS, _BASE, _NULLS = range(4)
_SLOTTED: Final = ("word", "constant")

Concatenated = Callable[[Sequence[Any]], Any]
"""Makes one array of columns of one type."""


@dataclass(frozen=True, slots=True)
class Slots:
    """Of a layout's forms, one after the other, where they lie in the words."""

    table: Ints
    """At, bits, base and nulls of each; zeros where it is no slot."""
    others: Sequence[str]
    """Columns that lie in no slot."""

    @classmethod
    def of(cls, forms_of: Mapping[str, Form]) -> Slots:
        """Return the slots of a layout."""
        told = [(form.at, form.bits, form.base, form.nulls) for form in map(_slot, forms_of.values())]
        others = [name for name, form in forms_of.items() if form.kind not in _SLOTTED]
        return cls(np.array(told, np.int64).reshape(-1, 4).T, others)


def _slot(form: Form) -> Form:
    return form if form.kind == "word" else Form("constant", form.base if form.kind == "constant" else 0)


class Mixed:
    """The columns of records of several parts whose layouts have the same columns, in whatever forms."""

    def __init__(
        self,
        parts: Sequence[Mapping[str, Form]],
        slots: Sequence[Slots],
        columns: Sequence[Mapping[str, Any]],
        sizes: Sequence[int],
        word: str,
        concatenated: Concatenated,
    ) -> None:
        """Take each part's forms, their slots, its file's columns, and how many records are its."""
        self._parts, self._columns, self._sizes, self._word = parts, columns, sizes, word
        self._numbers = {name: number for number, name in enumerate(parts[0])}
        self._slots, self._concatenated = np.stack([item.table for item in slots]), concatenated
        wordless = [at for at, item in enumerate(columns) if word not in item]
        self._slots[wordless, _AT] = self._slots[wordless, _BITS] = 0  # no column of theirs that is read lies in it
        self._ends = np.cumsum(sizes)
        self._others: dict[str, list[int]] = {}
        for at, item in enumerate(slots):
            for name in item.others:
                self._others.setdefault(name, []).append(at)

    def read(self, name: str) -> Figures:
        """Return a column of all records, of those of the first part first."""
        number = self._numbers[name]
        values, told = self._slotted
        found = values[:, number].copy()
        valid = None if told is None else told[:, number].copy()
        for parts in self._alike(name):
            rows = self._rows(parts)
            few = self._read(name, parts, len(rows))
            found[rows] = few.values
            if few.valid is not None:
                valid = np.ones(len(found), np.bool_) if valid is None else valid
                valid[rows] = few.valid
        return Figures(found, None if valid is None or valid.all() else valid)

    @cached_property
    def _slotted(self) -> tuple[Ints, npt.NDArray[np.bool_] | None]:
        """The values of all columns that lie in slots, rows x columns, and which are not null; zeros of the others."""
        part_of = np.repeat(np.arange(len(self._sizes)), self._sizes)
        at, bits, base, nulls = (self._slots[:, what][part_of] for what in (_AT, _BITS, _BASE, _NULLS))
        codes = bit_packing.unpack_each(self._words(), at, bits).view(np.int64)
        codes += base
        if not nulls.any():
            return codes, None
        valid = (nulls == 0) | (codes != base)
        codes -= nulls
        codes *= valid
        return codes, valid

    def _words(self) -> npt.NDArray[np.uint8]:
        """Return the words of all records, those of fewer bytes filled up."""
        alike: dict[Any, list[int]] = {}
        for at, columns in enumerate(self._columns):
            if (column := columns.get(self._word)) is not None:
                alike.setdefault((type(column), width_of(column)), []).append(at)
        found = np.zeros((int(self._ends[-1]), max((width for _, width in alike), default=0)), np.uint8)
        for (_, width), parts in alike.items():
            own = self._concatenated([self._columns[at][self._word] for at in parts])
            found[self._rows(parts), :width] = forms.bytes_of(own)
        return found

    def _rows(self, parts: Sequence[int]) -> Ints:
        """Return the records of some parts."""
        return np.concatenate([np.arange(self._ends[at] - self._sizes[at], self._ends[at]) for at in parts])

    def _alike(self, name: str) -> list[list[int]]:
        """Return the parts that keep a column in no slot, those of like forms together."""
        found: dict[Any, list[int]] = {}
        for at in self._others.get(name, ()):
            form, columns = self._parts[at][name], self._columns[at]
            kinds = tuple(type(columns[own]) for own in form.columns(name))
            found.setdefault((form.kind, form.width, form.nulls, kinds), []).append(at)
        return list(found.values())

    def _read(self, name: str, parts: Sequence[int], rows: int) -> Figures:
        some = [self._parts[at][name] for at in parts]
        base: Any = np.repeat(np.array([form.base for form in some], np.int64), [self._sizes[at] for at in parts])
        columns = [self._concatenated([self._columns[at][own] for at in parts]) for own in some[0].columns(name)]
        return forms.read(replace(some[0], base=base), columns, rows)


def width_of(column: Any) -> int:
    """Return the bytes of a value of a column, whether it is decoded or not."""
    kind = column.kind if hasattr(column, "kind") else column.type
    return int(kind.byte_width)
