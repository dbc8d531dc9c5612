"""Records that a decoder makes one by one, gathered into a stretch with its rejects.

For formats whose records are tuples of the decoder's own columns. What is kept of a record that is refused later is
made only then, from what the decoder remembers of it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded
from ingest.decoders.freeswitch.values import Refusal
from schemas.arrow import DELIVERED
from schemas.buffers import flat
from schemas.packing import unpack_identifier
from schemas.rejects import Reject, RejectReason

__all__ = ["STRETCH_BYTES", "STRETCH_RECORDS", "Columns", "Refusal", "RowStretch", "kept_values"]

STRETCH_RECORDS: Final = 16_384
STRETCH_BYTES: Final = 16 << 20

_OWN_TYPES: Final[dict[str, pa.DataType]] = {
    "position": pa.int64(),
    "event": pa.string(),
    "session_key": pa.string(),
}


class Columns:
    """The columns of a decoder's records, in the order of its tuples; at least two of them are texts."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.types = tuple(_OWN_TYPES[name] if name in _OWN_TYPES else DELIVERED.field(name).type for name in names)
        self._texts = tuple(index for index, kind in enumerate(self.types) if pa.types.is_string(kind))
        self._texts_of = itemgetter(*self._texts)

    def check_texts(self, record: tuple[Any, ...]) -> None:
        """Refuse a stored text that holds NUL or whose bytes are not UTF-8; what is not stored may be in any encoding.

        Raises:
            Refusal: there is one.
        """
        joined = "".join(filter(None, self._texts_of(record)))
        if joined.isascii() and "\x00" not in joined:
            return
        for index in self._texts:
            text = record[index] or ""
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                raise Refusal(RejectReason.ENCODING, self.names[index]) from None
            if "\x00" in text:
                raise Refusal(RejectReason.ENCODING, self.names[index])

    def delivered(self, table: pa.Table) -> pa.Table:
        """Return records whose identifiers are packed and whose labels are encoded as a table of texts."""
        arrays = []
        for name, kind in zip(self.names, self.types, strict=True):
            column = flat(table.column(name))
            if kind == pa.string() and column.type == pa.int64():
                rest = f"{name}_text"
                column = unpack_identifier(column, flat(table.column(rest)) if rest in table.column_names else None)
            arrays.append(column.cast(kind))
        return pa.Table.from_arrays(arrays, names=list(self.names))

    def table(self, records: Sequence[tuple[Any, ...]]) -> pa.Table:
        """Return records as a table."""
        columns: Sequence[Any] = list(zip(*records, strict=True)) if records else [()] * len(self.names)
        arrays = [pa.array(column, kind) for column, kind in zip(columns, self.types, strict=True)]
        return pa.Table.from_arrays(arrays, names=list(self.names))


class RowStretch:
    """Some records of a delivery, and its rejects.

    `keep` returns what is kept of a record that is refused later, given what was remembered of it; no content.
    """

    def __init__(self, columns: Columns, keep: Callable[[Any], bytes | None]) -> None:
        self._columns = columns
        self._keep = keep
        self._records: list[tuple[Any, ...]] = []
        self._remembered: list[Any] = []
        self._rejects: list[Reject] = []
        self._walked: list[tuple[pa.Table, Callable[[int], Any]]] = []
        self._count = self._size_bytes = 0

    def take(self, record: tuple[Any, ...], remembered: Any, size_bytes: int) -> None:
        """Take a record; its first column is its position."""
        self._records.append(record)
        self._remembered.append(remembered)
        self._count += 1
        self._size_bytes += size_bytes

    def take_walked(self, table: pa.Table, remembered: Callable[[int], Any], size_bytes: int) -> None:
        """Take records that kernels made, in the order of their positions; `remembered` tells what `take` is told."""
        self._walked.append((table, remembered))
        self._count += table.num_rows
        self._size_bytes += size_bytes

    def refuse(self, reject: Reject) -> None:
        """Take a reject."""
        self._rejects.append(reject)
        self._count += 1
        self._size_bytes += len(reject.raw or b"")

    @property
    def is_full(self) -> bool:
        """Whether it is time to hand over."""
        return self._count >= STRETCH_RECORDS or self._size_bytes >= STRETCH_BYTES

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to hand over."""
        return not self._count

    def decoded(self) -> Decoded:
        """Return the stretch."""
        table = self._columns.table(self._records)
        if self._walked:
            parts = [part for part, _ in self._walked] + ([table] if self._records else [])
            table = pa.concat_tables(parts).combine_chunks()
            if self._records:
                order: Any = np.argsort(np.asarray(table.column("position")), kind="stable")
                table = table.take(order)
        return Decoded(table, self._rejects, self._raw_of)

    def _raw_of(self, positions: Sequence[int]) -> list[bytes | None]:
        remembered = dict(zip((record[0] for record in self._records), self._remembered, strict=True))
        for table, of_row in self._walked:
            places = np.asarray(table.column("position"))
            rows = np.searchsorted(places, positions)
            for position, row in zip(positions, rows.tolist(), strict=True):
                if row < len(places) and places[row] == position:
                    remembered[position] = of_row(row)
        return [self._keep(remembered[position]) for position in positions]


def kept_values(values: Mapping[str, str]) -> bytes:
    """Return a line of names and one of values, of those that are not empty: what is kept of a refused record.

    `values` are only what the decoder reads.
    """
    text = io.StringIO()
    pairs = [(name, value) for name, value in values.items() if value]
    csv.writer(text, lineterminator="\n").writerows(zip(*pairs, strict=True))
    return text.getvalue().encode("utf-8", "surrogateescape")
