"""What a mapping file says, as values; `ingest.mapping.reader` makes them and refuses what cannot work."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from ingest.mapping.times import TimeFormat
from schemas.fields import Field

FILE_COLUMN: Final = "@file"
"""Stands for the delivery's file name wherever a column is named."""

SOURCE_ZONE: Final = "source"
"""The zone that the source is registered with."""


class Kind(StrEnum):
    """How records lie in a delivery."""

    DELIMITED = "delimited"
    FIXED_WIDTH = "fixed-width"
    JSON_LINES = "json-lines"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a delivery is cut into records and columns.

    `columns` are the names of a delimited layout without a header line; `slices` the half-open spans of a fixed-width
    one, in characters. `nulls` are texts that mean "nothing". `record_path` leads to the array in a JSON document.
    """

    kind: Kind
    delimiter: str = ","
    quote: str = '"'
    header: bool = False
    columns: tuple[str, ...] = ()
    slices: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    line_length: int | None = None
    skip_lines: int = 0
    comment: str | None = None
    encoding: str = "utf-8"
    trim: bool = False
    nulls: frozenset[str] = frozenset({""})
    record_path: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """Header or trailer lines: how they begin, and where they declare the number of records.

    `excess` is by how much the declared number is larger than the number of records (a count of lines, say).
    """

    prefix: str
    count: re.Pattern[str] | None
    excess: int = 0
    required: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a text; `otherwise` says what becomes of one that it does not fit (`ingest.mapping.steps`)."""

    word: str
    argument: Any
    otherwise: str = "refuse"


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a field's value comes from, for the rows that fulfil `when` (all of them when it is empty).

    One of: `constant`; `columns` joined with `join`; or, with `first_of`, the first of `columns` that is not null.
    """

    when: tuple[tuple[str, frozenset[str]], ...] = ()
    columns: tuple[str, ...] = ()
    join: str = ""
    first_of: bool = False
    constant: str | None = None
    steps: tuple[Step, ...] = ()
    formats: tuple[TimeFormat, ...] = ()
    zone: str = SOURCE_ZONE


@dataclass(frozen=True, slots=True)
class FieldMap:
    """One field of the record. `name` may be an alias in another unit; `factor` leads to the field's own unit."""

    name: str
    field: Field
    factor: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """What identifies a record: columns, or a digest and an occurrence number.

    With `digest`, it is over `fields` of the record, or over all columns that the mapping reads when there are none.
    """

    columns: tuple[str, ...] = ()
    join: str = "/"
    digest: bool = False
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MappingFile:
    """A whole mapping."""

    layout: Layout
    fields: tuple[FieldMap, ...]
    key: Key
    header_line: Control | None = None
    trailer_line: Control | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the columns that the mapping reads, in the order in which it names them."""
        named = [
            column
            for item in self.fields
            for rule in item.rules
            for column in (*rule.columns, *(name for name, _ in rule.when))
        ]
        return tuple(dict.fromkeys([*named, *self.key.columns]))

    def local_times(self) -> bool:
        """Tell whether a time cannot be read without the source's zone."""
        return any(
            rule.zone == SOURCE_ZONE and any(form.needs_zone for form in rule.formats)
            for item in self.fields
            for rule in item.rules
        )
