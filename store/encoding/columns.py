"""Columns of a part as its file keeps them, and back: derived columns first, then each column's form.

A part's records are *logical* columns (the packed schema). Its file holds *stored* columns: what other columns tell
already is left out or kept as a difference (`store.encoding.derivations`, `store.encoding.places`), and each column
lies in the form that takes least (`store.encoding.forms`). The layout, JSON in the file's encrypted footer, says how;
`Layout.restore` undoes it all. Nobody but `PartReader` sees stored columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.arrow import PACKED
from schemas.buffers import flat
from store.encoding import derivations, figures, forms, places, words
from store.encoding.codes import Range, Sought, sought
from store.encoding.coding import packed_ints, unpacked_ints
from store.encoding.figure_batch import FigureBatch
from store.encoding.figures import Figures, Ints
from store.encoding.forms import Form, SizeOf

LAYOUT_KEY: Final = "lagrum.layout"
LAYOUT_VERSION: Final = 1
WORD: Final = "~word"
BOUNDED: Final = ("start_time", "end_time", "calling_number")
"""The layout keeps these columns' lowest and highest value of every row group."""
ROW_GROUP_ROWS: Final = 16_384
"""Of a file with a layout, about. Each column of each has 60 bytes of the footer, and 1 kB of an open file."""
WORD_PAGE_ROWS: Final = 512
WORD_PAGE_ROWS_LARGE: Final = 4_096
"""In large parts, whose groups have as many rows as a row group: a lookup meets few of them, and pages add up."""
PAGE_BYTES_MIN: Final = 4_096
"""A page has 90 bytes of its own."""
LABEL_BYTES_MAX: Final = 65_536
"""Labels of more text than that are a dictionary of the file, each row group with its own."""
_LABELS: Final = "labels"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How Parquet encodes one stored column."""

    encoding: str = "PLAIN"
    codec: str = "none"
    dictionary: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored columns of a part, how each is encoded, the rows of a group, and the footer's metadata."""

    table: pa.Table
    encodings: Mapping[str, Encoding]
    group_rows: int
    metadata: Mapping[str, str]

    @property
    def row_group_rows(self) -> int:
        """Rows of a row group of the file: of several groups where a layout tells groups apart (ADR 33)."""
        if LAYOUT_KEY not in self.metadata:
            return self.group_rows
        return self.group_rows * max(1, ROW_GROUP_ROWS // self.group_rows)

    @property
    def paging(self) -> dict[str, int]:
        """How the file's columns are cut into pages, as Arrow's writer is told: each group a page, the word several."""
        if LAYOUT_KEY not in self.metadata:
            return {}
        word = self.table.schema.field(WORD).type.byte_width if WORD in self.table.column_names else 0
        rows = WORD_PAGE_ROWS if self.group_rows < ROW_GROUP_ROWS else WORD_PAGE_ROWS_LARGE
        return {
            "max_rows_per_page": self.group_rows,
            "write_batch_size": min(rows, self.group_rows),
            "data_page_size": max(rows * word, PAGE_BYTES_MIN),
        }


def group_rows_of(rows: int) -> int:
    """Return the rows of a row group for a part of so many rows.

    A lookup reads whole groups: the smaller, the less it reads, and the more it costs to write, to scan and to post
    them. Where a day is some hundred thousand records, an identifier over two years meets hundreds of groups. No part
    has more than 128 before it is large: opening it would cost more than the groups behind its footer.
    """
    if rows <= 65_536:
        return 4_096
    return 2_048 if rows <= 262_144 else 4_096 if rows <= 524_288 else 16_384


def encode(records: pa.Table, group_rows: int, size_of: SizeOf) -> Stored:
    """Return records (in their stored order, without columns of nulls only) as their file keeps them."""
    labels: dict[str, list[str]] = {}
    columns: dict[str, Figures] = {}
    other: dict[str, Any] = {}
    for name in records.schema.names:
        kind = records.schema.field(name).type
        if pa.types.is_dictionary(kind):
            codes, used = figures.of_labels(records.column(name))
            if sum(map(len, used)) <= LABEL_BYTES_MAX:
                columns[name], labels[name] = codes, used
                continue
        if figures.is_figures(kind) and not pa.types.is_dictionary(kind):
            columns[name] = figures.of(records.column(name))
        else:
            other[name] = flat(records.column(name))
    kept, rules = _derive(columns, records.num_rows)
    chosen = {name: forms.choose(column, size_of) for name, column in kept.items()}
    chosen, width = _with_slots(chosen)
    stored, encodings = _write(kept, chosen, width, group_rows, records.num_rows)
    for name, array in other.items():
        stored[name], encodings[name] = array, _other_encoding(array)
    layout = {
        "version": LAYOUT_VERSION,
        "group_rows": group_rows,
        "names": records.schema.names,
        "forms": {name: form.as_dict() for name, form in chosen.items()},
        "rules": rules,
        _LABELS: labels,
        "bounds": {name: _bounds(columns[name], group_rows) for name in BOUNDED if name in columns},
    }
    metadata = {key.decode(): value.decode() for key, value in (PACKED.metadata or {}).items()}
    metadata[LAYOUT_KEY] = json.dumps(layout, separators=(",", ":"))
    fields = [pa.field(name, array.type, nullable=array.null_count > 0) for name, array in stored.items()]
    table = pa.table(list(stored.values()), schema=pa.schema(fields))
    return Stored(table, encodings, group_rows, metadata)


def _derive(columns: dict[str, Figures], rows: int) -> tuple[dict[str, Figures], dict[str, Any]]:
    """Return what is kept of each column, and the rules that were applied, in the order to apply them in."""
    kept = dict(columns)
    rules: dict[str, Any] = {}
    _derive_places(columns, kept, rules)
    for name, terms in derivations.SUMS.items():
        if name in columns:
            rest = derivations.less(columns[name], derivations.expected_sum(columns, terms, rows))
            if derivations.is_nearer(columns[name], rest):
                kept[name], rules[name] = rest, {"rule": "sum"}
    for name in derivations.EQUIPMENT:
        if name in columns and (found := derivations.equipment(columns[name])) is not None:
            kept[name], rules[name] = found[0], {"rule": "equipment", **found[1]}
    for name in derivations.SCALED:
        if name in columns and name not in rules and (scaled := derivations.scale(columns[name])) is not None:
            kept[name], rules[name] = scaled, {"rule": "scale"}
    return kept, rules


def _derive_places(columns: dict[str, Figures], kept: dict[str, Figures], rules: dict[str, Any]) -> None:
    needed = [columns.get(name) for name in ("batch_position", "record_key", "start_time")]
    position, key, start = needed
    batch = columns.get("batch_id")
    if position is None or start is None or any(item is not None and item.valid is not None for item in needed[::2]):
        return
    if batch is not None and batch.valid is not None:
        return
    keys = np.zeros(len(position), np.int64) if key is None else key.values
    laid = places.lay(position.values, None if batch is None else batch.values, keys, start.values)
    if laid is None:
        return
    place, batches = laid
    kept.pop("batch_id", None)
    rule: dict[str, Any] = {"rule": "place", "batches": batches.as_dict(), "timetable": None}
    timetable = places.timetable(start.values, place)
    whole = Figures(place)
    off = derivations.less(whole, timetable.foretell(start.values))
    if derivations.is_nearer(whole, off):
        kept["batch_position"], rule["timetable"] = off, timetable.as_dict()
    else:
        kept["batch_position"] = whole
    rules["batch_position"] = rule
    if key is not None:
        expected = position.values + batches.keys[places.batch_of(place, batches)]
        rest = derivations.less(key, expected)
        if derivations.is_nearer(key, rest):
            kept["record_key"], rules["record_key"] = rest, {"rule": "key"}


def _with_slots(chosen: dict[str, Form]) -> tuple[dict[str, Form], int]:
    """Give every column of the word its slot; return the forms and the word's bytes.

    What is left of the word's last byte takes squeezed columns that fit: there they cost neither room nor time.
    """
    within = {name for name, form in chosen.items() if form.kind == "word"}
    left = -sum(chosen[name].bits for name in within) % 8
    for name in sorted(chosen, key=lambda name: -chosen[name].bits):
        if chosen[name].kind == "bytes" and chosen[name].bits <= left:
            within.add(name)
            left -= chosen[name].bits
    placed, bit = dict(chosen), 0
    for name, form in chosen.items():
        if name in within:
            placed[name] = Form("word", form.base, form.bits, bit, form.nulls)
            bit += form.bits
    return placed, words.width_of(bit)


def _write(
    kept: dict[str, Figures], chosen: dict[str, Form], width: int, group_rows: int, rows: int
) -> tuple[dict[str, Any], dict[str, Encoding]]:
    stored: dict[str, Any] = {}
    encodings: dict[str, Encoding] = {}
    within = [name for name, form in chosen.items() if form.kind == "word"]
    if within:
        packed = [partial(forms.codes_between, kept[name], chosen[name]) for name in within]
        stored[WORD] = forms.fixed(words.pack([chosen[name].slot for name in within], packed, width, rows))
    for name, form in chosen.items():
        encoding = "DELTA_BINARY_PACKED" if form.kind == "delta" else "PLAIN"
        for own, array in zip(form.columns(name), forms.write(kept[name], form, group_rows), strict=True):
            stored[own], encodings[own] = array, Encoding(encoding, form.codec)
    if not stored:  # a file without columns has no rows
        stored[WORD] = forms.fixed(np.zeros((rows, 1), np.uint8))
    if WORD in stored:
        encodings[WORD] = Encoding()
    return stored, encodings


def _other_encoding(array: Any) -> Encoding:
    kind = array.type
    if pa.types.is_dictionary(kind):
        return Encoding(codec="zstd", dictionary=True)
    if pa.types.is_string(kind):
        few = array.slice(0, forms.SAMPLE_ROWS)
        if 2 * len(few.unique()) < len(few):
            return Encoding(codec="zstd", dictionary=True)
        return Encoding("DELTA_LENGTH_BYTE_ARRAY", "zstd")
    return Encoding("PLAIN", "zstd")


def _bounds(column: Figures, group_rows: int) -> dict[str, str]:
    """Return the lowest and highest value of every row group; nulls do not count, a group of nulls has low > high."""
    starts = np.arange(0, len(column), group_rows)
    low = high = column.values
    if column.valid is not None:
        low = np.where(column.valid, low, np.iinfo(np.int64).max)
        high = np.where(column.valid, high, np.iinfo(np.int64).min)
    return {
        "low": packed_ints(np.minimum.reduceat(low, starts)),
        "high": packed_ints(np.maximum.reduceat(high, starts)),
    }


class Layout:
    """How one file keeps its columns."""

    def __init__(self, data: dict[str, Any]) -> None:
        """Read the layout of a file."""
        self._forms = {name: Form(**form) for name, form in data["forms"].items()}
        self._rules: dict[str, Any] = data["rules"]
        self._labels: dict[str, list[str]] = data[_LABELS]
        self._bounds = {
            name: (unpacked_ints(both["low"]), unpacked_ints(both["high"])) for name, both in data["bounds"].items()
        }
        self.names: tuple[str, ...] = tuple(data["names"])
        self.group_rows = int(data["group_rows"])
        self._batches: places.Batches | None = None
        self._timetable: places.Timetable | None = None
        if (rule := self._rules.get("batch_position")) is not None:
            self._batches = places.Batches.parse(rule["batches"])
            self._timetable = None if rule["timetable"] is None else places.Timetable.parse(rule["timetable"])

    @classmethod
    def parse(cls, metadata: Mapping[bytes, bytes] | None) -> Layout | None:
        """Return the layout of a file, given its metadata; None when every column lies in it as it is."""
        text = (metadata or {}).get(LAYOUT_KEY.encode())
        return None if text is None else cls(json.loads(text))

    def bounds(self, name: str) -> tuple[Ints, Ints] | None:
        """Return the lowest and highest value of every row group, times in µs; None where they are not kept."""
        return self._bounds.get(name)

    def repeats(self, name: str) -> bool:
        """Tell whether a column of the file leaves out what repeats, in the form `repeat`."""
        return name in self._forms and self._forms[name].kind == "repeat"

    def sought(self, name: str, ranges: Sequence[Range]) -> Sought | None:
        """Return which codes of a column have values in half-open ranges; None where only restoring tells."""
        form = self._forms.get(name)
        return None if form is None else sought(form, self._rules.get(name), ranges)

    def stored(self, names: Iterable[str]) -> list[str]:
        """Return the file's columns that are needed to restore logical ones; none for constants."""
        needed: list[str] = []
        for name in self._closure(names):
            form = self._forms.get(name)
            if form is None and name == "batch_id" and self._batches is not None:
                continue  # it follows from the place
            own = [name] if form is None else [WORD] if form.kind == "word" else form.columns(name)
            needed.extend(column for column in own if column not in needed)
        return needed

    def restore(self, table: pa.Table, names: Sequence[str], rows: int) -> pa.Table:
        """Return logical columns of whole row groups, given their stored columns and their rows."""
        known: dict[str, Figures] = {}
        arrays = []
        for name in names:
            if name in self._forms or (name == "batch_id" and self._batches is not None):
                value = self._value(name, table, known, rows)
                arrays.append(figures.restore(value, PACKED.field(name).type, self._labels.get(name)))
            else:
                arrays.append(self._plain(table, name))
        return pa.table(arrays, schema=pa.schema([pa.field(n, a.type) for n, a in zip(names, arrays, strict=True)]))

    def figures(self, table: pa.Table, names: Sequence[str], rows: int) -> FigureBatch:
        """Return what `restore` returns, as figures."""
        made = FigureBatch(rows)
        known: dict[str, Figures] = {}
        for name in names:
            if name in self._forms or (name == "batch_id" and self._batches is not None):
                made.figures[name] = self._value(name, table, known, rows)
                if name in self._labels:
                    made.labels[name] = self._labels[name]
            else:
                made.take(name, self._plain(table, name))
        return made

    def constant(self, name: str) -> int | None:
        """Return the value that every row of a column has, where the layout says so."""
        form = self._forms.get(name)
        return form.base if form is not None and form.kind == "constant" and name not in self._rules else None

    def _plain(self, table: pa.Table, name: str) -> Any:
        kind = PACKED.field(name).type
        column = flat(table.column(name))
        return column if column.type == kind else column.dictionary_encode().cast(kind) if _is_label(kind) else column

    def _closure(self, names: Iterable[str]) -> list[str]:
        found: list[str] = []
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in found and (name in self.names or name in self._forms):
                found.append(name)
                waiting.extend(self._needs(name))
        return found

    def _needs(self, name: str) -> list[str]:
        rule = self._rules.get(name, {}).get("rule")
        if rule == "sum":
            return [other for other, _ in derivations.SUMS[name] if other in self._forms]
        if rule == "key" or (name == "batch_id" and self._batches is not None):
            return ["batch_position"]
        return ["start_time"] if rule == "place" and self._timetable is not None else []

    def _value(self, name: str, table: pa.Table, known: dict[str, Figures], rows: int) -> Figures:
        """Return a column's values, and remember them."""
        if name in known:
            return known[name]
        if name == "batch_id" and self._batches is not None:
            place = self._place(table, known, rows)
            known[name] = Figures(self._batches.numbers[places.batch_of(place, self._batches)])
            return known[name]
        kept = self._kept(name, table, rows)
        rule = self._rules.get(name, {})
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
                place, batches = self._place(table, known, rows), self._batches
                assert batches is not None
                kept = Figures(places.position_of(place, batches, places.batch_of(place, batches)))
            case "key":
                position, place = self._value("batch_position", table, known, rows), self._place(table, known, rows)
                assert self._batches is not None
                ahead = self._batches.keys[places.batch_of(place, self._batches)]
                kept = derivations.plus(kept, position.values + ahead)
        known[name] = kept
        return kept

    def _place(self, table: pa.Table, known: dict[str, Figures], rows: int) -> Ints:
        if WORD + "place" not in known:
            kept = self._kept("batch_position", table, rows)
            if self._timetable is not None:
                start = self._value("start_time", table, known, rows)
                kept = derivations.plus(kept, self._timetable.foretell(start.values))
            known[WORD + "place"] = kept
        return known[WORD + "place"].values

    def _kept(self, name: str, table: pa.Table, rows: int) -> Figures:
        form = self._forms[name]
        if form.kind == "word":
            data = forms.bytes_of(flat(table.column(WORD)))
            return forms.values_of(words.unpack(data, form.slot), form)
        return forms.read(form, [flat(table.column(own)) for own in form.columns(name)], rows)


def _is_label(kind: Any) -> bool:
    return bool(pa.types.is_dictionary(kind))
