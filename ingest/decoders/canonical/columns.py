"""Columns of the canonical formats: which names they take, and how texts become delivered types.

CSV, NDJSON, Arrow and Parquet share these rules: a name is a canonical field or one of its aliases; what only the store
may set is refused, and so is a name that nobody knows, since a column that is silently left out is data lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders.canonical.times import ParsedTimes, parse_times
from ingest.row_faults import RowFaults
from ingest.row_keys import RowKeys
from ingest.source_config import SourceConfig
from schemas.arrow import delivered_type
from schemas.buffers import Column, Ints, Mask, as_text, flags, flat, map_unique, pc, valid_mask
from schemas.errors import InputError
from schemas.fields import BY_NAME, INPUT_ALIASES, STORE_FIELDS, Field, Kind
from schemas.packing import pack_identifier
from schemas.rejects import RejectReason

FIGURES: Final = (Kind.INTEGER, Kind.SMALL)

_PRINTABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]{0,40}")
_WHOLE: Final = r"^-?[0-9]{1,18}$"
_DECIMAL: Final = r"^-?[0-9]{1,14}\.[0-9]{1,9}$"
_TRUE: Final = ("true", "True", "TRUE", "1")
_FALSE: Final = ("false", "False", "FALSE", "0")
_OVERFLOW: Final = 2**62


@dataclass(frozen=True, slots=True)
class InputColumn:
    """One column of a delivery: its own name, the field that it carries, and the factor to the field's unit."""

    name: str
    field: Field
    factor: int

    @property
    def kind(self) -> Kind:
        """The field's kind."""
        return self.field.kind


def input_columns(names: Sequence[str]) -> list[InputColumn]:
    """Return what the columns of a delivery carry.

    Raises:
        InputError: a name is unknown, given twice, or only the store's to set. Only names that look like names are
            quoted: a delivery without a header has values there.
    """
    known = [name for name in names if name in BY_NAME or name in INPUT_ALIASES]
    if not known:
        raise InputError("the delivery names no field of the record", position=1, hint=_no_names_hint(names))
    columns: list[InputColumn] = []
    for number, name in enumerate(names, start=1):
        told = repr(name) if _PRINTABLE_NAME.fullmatch(name) else "its name is not quoted here"
        if name in STORE_FIELDS:
            raise InputError(f"column {number} ({told}) is set by the store and cannot be delivered", position=1)
        field_name, factor = INPUT_ALIASES.get(name, (name, 1))
        if field_name not in BY_NAME:
            raise InputError(
                f"column {number} ({told}) is no field of the record",
                position=1,
                hint="docs/FIELDS.md lists the names; leave the column out, or map the format",
            )
        if any(column.field.name == field_name for column in columns):
            raise InputError(f"column {number} ({told}) carries a field that an earlier column carries", position=1)
        columns.append(InputColumn(name, BY_NAME[field_name], factor))
    return columns


def _no_names_hint(names: Sequence[str]) -> str:
    """Return what to do with a first line that names nothing: spreadsheets divide by semicolons or tabs."""
    first = names[0] if names else ""
    if first.startswith("sep=") or (len(names) == 1 and (";" in first or "\t" in first)):
        return (
            "its columns are not divided by commas; save it so, or describe it in a mapping (docs/sources/mapping.md)"
        )
    return "docs/FIELDS.md lists the names; a CSV begins with a line of them"


class Converted(NamedTuple):
    """A column in its delivered type, or packed; `bad` are the rows that cannot be (None: no row).

    `text` is what of a packed column is no digits or no dotted quad, see `Decoded`.
    """

    values: Column
    bad: Mask | None
    text: Column | None = None


class Assembler:
    """Turns the columns of one stretch into a delivered table, and collects the faults of its rows.

    One per delivery. A delivery that is not `keyed` gets record keys from its rows, so it remembers them.
    """

    def __init__(self, source: SourceConfig, *, keyed: bool) -> None:
        self._source = source
        self.keyed = keyed
        self._keys = None if keyed else RowKeys()

    def assemble(
        self, columns: Sequence[InputColumn], arrays: Sequence[Column | ParsedTimes | Converted], positions: Ints
    ) -> tuple[pa.Table, RowFaults]:
        """Return the delivered table of the good rows, with `position`, and the faults of all rows.

        Columns come as they were delivered, or read already: as `ParsedTimes` and `Converted`.
        """
        faults = RowFaults(len(positions))
        made: dict[str, Column] = {}
        for column, array in zip(columns, arrays, strict=True):
            if column.kind is Kind.TIME:
                self._time(column, array, made, faults)
                continue
            name = column.field.name
            value, bad, text = array if isinstance(array, Converted) else (*convert(column, array), None)
            if bad is not None:
                faults.add(bad, RejectReason.BAD_FIELD, name)
            if text is not None:
                made[name + "_text"] = text
            if name in made:  # under two names, or computed from a time's offset
                if name != "utc_offset_s":
                    differs = np.asarray(pc.fill_null(pc.not_equal(value, made[name]), False))
                    faults.add(differs, RejectReason.BAD_FIELD, name)
                value = pc.coalesce(value, made[name])
            made[name] = value
        made["position"] = pa.array(positions)
        table = pa.table(made)
        if faults.mask.any():
            table = table.filter(pa.array(~faults.mask))
        return (table if self._keys is None else self._with_keys(table, self._keys)), faults

    def _with_keys(self, table: pa.Table, keys: RowKeys) -> pa.Table:
        names = [name for name in table.column_names if name not in ("position", "record_key")]
        made = keys.of_table(table, names)
        if "record_key" not in table.column_names:
            return table.append_column("record_key", made)
        place = table.schema.get_field_index("record_key")
        return table.set_column(place, "record_key", pc.coalesce(as_text(table.column("record_key")), made))

    def _time(
        self, column: InputColumn, array: Column | ParsedTimes, made: dict[str, Column], faults: RowFaults
    ) -> None:
        name = column.field.name
        parsed = array if isinstance(array, ParsedTimes) else parse_times(array, self._source.zone)
        faults.add(parsed.bad, RejectReason.BAD_TIME, name)
        made[name] = parsed.times
        if parsed.offsets_s is not None and name == "start_time":
            told = made.get("utc_offset_s")
            made["utc_offset_s"] = parsed.offsets_s if told is None else pc.coalesce(told, parsed.offsets_s)
        if parsed.ambiguous is not None:
            before = made.get("time_ambiguous")
            made["time_ambiguous"] = parsed.ambiguous if before is None else pc.or_(before, parsed.ambiguous)


def convert(column: InputColumn, array: Column) -> tuple[Column, Mask]:
    """Return a column in its delivered type and unit, and which rows cannot be converted."""
    array = flat(array)
    rows = len(array)
    if column.kind in FIGURES:
        return _figures(column, array)
    if column.kind is Kind.FLAG:
        return _flags(array)
    if column.kind is Kind.LABEL and isinstance(array, pa.DictionaryArray):
        return array, flags(rows)
    return array if isinstance(array, pa.DictionaryArray) else as_text(array), flags(rows)


def _figures(column: InputColumn, array: Column) -> tuple[Column, Mask]:
    wanted = delivered_type(column.field)
    bad = flags(len(array))
    if array.type == pa.uint64():
        bad = np.asarray(pc.fill_null(pc.greater(array, pa.scalar(_OVERFLOW, pa.uint64())), False))
        array = pc.if_else(pa.array(bad), pa.scalar(None, pa.uint64()), array).cast(pa.int64())
    if not pa.types.is_integer(array.type):
        array, bad = _whole_numbers(as_text(array), column.factor)
    elif column.factor != 1:
        array = _scaled(array.cast(pa.int64(), safe=False), column.factor)
    if array.type == wanted:
        return array, bad
    try:
        return array.cast(wanted), bad
    except pa.ArrowInvalid:
        values = np.asarray(pc.fill_null(array.cast(pa.int64(), safe=False), 0))
        wide = np.abs(values) > np.iinfo(np.int32).max
        kept: Column = pa.array(np.where(wide, 0, values), mask=wide | ~valid_mask(array))
        return kept.cast(wanted), bad | wide


def _scaled(array: Column, factor: int) -> Column:
    """Multiply; what would overflow becomes absurdly large, and is refused by its range later."""
    limit = _OVERFLOW // factor
    bounds = pc.min_max(array).as_py()
    if bounds["max"] is not None and (bounds["max"] > limit or bounds["min"] < -limit):
        values = np.clip(np.asarray(pc.fill_null(array, 0)), -limit, limit)
        array = pa.array(values, mask=~valid_mask(array))
    return pc.multiply(array, factor)


def _whole_numbers(text: Column, factor: int) -> tuple[Column, Mask]:
    """Read whole numbers; a field with a larger unit (`duration_s`) may have a decimal fraction, which is cut."""
    _, rest = pack_identifier(text)
    if rest.null_count == len(rest):  # digits only, but for nulls: no pattern needs to be asked
        return _scaled(pc.cast(text, pa.int64()), factor), flags(len(text))
    null = pa.scalar(None, pa.string())
    whole = pc.fill_null(pc.match_substring_regex(text, _WHOLE), False)
    values = _scaled(pc.if_else(whole, text, null).cast(pa.int64()), factor)
    fine = np.asarray(whole)
    if factor > 1:
        decimal = pc.fill_null(pc.match_substring_regex(text, _DECIMAL), False)
        if pc.any(decimal).as_py():
            exact = pc.if_else(decimal, text, null)
            values = pc.coalesce(values, map_unique(exact, lambda one: int(Decimal(one) * factor), pa.int64()))
        fine = fine | np.asarray(decimal)
    return values, valid_mask(text) & ~fine


def _flags(array: Column) -> tuple[Column, Mask]:
    if pa.types.is_boolean(array.type):
        return array, flags(len(array))
    text = as_text(array)
    yes = np.asarray(pc.is_in(text, pa.array(_TRUE)))
    no = np.asarray(pc.is_in(text, pa.array(_FALSE)))
    return pa.array(yes, mask=~(yes | no)), valid_mask(text) & ~yes & ~no
