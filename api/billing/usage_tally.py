"""Usage of every account by one pass of compiled loops over integers (ADR 20).

What the SQL of `api.billing.usage_sql` says in words, with the same lines: an account that the source tells, else the
owner of the first identifier that had one when the record began; groups by account, service type and destination.
Groups lie in one table in memory, which is refused to grow beyond `TABLE_BYTES_MAX`; nothing is written anywhere.

Accounts are integers: 0 for nobody, the packed digits where the name is all digits, else -2 less the place of the name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from api.billing.subscriptions import Owned
from api.billing.usage_lines import LINE, MEASURES, NOT_CHARGED, SERVED, too_much
from schemas.buffers import flat, pc
from schemas.destinations import E164_DIGITS_MAX, SHORT_CODE_DIGITS_MAX, Destination
from schemas.errors import IntegrityError
from schemas.packing import pack_identifier, pack_identifier_value
from store import native
from store.encoding.figure_batch import FigureBatch
from store.encoding.figures import Figures

Ints = npt.NDArray[np.int64]

KERNELS: Final = "api.billing.usage_kernels"
TABLE_BYTES_MAX: Final = 640 << 20
"""Of the table of groups; while it grows, half as much again is in use."""
_GROUPS_FIRST: Final = 1 << 12
_GROUP_BYTES: Final = 8 * (2 + len(MEASURES))
_WAYS: Final = (Destination.NATIONAL, Destination.INTERNATIONAL, Destination.SHORT_CODE, Destination.OTHER)
_NOBODY: Final = -1
"""A value that belongs to nobody: no packed value is negative."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Groups by open addressing; a cell below 0 is free."""

    accounts: Ints
    cells: Ints
    sums: npt.NDArray[np.int64]

    @classmethod
    def of(cls, size: int) -> _Table:
        return cls(np.zeros(size, np.int64), np.full(size, -1, np.int64), np.zeros((size, len(MEASURES)), np.int64))


class Tally:
    """Adds records up; `lines` returns what came together."""

    def __init__(self, owned: Owned, codes: Mapping[str, str | None]) -> None:
        """Take the subscriptions, and the calling code of each source's country."""
        self._kernels = native.load(KERNELS)
        self._services: dict[str | None, int] = {}
        packed, texts = pack_identifier(pa.array(owned.names, pa.string()))
        self._names: dict[str, int] = {name: place for place, name in enumerate(texts.drop_null().to_pylist())}
        named = texts.is_valid().to_numpy(zero_copy_only=False)
        owners = np.where(named, -1 - np.cumsum(named), packed.fill_null(0).to_numpy(zero_copy_only=False))
        self._owned = {
            column: _Lookup(table, owners) for column in SERVED if (table := owned.tables.get(column)) is not None
        }
        self._countries = {code: number for number, code in enumerate(sorted(set(codes.values()) - {None}, key=str), 1)}
        self._sources = {name: self._countries.get(code, 0) for name, code in codes.items()}
        self._national = _bounds([None, *self._countries])
        self._known = np.array([False] + [True] * len(self._countries))
        self._table = _Table.of(_GROUPS_FIRST)
        self._state = np.zeros(2, np.int64)
        self._recent = np.zeros(self._kernels.RECENT, np.int64)

    def add(self, batch: FigureBatch) -> None:
        """Add the kept records of a batch.

        Raises:
            BusyError: the groups do not fit into the memory allowed.
            IntegrityError: a sum leaves 64 bits.
        """
        kernels = self._kernels
        accounts = self._accounts_of(batch)
        service, services = _codes(batch, "service_type")
        source, sources = _codes(batch, "source")
        disposition, dispositions = _codes(batch, "disposition")
        kept = np.ones(1, np.bool_) if batch.kept is None else np.ascontiguousarray(batch.kept)
        columns = [kept, service, source, disposition, _values(batch, "called_number")]
        columns += [_values(batch, name) for name in MEASURES[1:]]
        steps = np.array([0 if len(column) == 1 else 1 for column in columns], np.int64)
        meanings = (
            np.array([self._services.setdefault(name, len(self._services)) for name in services], np.int64),
            np.array([self._sources.get(name or "", 0) for name in sources], np.int64),
            np.array([name == NOT_CHARGED for name in dispositions]),
        )
        row = 0
        while True:
            table = self._table
            held = (table.accounts, table.cells, table.sums, self._state, self._recent)
            row = kernels.add(row, accounts, *columns, steps, *meanings, self._known, *self._national, *held)
            if self._state[kernels.REASON] == kernels.DONE:
                return
            if self._state[kernels.REASON] == kernels.OVERFLOW:
                raise IntegrityError("the figures cannot be computed")
            self._grow()

    def lines(self) -> pa.Table:
        """Return the lines (`LINE`), by account, service type and destination."""
        table = self._table
        held = np.flatnonzero(table.cells >= 0)
        cells = table.cells[held]
        services, ways = cells // len(_WAYS), cells % len(_WAYS)
        columns = [
            self._named(table.accounts[held]),
            pa.array(list(self._services), pa.string()).take(services),
            pa.array([str(way) for way in _WAYS], pa.string()).take(ways),
            *(pa.array(table.sums[held, place]) for place in range(len(MEASURES))),
        ]
        lines = pa.table(columns, schema=LINE)
        order = pc.sort_indices(lines, sort_keys=[(name, "ascending") for name in LINE.names[:3]])
        return lines.take(order)

    def _named(self, accounts: Ints) -> Any:
        """Return accounts as text."""
        digits = pc.utf8_slice_codeunits(pa.array(np.abs(accounts)).cast(pa.string()), 1)
        names = pa.array([None, *self._names], pa.string()).take(np.where(accounts < 0, -1 - accounts, 0))
        return pc.if_else(pa.array(accounts > 0), digits, names)

    def _account(self, name: str) -> int:
        packed, _ = pack_identifier_value(name)
        return packed if packed is not None else -2 - self._names.setdefault(name, len(self._names))

    def _accounts_of(self, batch: FigureBatch) -> Ints:
        accounts = (
            batch.figures["account"].values.copy() if "account" in batch.figures else np.zeros(batch.rows, np.int64)
        )
        if (texts := batch.others.get("account_text")) is not None:
            found = _mapped(texts, self._account)
            accounts = np.where((accounts != 0) | (found == _NOBODY), accounts, found)
        starts = _values(batch, "start_time")
        step = 0 if len(starts) == 1 else 1
        for column, lookup in self._owned.items():
            values = lookup.values(batch, column)
            if values is not None:
                self._kernels.own(values, starts, step, *lookup.arrays, accounts)
        return accounts

    def _grow(self) -> None:
        size = 2 * len(self._table.cells)
        if size * _GROUP_BYTES > TABLE_BYTES_MAX:
            raise too_much()
        old, new = self._table, _Table.of(size)
        self._kernels.move(old.accounts, old.cells, old.sums, new.accounts, new.cells, new.sums)
        self._table = new
        self._recent[:] = 0


class _Lookup:
    """The subscriptions of one column, sorted by value."""

    def __init__(self, table: pa.Table, owners: Ints) -> None:
        values = flat(table.column("value"))
        self._ids: dict[str, int] | None = None
        if pa.types.is_string(values.type):
            self._ids = {}
            numbers = np.array([self._ids.setdefault(text, len(self._ids)) for text in values.to_pylist()], np.int64)
        else:
            numbers = values.to_numpy()
        order = np.argsort(numbers, kind="stable")
        begins, ends, owner = (table.column(name).to_numpy()[order] for name in ("from_us", "to_us", "owner"))
        self.arrays = (numbers[order], begins, ends, owners[owner])

    def values(self, batch: FigureBatch, column: str) -> Ints | None:
        """Return what to look up in each row; None where the column is null in every row."""
        if self._ids is not None:
            texts = batch.others.get(column)
            ids = self._ids
            return None if texts is None else _mapped(texts, lambda text: ids.get(text, _NOBODY))
        found = batch.figures.get(column)
        if found is None:
            return None
        return _contiguous(found.values if found.valid is None else np.where(found.valid, found.values, _NOBODY))


def _bounds(codes: Sequence[str | None]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the packed numbers [low, high) that are national, by country and number of digits."""
    digits = range(SHORT_CODE_DIGITS_MAX + 1, E164_DIGITS_MAX + 1)
    lows, highs = (np.zeros((len(codes), len(digits)), np.int64) for _ in range(2))
    for country, code in enumerate(codes):
        for place, count in enumerate(digits):
            if code is not None:
                rest = 10 ** (count - len(code))
                lows[country, place] = int("1" + code) * rest
                highs[country, place] = (int("1" + code) + 1) * rest
    return lows, highs


def _codes(batch: FigureBatch, name: str) -> tuple[Ints, list[str | None]]:
    """Return a label column as codes, and the labels by code; the last is None, and the code of nulls."""
    labels: list[str | None] = [*batch.labels.get(name, ()), None]
    found = batch.figures.get(name)
    if found is None:
        return np.array([len(labels) - 1]), labels
    return _single(
        found if found.valid is None else Figures(np.where(found.valid, found.values, len(labels) - 1))
    ), labels


def _values(batch: FigureBatch, name: str) -> Ints:
    """Return a column of whole numbers; a null counts 0."""
    found = batch.figures.get(name)
    return np.zeros(1, np.int64) if found is None else _single(found)


def _single(column: Figures) -> Ints:
    """Return the values, one where all are the same place in memory."""
    return column.values[:1].copy() if column.values.strides == (0,) else _contiguous(column.values)


def _contiguous(values: Ints) -> Ints:
    return np.ascontiguousarray(values, np.int64)


def _mapped(column: Any, function: Any) -> Ints:
    """Return an integer for every text (of 16 bytes: their hex digits); nulls are nobody's."""
    coded = column.dictionary_encode()
    words = [word.hex() if isinstance(word, bytes) else word for word in coded.dictionary.to_pylist()]
    numbers: Ints = np.array([*(function(word) for word in words), _NOBODY], np.int64)
    places: Ints = coded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)
    return numbers[places]
