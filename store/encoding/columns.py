"""Columns of a part as its file keeps them, and back: derived columns first, then each column's form.

A part's records are *logical* columns (the packed schema). Its file holds *stored* columns: what other columns tell
already is left out or kept as a difference (`store.encoding.derivations`, `store.encoding.record_positions`), and each
column lies in the form that takes least (`store.encoding.forms`). The layout, JSON in the file's encrypted footer, says
how; `store.encoding.restoring` undoes it all. Nobody but `PartReader` sees stored columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.arrow import PACKED
from schemas.buffers import flat
from store.encoding import bit_packing, derivations, figures, forms, record_positions, texts
from store.encoding.choices import Choices
from store.encoding.figures import Figures
from store.encoding.forms import Form, SizeOf
from store.encoding.packed_ints import packed_ints
from store.encoding.restoring import LABELS, LAYOUT_KEY, LAYOUT_VERSION, WORD
from store.encoding.texts import Packed

BOUNDED: Final = ("start_time", "end_time", "calling_number")
"""The layout keeps these columns' lowest and highest value of every row group."""
ROW_GROUP_ROWS: Final = 16_384
"""Of a file with a layout, about. Each column of each has 60 bytes of the footer, and 1 kB of an open file."""
PAGE_ROWS: Final = 512
"""Of a page of every column: what a lookup reads of each for one record."""
HALVED_GROUPS_MIN: Final = 9
"""From so many groups on a page of the word has half the rows: a record that is found costs little else (ADR 43)."""
WORD_PAGE_ROWS_LARGE: Final = 4_096
"""In large parts, whose groups have as many rows as a row group: a lookup meets few of them, and pages add up."""
PAGE_OWN_BYTES: Final = 90
"""What a page has of its own: its header, and what seals it."""
PAGE_BYTES_MIN: Final = 4_096
_PAGE_BYTES_MAX: Final = 1 << 20
_WHOLE_BYTES: Final = 8
"""Of a whole number, in whatever encoding."""
LABEL_BYTES_MAX: Final = 65_536
"""Labels of more text than that are a dictionary of the file, each row group with its own."""


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
    def page_rows(self) -> int:
        """Rows of a page of any column; 0 where columns have pages of their own sizes."""
        return page_rows_of(self.group_rows) if LAYOUT_KEY in self.metadata else 0

    @property
    def halved(self) -> Mapping[str, int]:
        """Columns of the file whose pages have fewer rows than `page_rows`, and how many.

        Arrow ends a page by rows or bytes, at the end of a batch, by one rule for all columns. So pages are halved
        where the word is the widest column but for those that are cut like it, and no text may reach its bytes.
        """
        rows = piece_rows_of(self.group_rows, self.table)
        if not self.page_rows or rows == self.page_rows or WORD not in self.table.column_names:
            return {}
        kinds = {field.name: (field.type, field.nullable) for field in self.table.schema}
        fixed = {name: kind.byte_width for name, (kind, _) in kinds.items() if pa.types.is_fixed_size_binary(kind)}
        wide = {name for name, width in fixed.items() if width >= fixed[WORD] and not kinds[name][1]}
        if max([_WHOLE_BYTES, *(width for name, width in fixed.items() if name not in wide)]) >= fixed[WORD]:
            return {}
        return dict.fromkeys(sorted(wide), rows)

    @property
    def paging(self) -> dict[str, int]:
        """How the file's columns are cut into pages, as Arrow's writer is told."""
        if LAYOUT_KEY not in self.metadata:
            return {}
        word = self.table.schema.field(WORD).type.byte_width if WORD in self.table.column_names else 0
        if self.page_rows:
            batch = self.halved.get(WORD, self.page_rows)
            size = batch * word if self.halved else _PAGE_BYTES_MAX
            return {"max_rows_per_page": self.page_rows, "write_batch_size": batch, "data_page_size": size}
        return {
            "max_rows_per_page": self.group_rows,
            "write_batch_size": WORD_PAGE_ROWS_LARGE,
            "data_page_size": max(WORD_PAGE_ROWS_LARGE * word, PAGE_BYTES_MIN),
        }


def group_rows_of(rows: int) -> int:
    """Return the rows of a row group for a part of so many rows.

    A lookup reads whole groups: the smaller, the less it reads, and the more it costs to write, to scan and to post
    them. Where a day is some hundred thousand records, an identifier over two years meets hundreds of groups. No part
    has more than 128 before it is large: opening it would cost more than the groups behind its footer.
    """
    return 4_096 if rows <= 524_288 else ROW_GROUP_ROWS


def page_rows_of(group_rows: int) -> int:
    """Return the rows of a page of any column in a part of such groups; 0 where columns have pages of their own."""
    return min(PAGE_ROWS, group_rows) if group_rows < ROW_GROUP_ROWS else 0


def piece_rows_of(group_rows: int, records: pa.Table) -> int:
    """Return the rows of the smallest page of a group: what a lookup reads of the word alone.

    `records` may be logical or stored columns: texts that lie as they are tell, and the rows.
    """
    rows = page_rows_of(group_rows)
    halved = records.num_rows > (HALVED_GROUPS_MIN - 1) * group_rows and rows % 2 == 0
    if not rows or not halved or any(pa.types.is_string(kind) for kind in records.schema.types):
        return rows or WORD_PAGE_ROWS_LARGE
    return rows // 2


def encode(
    records: pa.Table,
    group_rows: int,
    size_of: SizeOf,
    choices: Choices | None = None,
    packed: Mapping[str, Packed] | None = None,
) -> Stored:
    """Return records (in their stored order, without columns of nulls only) as their file keeps them.

    With `choices` a small part takes the forms of those before it, where they fit. `packed` has columns of texts that
    are numbers, which `records` lacks then.
    """
    laid = texts.of(records, None, size_of) if packed is None else packed
    records = records.drop_columns([name for name in laid if name in records.schema.names])
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
    page_rows = page_rows_of(group_rows)
    own_bits = 8 * PAGE_OWN_BYTES / page_rows if page_rows else 0.0
    chooser = Choices() if choices is None else choices
    chosen, width = _with_slots(chooser.choose(kept, records.num_rows, size_of, own_bits))
    stored, encodings = _write(kept, chosen, width, page_rows or group_rows, records.num_rows)
    for name, array in other.items():
        stored[name], encodings[name] = array, _other_encoding(array)
    for name, text in laid.items():
        rules[name] = text.rule(name)
        if text.words is not None:
            stored[name], encodings[name] = forms.fixed(text.words), Encoding()
    layout = {
        "version": LAYOUT_VERSION,
        "group_rows": group_rows,
        "names": [name for name in PACKED.names if name in columns or name in other or name in laid],
        "forms": {name: form.as_dict() for name, form in chosen.items()},
        "rules": rules,
        LABELS: labels,
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
    laid = record_positions.lay(position.values, None if batch is None else batch.values, keys, start.values)
    if laid is None:
        return
    place, batches = laid
    kept.pop("batch_id", None)
    rule: dict[str, Any] = {"rule": "place", "batches": batches.as_dict(), "timetable": None}
    timetable = record_positions.timetable(start.values, place)
    whole = Figures(place)
    off = derivations.less(whole, timetable.foretell(start.values))
    if derivations.is_nearer(whole, off):
        kept["batch_position"], rule["timetable"] = off, timetable.as_dict()
    else:
        kept["batch_position"] = whole
    rules["batch_position"] = rule
    if key is not None:
        expected = position.values + batches.keys[record_positions.batch_of(place, batches)]
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
    return placed, bit_packing.width_of(bit)


def _write(
    kept: dict[str, Figures], chosen: dict[str, Form], width: int, told_rows: int, rows: int
) -> tuple[dict[str, Any], dict[str, Encoding]]:
    stored: dict[str, Any] = {}
    encodings: dict[str, Encoding] = {}
    within = [name for name, form in chosen.items() if form.kind == "word"]
    if within:
        packed = [partial(forms.codes_between, kept[name], chosen[name]) for name in within]
        stored[WORD] = forms.fixed(bit_packing.pack([chosen[name].slot for name in within], packed, width, rows))
    for name, form in chosen.items():
        encoding = "DELTA_BINARY_PACKED" if form.kind == "delta" else "PLAIN"
        for own, array in zip(form.columns(name), forms.write(kept[name], form, told_rows), strict=True):
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
