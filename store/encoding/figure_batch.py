"""Records as integers by column: what adding up needs, without Arrow's columns in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from schemas.arrow import PACKED
from schemas.buffers import Column, Mask, flat
from store.encoding import figures
from store.encoding.figures import Figures


@dataclass(frozen=True, slots=True)
class FigureBatch:
    """Packed records by column; a column that is in none of the mappings is null in every row."""

    rows: int
    figures: dict[str, Figures] = field(default_factory=dict)
    """Integers, times in µs, flags, and labels by their codes."""
    labels: dict[str, list[str]] = field(default_factory=dict)
    """The labels of a column, by code."""
    others: dict[str, Column] = field(default_factory=dict)
    """Texts and 16-byte addresses, as Arrow keeps them."""
    kept: Mask | None = None
    """Which rows are selected; None is all of them."""

    @classmethod
    def of(cls, records: pa.Table | pa.RecordBatch, names: Iterable[str] | None = None) -> FigureBatch:
        """Return packed records as figures; columns of nulls only are left out."""
        made = cls(records.num_rows)
        for name in records.schema.names if names is None else names:
            made.take(name, records.column(name))
        return made

    def take(self, name: str, column: Column) -> None:
        """Add one column."""
        if column.null_count == len(column):
            return
        kind: Any = column.type
        if pa.types.is_dictionary(kind) or pa.types.is_dictionary(PACKED.field(name).type):
            self.figures[name], self.labels[name] = figures.of_labels(column)
        elif figures.is_figures(kind):
            self.figures[name] = figures.of(column)
        else:
            self.others[name] = flat(column)

    def table(self, names: Iterable[str]) -> pa.Table:
        """Return some columns as packed ones; those that are null in every row are left out."""
        columns: Mapping[str, Column] = {
            name: self.others[name]
            if name in self.others
            else figures.restore(self.figures[name], PACKED.field(name).type, self.labels.get(name))
            for name in names
            if name in self.others or name in self.figures
        }
        return pa.table(dict(columns))
