"""How one file keeps its columns: read from its footer, it undoes what `store.encoding.columns.encode` did. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from schemas.arrow import PACKED
from schemas.buffers import flat
from store.encoding import bit_packing, derivations, figures, forms, record_positions, texts
from store.encoding.code_search import Range, Sought, sought
from store.encoding.figure_batch import FigureBatch
from store.encoding.figures import Figures, Ints
from store.encoding.forms import Form
from store.encoding.mixed_layouts import Mixed, Slots
from store.encoding.packed_ints import unpacked_ints

LAYOUT_KEY: Final = "lagrum.layout"
LAYOUT_VERSION: Final = 1
LABELS: Final = "labels"
WORD: Final = "~word"
_ASKED_MAX: Final = 8
"""So many choices of columns a layout remembers, with the file's columns that each needs."""
Recoding = tuple[Ints, Ints]
"""Codes anew, and for each record where those of its part's labels begin among them."""


class Layout:
    """How one file keeps its columns."""

    def __init__(self, data: dict[str, Any]) -> None:
        """Read the layout of a file."""
        self.forms: Mapping[str, Form] = {name: Form(**form) for name, form in data["forms"].items()}
        self.rules: dict[str, Any] = data["rules"]
        self.labels: dict[str, list[str]] = data[LABELS]
        self.recoded: Mapping[str, Recoding] = {}
        self.likeness: Any = None
        """What `store.encoding.joined_layouts` found out of it."""
        self._told_bounds: Mapping[str, Mapping[str, str]] = data["bounds"]
        self._bounds: dict[str, tuple[Ints, Ints]] = {}
        self.names: tuple[str, ...] = tuple(data["names"])
        self.mixed: Mixed | None = None
        """The columns of several parts, as `store.encoding.joined_layouts` puts them together."""
        self._needed: dict[tuple[str, ...], Sequence[str]] = {}
        self.group_rows = int(data["group_rows"])
        self.batches: record_positions.Batches | None = None
        if (rule := self.rules.get("batch_position")) is not None:
            self.batches = record_positions.Batches.parse(rule["batches"])

    @classmethod
    def parse(cls, metadata: Mapping[bytes, bytes] | None) -> Layout | None:
        """Return the layout of a file, given its metadata; None when every column lies in it as it is."""
        text = (metadata or {}).get(LAYOUT_KEY.encode())
        return None if text is None else cls(json.loads(text))

    def bounds(self, name: str) -> tuple[Ints, Ints] | None:
        """Return the lowest and highest value of every row group, times in µs; None where they are not kept."""
        both = self._told_bounds.get(name)
        if both is not None and name not in self._bounds:
            self._bounds[name] = unpacked_ints(both["low"]), unpacked_ints(both["high"])
        return self._bounds.get(name)

    @cached_property
    def timetable(self) -> record_positions.Timetable | None:
        """What foretells a record's place; most of a layout's time to read, and a part without hits needs none."""
        told = self.rules.get("batch_position", {}).get("timetable")
        return None if told is None else record_positions.Timetable.parse(told)

    @cached_property
    def slots(self) -> Slots:
        """Where its columns lie in the word, in the order of `forms`."""
        return Slots.of(self.forms)

    @cached_property
    def own(self) -> frozenset[str]:
        """The file's columns that hold no more than columns of integers."""
        return frozenset({WORD}.union(*(form.columns(name) for name, form in self.forms.items())))

    def repeats(self, name: str) -> bool:
        """Tell whether a column of the file leaves out what repeats, in the form `repeat`."""
        return name in self.forms and self.forms[name].kind == "repeat"

    def sought(self, name: str, ranges: Sequence[Range]) -> Sought | None:
        """Return which codes of a column have values in half-open ranges; None where only restoring tells."""
        form = self.forms.get(name)
        return None if form is None else sought(form, self.rules.get(name), ranges)

    def stored(self, names: Iterable[str]) -> Sequence[str]:
        """Return the file's columns that are needed to restore logical ones; none for constants."""
        asked = tuple(names)
        found = self._needed.get(asked)
        if found is None:
            if len(self._needed) == _ASKED_MAX:
                self._needed.clear()
            found = self._needed[asked] = tuple(dict.fromkeys(self._own(asked)))
        return found

    def _own(self, names: Iterable[str]) -> Iterator[str]:
        for name in self._closure(names):
            form = self.forms.get(name)
            if form is None and name == "batch_id" and self.batches is not None:
                continue  # it follows from the place
            if form is None:
                yield self.rules[name]["column"] if name in self.rules else name
            else:
                yield from [WORD] if form.kind == "word" else form.columns(name)

    def restore(self, table: pa.Table, names: Sequence[str], rows: int) -> pa.Table:
        """Return logical columns of whole row groups, given their stored columns and their rows."""
        known: dict[str, Figures] = {}
        arrays = []
        for name in names:
            if name in self.forms or (name == "batch_id" and self.batches is not None):
                value = self._value(name, table, known, rows)
                arrays.append(figures.restore(value, PACKED.field(name).type, self.labels.get(name)))
            else:
                arrays.append(self._plain(table, name))
        return pa.table(arrays, schema=pa.schema([pa.field(n, a.type) for n, a in zip(names, arrays, strict=True)]))

    def figures(self, table: pa.Table, names: Sequence[str], rows: int) -> FigureBatch:
        """Return what `restore` returns, as figures."""
        made = FigureBatch(rows)
        known: dict[str, Figures] = {}
        for name in names:
            if name in self.forms or (name == "batch_id" and self.batches is not None):
                made.figures[name] = self._value(name, table, known, rows)
                if name in self.labels:
                    made.labels[name] = self.labels[name]
            else:
                made.take(name, self._plain(table, name))
        return made

    def constant(self, name: str) -> int | None:
        """Return the value that every row of a column has, where the layout says so."""
        form = self.forms.get(name)
        return form.base if form is not None and form.kind == "constant" and name not in self.rules else None

    def _plain(self, table: pa.Table, name: str) -> Any:
        if name in self.rules:
            rule = self.rules[name]
            return texts.unpack(rule, forms.bytes_of(flat(table.column(rule["column"]))))
        kind = PACKED.field(name).type
        column = flat(table.column(name))
        return (
            column
            if column.type == kind
            else column.dictionary_encode().cast(kind)
            if pa.types.is_dictionary(kind)
            else column
        )

    def _closure(self, names: Iterable[str]) -> list[str]:
        found: list[str] = []
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found and (name in self.names or name in self.forms):
                found.append(name)
                waiting.extend(self._needs(name))
        return found

    def _needs(self, name: str) -> list[str]:
        rule = self.rules.get(name, {}).get("rule")
        if rule == "sum":
            return [other for other, _ in derivations.SUMS[name] if other in self.forms]
        if rule == "key" or (name == "batch_id" and self.batches is not None):
            return ["batch_position"]
        return ["start_time"] if rule == "place" and self.timetable is not None else []

    def _value(self, name: str, table: pa.Table, known: dict[str, Figures], rows: int) -> Figures:
        """Return a column's values, and remember them."""
        if name in known:
            return known[name]
        if name == "batch_id" and self.batches is not None:
            place = self._place(table, known, rows)
            known[name] = Figures(self.batches.numbers[record_positions.batch_of(place, self.batches)])
            return known[name]
        kept = self._kept(name, table, rows)
        rule = self.rules.get(name, {})
        match rule.get("rule"):
            case "sum":
                terms = derivations.SUMS[name]
                parts = {other: self._value(other, table, known, rows) for other in self._needs(name)}
                kept = derivations.plus(kept, derivations.expected_sum(parts, terms, rows))
            case "equipment":
                kept = derivations.unequipment(kept, rule)
            case "scale":
                kept = derivations.unscale(kept)
            case "place":
                place, batches = self._place(table, known, rows), self.batches
                assert batches is not None
                kept = Figures(record_positions.position_of(place, batches, record_positions.batch_of(place, batches)))
            case "key":
                position, place = self._value("batch_position", table, known, rows), self._place(table, known, rows)
                assert self.batches is not None
                ahead = self.batches.keys[record_positions.batch_of(place, self.batches)]
                kept = derivations.plus(kept, position.values + ahead)
        if name in self.recoded:
            anew, begins = self.recoded[name]
            kept = Figures(anew[kept.values + begins], kept.valid)
        known[name] = kept
        return kept

    def _place(self, table: pa.Table, known: dict[str, Figures], rows: int) -> Ints:
        if WORD + "place" not in known:
            kept = self._kept("batch_position", table, rows)
            if self.timetable is not None:
                start = self._value("start_time", table, known, rows)
                kept = derivations.plus(kept, self.timetable.foretell(start.values))
            known[WORD + "place"] = kept
        return known[WORD + "place"].values

    def _kept(self, name: str, table: pa.Table, rows: int) -> Figures:
        if self.mixed is not None:
            return self.mixed.read(name)
        form = self.forms[name]
        if form.kind == "word":
            data = forms.bytes_of(flat(table.column(WORD)))
            return forms.values_of(bit_packing.unpack(data, form.slot), form)
        return forms.read(form, [flat(table.column(own)) for own in form.columns(name)], rows)
