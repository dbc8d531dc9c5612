"""Columns of texts to fields of the record, as the mapping says; a stretch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded
from ingest.decoders.canonical.columns import InputColumn, convert
from ingest.mapping.model import SOURCE_ZONE, FieldMap, MappingFile, Rule
from ingest.mapping.steps import apply_steps
from ingest.mapping.stretch import Kept, Stretch
from ingest.mapping.times import TimeFormat, read_times
from ingest.row_faults import RowFaults
from ingest.row_keys import RowKeys
from ingest.source_config import SourceConfig
from schemas.arrow import delivered_type
from schemas.buffers import Column, Mask, as_text, flags, pc, valid_mask
from schemas.errors import ConfigurationError
from schemas.fields import Kind
from schemas.rejects import RejectReason

_BETWEEN = "\x1f"
_PARTIES = frozenset({"calling_number", "called_number"})
"""A record whose party no alternative names is one that the mapping does not know."""


class _Value(NamedTuple):
    """A field's column, and the rows that it refuses; offsets and flags only where it is a time of a zone.

    `unmet` are the rows that fulfil no `when`, where one of them has to fit.
    """

    column: Column
    bad: Mask
    offsets_s: Column | None = None
    ambiguous: Column | None = None
    unmet: Mask | None = None


class Assembler:
    """Makes records of one delivery; it remembers the rows of a delivery without record keys."""

    def __init__(self, mapping: MappingFile, source: SourceConfig) -> None:
        self._mapping, self._source = mapping, source
        self._keys = RowKeys() if mapping.key.digest else None
        if source.zone is None and mapping.local_times():
            raise ConfigurationError(
                "the mapping reads local times in the source's zone, and the source has none",
                hint="set the source's zone, or `zone` beside the time's format in the mapping",
            )

    def assemble(self, stretch: Stretch) -> Decoded:
        """Return the records of a stretch."""
        rows = len(stretch.positions)
        faults = RowFaults(rows)
        made: dict[str, Column] = {"position": pa.array(stretch.positions)}
        for item in self._mapping.fields:
            value = self._field(item, stretch, rows)
            faults.add(value.bad, _reason(item), item.field.name)
            if value.unmet is not None:
                faults.add(value.unmet, RejectReason.MISSING_FIELD, item.field.name)
            made[item.field.name] = value.column
            if value.offsets_s is not None and item.field.name == "start_time" and "utc_offset_s" not in made:
                made["utc_offset_s"] = value.offsets_s
            if value.ambiguous is not None:
                before = made.get("time_ambiguous")
                made["time_ambiguous"] = value.ambiguous if before is None else pc.or_(before, value.ambiguous)
        if not self._mapping.key.digest:
            made["record_key"] = _joined(stretch.columns, self._mapping.key.columns, self._mapping.key.join)
        kept = Kept(stretch)
        rejects = [*stretch.rejects, *faults.rejects(stretch.positions, kept)]
        table = pa.table(made)
        good = pa.array(~faults.mask)
        if faults.mask.any():
            table = table.filter(good)
        if self._keys is not None:
            table = table.append_column("record_key", self._digests(self._keys, table, stretch, good))
        return Decoded(table, sorted(rejects, key=lambda reject: reject.position), kept)

    def _digests(self, keys: RowKeys, table: pa.Table, stretch: Stretch, good: Column) -> Column:
        fields = self._mapping.key.fields
        if fields:
            return keys.of_table(table, fields)
        texts = [pc.fill_null(column.filter(good), "") for column in stretch.columns.values()]
        joined = pc.binary_join_element_wise(*texts, _BETWEEN)
        return keys.of_rows(text.encode() for text in joined.to_pylist())

    def _field(self, item: FieldMap, stretch: Stretch, rows: int) -> _Value:
        """Return a field's column: each row's value is of the first rule that the row fulfils."""
        if len(item.rules) == 1 and not item.rules[0].when:
            return self._rule(item, item.rules[0], stretch, rows)
        kind: Any = delivered_type(item.field)
        column: Column = pa.nulls(rows, kind)
        bad, twice, free = flags(rows), flags(rows), flags(rows, value=True)
        offsets: Column = pa.nulls(rows, pa.int32())
        for rule in item.rules:
            mine = free & _fulfils(rule, stretch, rows)
            free &= ~mine
            if not mine.any():
                continue
            value, mask = self._rule(item, rule, stretch, rows), pa.array(mine)
            column = pc.if_else(mask, value.column, column)
            bad |= value.bad & mine
            if value.offsets_s is not None:
                offsets = pc.if_else(mask, value.offsets_s, offsets)
            if value.ambiguous is not None:
                twice |= np.asarray(value.ambiguous) & mine
        timed = item.field.kind is Kind.TIME
        unmet = free if item.field.name in _PARTIES else None
        return _Value(column, bad, offsets if timed else None, pa.array(twice) if timed else None, unmet)

    def _rule(self, item: FieldMap, rule: Rule, stretch: Stretch, rows: int) -> _Value:
        text, bad = apply_steps(_text(rule, stretch, rows), rule.steps)
        if item.field.kind is Kind.TIME:
            zone = self._source.zone if rule.zone == SOURCE_ZONE else rule.zone
            value = _times(text, rule.formats, zone)
            return value._replace(bad=value.bad | bad)
        column, wrong = convert(InputColumn(item.name, item.field, item.factor), text)
        return _Value(column, bad | wrong)


def _reason(item: FieldMap) -> RejectReason:
    if item.field.kind is Kind.TIME:
        return RejectReason.BAD_TIME
    return RejectReason.UNKNOWN_SERVICE if item.field.name == "service_type" else RejectReason.BAD_FIELD


def _text(rule: Rule, stretch: Stretch, rows: int) -> Column:
    """Return the texts that a rule begins with."""
    if rule.constant is not None:
        return pa.repeat(pa.scalar(rule.constant, pa.string()), rows)
    if rule.first_of:
        return pc.coalesce(*(stretch.columns[name] for name in rule.columns))
    return _joined(stretch.columns, rule.columns, rule.join)


def _joined(columns: dict[str, Column], names: Sequence[str], join: str) -> Column:
    """Return columns joined; null where all of them are, and nothing for the null ones otherwise."""
    chosen = [as_text(columns[name]) for name in names]
    if len(chosen) == 1:
        return chosen[0]
    joined = pc.binary_join_element_wise(*(pc.fill_null(column, "") for column in chosen), join)
    some = np.logical_or.reduce([valid_mask(column) for column in chosen])
    return pc.if_else(pa.array(some), joined, pa.scalar(None, pa.string()))


def _fulfils(rule: Rule, stretch: Stretch, rows: int) -> Mask:
    mask = flags(rows, value=True)
    for name, words in rule.when:
        column = pc.fill_null(stretch.columns[name], "")
        mask &= np.asarray(pc.is_in(column, pa.array(sorted(words), pa.string())))
    return mask


def _times(text: Column, formats: Sequence[TimeFormat], zone: str | None) -> _Value:
    """Read times in the first format that each text has."""
    first = read_times(text, formats[0], zone)
    value = _Value(first.times, first.bad, first.offsets_s, first.ambiguous)
    for form in formats[1:]:
        if not value.bad.any():
            break
        again = read_times(pc.if_else(pa.array(value.bad), text, pa.scalar(None, pa.string())), form, zone)
        value = _Value(
            pc.coalesce(value.column, again.times),
            again.bad,
            again.offsets_s if value.offsets_s is None else _either(value.offsets_s, again.offsets_s),
            again.ambiguous if value.ambiguous is None else _any(value.ambiguous, again.ambiguous),
        )
    return value


def _either(first: Column, second: Column | None) -> Column:
    return first if second is None else pc.coalesce(first, second)


def _any(first: Column, second: Column | None) -> Column:
    return first if second is None else pc.or_(first, second)
