"""Who a record is, and whether two deliveries of it say the same. Vectorised and pure, given the key.

Identity = (dedup domain, network element, record key). Its 64-bit tag is an AES-CMAC, so tags tell nothing without the
key; they are kept, cut short, only inside files under the partition's key. The content digest is the XOR of one keyed
tag per pair of digest columns, nulls contributing nothing, so a part that left out empty columns digests alike.

A new record needs its tag only. When a record with the same tag is stored, the digests of both are made from their
fields: equal tag and equal digest = duplicate (128 bits agree, the identity among them). Equal tag and another digest
is settled on the full keys and fields, by `same_record`: a filter may save work, the full key decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED, packed_columns
from schemas.buffers import Column, values_int64
from schemas.fields import FIELDS, Digest, Kind
from store import native
from store.identities.prf import BulkCmac, Words
from store.keys import derive

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

Tags = npt.NDArray[np.uint64]
_NULL: Final = np.uint64(0x8000_0000_0000_0000)
_DIGITS: Final = np.uint64(1)

STRETCH_ROWS: Final = 65_536
"""So many rows at once: their columns stay in the processor's cache from one step to the next."""

KERNEL_ROWS_MIN: Final = 8192
"""Fewer rows are no reason to load the compiled kernels; when they are there, they are used."""

_KERNELS: Final = "store.identities.identity_kernels"

NO_KEY: Final = np.int64(-1)
"""Packed identifiers of digits begin with a 1: they are never negative."""

PREFIXES_MAX: Final = 65_536
"""Up to so many pairs of domain and network element, the tag's beginning is computed once a pair, not once a row."""

IDENTITY_COLUMNS: Final = ("dedup_domain", "switch", "record_key", "record_key_text")

DIGEST_COLUMNS: Final[tuple[tuple[str, int], ...]] = tuple(
    # (packed column, divisor that brings it to its digest precision)
    (column.name, _divisor)
    for field in FIELDS
    if field.digest is not Digest.NONE and not field.identity
    for column in packed_columns(field)
    for _divisor in (1 if field.digest is Digest.EXACT else 1_000_000 if field.kind is Kind.TIME else 1000,)
)
DURATION_COLUMNS: Final = ("duration_ms", "billable_duration_ms")
_PAIRS: Final = tuple(DIGEST_COLUMNS[index : index + 2] for index in range(0, len(DIGEST_COLUMNS), 2))


@dataclass(frozen=True, slots=True)
class Keyed:
    """Identities as their record keys: what is before the key in a tag, and the key, of every row.

    `states` has one row for each pair of dedup domain and network element (or more), `codes` names it for every row.
    `keys` are the packed record keys; NO_KEY where the key is not one of digits.
    """

    states: Words
    codes: npt.NDArray[np.int32]
    keys: npt.NDArray[np.int64]

    def take(self, rows: npt.NDArray[np.int64]) -> Keyed:
        """Return some rows."""
        return Keyed(self.states, self.codes[rows], self.keys[rows])


@dataclass(frozen=True, slots=True)
class Identities:
    """Tags and digests of the rows of one table, row for row."""

    tags: Tags
    digests: Tags


class IdentityHasher:
    """Makes tags and digests under the store's identity key; safe for threads."""

    def __init__(self, key: bytes) -> None:
        self._tag = BulkCmac(derive(key, "identity-tag"))
        self._digest = BulkCmac(derive(key, "content-digest"))
        tweaks = np.zeros((len(_PAIRS), 2), dtype=np.uint64)
        tweaks[:, 0] = np.arange(1, len(_PAIRS) + 1, dtype=np.uint64)
        self._tweaks = self._digest.encrypt(tweaks)
        self._latest: tuple[Column, Column, Words] | None = None

    def identities(self, table: pa.Table) -> Identities:
        """Return tags and digests of packed records that have `dedup_domain`, `switch` and `record_key`."""
        found = Identities(np.empty(table.num_rows, np.uint64), np.empty(table.num_rows, np.uint64))
        for at in range(0, table.num_rows, STRETCH_ROWS):
            stretch = table.slice(at, STRETCH_ROWS)
            blocks = self._identity(stretch)
            found.tags[at : at + STRETCH_ROWS] = blocks[:, 0]
            digest = blocks[:, 1]
            for number, pair in enumerate(_PAIRS):
                part = self._pair(stretch, pair, self._tweaks[number : number + 1])
                if part is not None:
                    digest ^= part
            found.digests[at : at + STRETCH_ROWS] = digest
        return found

    def tags(self, table: pa.Table) -> Tags:
        """Return the tags alone: a new record needs no digest."""
        tags = np.empty(table.num_rows, np.uint64)
        for at in range(0, table.num_rows, STRETCH_ROWS):
            tags[at : at + STRETCH_ROWS] = self._identity(table.slice(at, STRETCH_ROWS))[:, 0]
        return tags

    def keyed(self, table: pa.Table) -> Keyed | None:
        """Return the identities by their keys; None where there are too many pairs of domain and network element."""
        domains, domain_codes = _label(table.column("dedup_domain"))
        switches, switch_codes = _label(table.column("switch"))
        if len(domains) * len(switches) > PREFIXES_MAX:
            return None
        keys = _one(_column(table, "record_key"))
        values = keys.fill_null(int(NO_KEY)).to_numpy(zero_copy_only=False) if keys.null_count else values_int64(keys)
        codes = switch_codes if len(domains) == 1 else domain_codes * np.int32(len(switches)) + switch_codes
        return Keyed(self._beginnings(domains, switches), codes, values)

    def tags_of(self, keyed: Keyed) -> Tags:
        """Return the tags of identities that all have keys of digits."""
        tags = np.empty(len(keyed.keys), np.uint64)
        words = keyed.keys.view(np.uint64)
        for at in range(0, len(tags), STRETCH_ROWS):
            stretch = slice(at, at + STRETCH_ROWS)
            blocks = keyed.states[keyed.codes[stretch]]
            blocks[:, 0] ^= words[stretch]
            blocks[:, 1] ^= _DIGITS
            tags[stretch] = self._tag.encrypt(blocks)[:, 0]
        return tags

    def strings(self, texts: Column) -> Words:
        """Return the 128-bit tags of strings (session keys, idempotency keys)."""
        return self._tag.strings(texts)

    def _identity(self, table: pa.Table) -> Words:
        domains, domain_codes = _label(table.column("dedup_domain"))
        switches, switch_codes = _label(table.column("switch"))
        if len(domains) * len(switches) > PREFIXES_MAX:
            state = self._tag.encrypt(self._tag.strings(domains)[domain_codes])
            state = self._tag.absorb(state, self._tag.strings(switches)[switch_codes])
            return self._tag.encrypt(self._tag.last(state) ^ self._record_key(table))
        beginnings = self._beginnings(domains, switches)
        keys = _one(_column(table, "record_key"))
        if keys.null_count or not native.pays(_KERNELS, table.num_rows, KERNEL_ROWS_MIN):
            pairs = domain_codes.astype(np.int64) * len(switches) + switch_codes
            return self._tag.encrypt(beginnings[pairs] ^ self._record_key(table))
        blocks = np.empty((table.num_rows, 2), dtype=np.uint64)
        words = values_int64(keys).view(np.uint64)
        native.load(_KERNELS).assemble(domain_codes, switch_codes, len(switches), beginnings, words, blocks)
        return self._tag.encrypt(blocks)

    def _beginnings(self, domains: Column, switches: Column) -> Words:
        """Return the state before the last block for each pair of labels; the next stretch mostly has the same."""
        latest = self._latest
        if latest is not None and latest[0].equals(domains) and latest[1].equals(switches):
            return latest[2]
        first = np.repeat(self._tag.encrypt(self._tag.strings(domains)), len(switches), axis=0)
        second = np.tile(self._tag.strings(switches), (len(domains), 1))
        states = np.ascontiguousarray(self._tag.last(self._tag.absorb(first, second)))
        self._latest = (domains, switches, states)
        return states

    def _record_key(self, table: pa.Table) -> Words:
        blocks = np.zeros((table.num_rows, 2), dtype=np.uint64)
        packed = _one(_column(table, "record_key"))
        if packed.null_count:
            blocks[:] = self._tag.strings(_one(_column(table, "record_key_text")))
            chosen = np.asarray(packed.is_valid())
            numbers = packed.fill_null(0).to_numpy(zero_copy_only=False).view(np.uint64)
            blocks[chosen, 0] = numbers[chosen]
            blocks[chosen, 1] = _DIGITS
        else:
            blocks[:, 0] = packed.to_numpy(zero_copy_only=False).view(np.uint64)
            blocks[:, 1] = _DIGITS
        return blocks

    def _pair(self, table: pa.Table, pair: tuple[tuple[str, int], ...], tweak: Words) -> Tags | None:
        block = np.full((table.num_rows, 2), _NULL, dtype=np.uint64)
        present = np.zeros(table.num_rows, dtype=bool)
        for place, (name, divisor) in enumerate(pair):
            if name not in table.schema.names:
                continue
            column = _one(table.column(name).combine_chunks())
            if column.null_count == len(column):
                continue
            words = self._words(column, divisor)
            if column.null_count:
                valid = np.asarray(column.is_valid())
                present |= valid
                block[valid, place] = words[valid]
            else:
                present[:] = True
                block[:, place] = words
        if not present.any():
            return None
        tags = self._digest.encrypt(block ^ tweak)[:, 0]
        return tags if present.all() else np.where(present, tags, np.uint64(0))

    def _words(self, column: Column, divisor: int) -> Tags:
        kind = column.type
        if pa.types.is_dictionary(kind):
            words = self._digest.strings(column.dictionary)[:, 0]
            codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
            return np.asarray(words[codes])
        if pa.types.is_string(kind):
            return self._digest.strings(column)[:, 0]
        if pa.types.is_fixed_size_binary(kind):
            return self._digest.strings(column.cast(pa.binary()).cast(pa.large_binary()).view(pa.large_string()))[:, 0]
        if pa.types.is_timestamp(kind):
            column = column.view(pa.int64())
        filled = column.fill_null(False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False)
        numbers: npt.NDArray[np.int64] = filled.astype(np.int64, copy=False)
        if divisor != 1:
            numbers = numbers // divisor
        return numbers.view(np.uint64)


def _label(column: Column) -> tuple[Column, npt.NDArray[np.int32]]:
    """Return the distinct labels and the code of each row; the tag of no label is that of the empty one."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if column.null_count:  # the full key tells them apart
        column = column.cast(pa.string()).fill_null("").dictionary_encode()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.unify_dictionaries().combine_chunks()
    array = _one(column)
    if pc.count_distinct(array.dictionary).as_py() < len(array.dictionary):  # two spellings became one word
        array = array.cast(pa.string()).dictionary_encode()
    return array.dictionary, array.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)


def same_record(left: pa.Table, right: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell row by row whether two records of one identity agree; nulls are compatible with anything.

    Durations agree in whole seconds, or as `_counted_in_seconds` says.

    Both tables have the same number of rows; columns that one leaves out count as null.
    """
    agree = np.ones(left.num_rows, dtype=bool)
    for name, divisor in DIGEST_COLUMNS:
        if name not in left.schema.names or name not in right.schema.names:
            continue
        ours, theirs = _plain(left.column(name), divisor), _plain(right.column(name), divisor)
        equal = np.asarray(pc.fill_null(pc.equal(ours, theirs), True))
        if name in DURATION_COLUMNS and not equal.all():
            equal |= _counted_in_seconds(_one(left.column(name)), _one(right.column(name)))
        agree &= equal
    for field in FIELDS:
        if field.kind in (Kind.IDENTIFIER, Kind.ADDRESS) and field.digest is not Digest.NONE and not field.identity:
            agree &= ~_other_form(left, right, field.name) & ~_other_form(right, left, field.name)
    return agree


def _counted_in_seconds(left: Column, right: Column) -> npt.NDArray[np.bool_]:
    """Tell where one of two durations is a whole number of seconds, and they are less than a second apart.

    A layout of whole seconds counts from one truncated instant to another, so it may say a second more than the call
    took.
    """
    ours, theirs = (np.asarray(column.fill_null(0)) for column in (left, right))
    near: npt.NDArray[np.bool_] = ((ours % 1000 == 0) | (theirs % 1000 == 0)) & (np.abs(ours - theirs) < 1000)
    return near


def same_identity(left: pa.Table, right: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell row by row whether the full identities are equal."""
    agree = np.ones(left.num_rows, dtype=bool)
    for name in IDENTITY_COLUMNS:
        ours = _plain(_column(left, name), 1)
        theirs = _plain(_column(right, name), 1)
        equal = pc.fill_null(pc.equal(ours, theirs), False)
        agree &= np.asarray(pc.or_(equal, pc.and_(pc.is_null(ours), pc.is_null(theirs))))
    return agree


def _other_form(left: pa.Table, right: pa.Table, name: str) -> npt.NDArray[np.bool_]:
    """Tell where `left` has the field packed and `right` has it in its other form."""
    second = next(column for column in (name + "_text", name + "_v6") if column in PACKED.names)
    ours, theirs = _column(left, name), _column(right, second)
    return np.asarray(pc.and_(pc.is_valid(ours), pc.is_valid(theirs)))


def _column(table: pa.Table, name: str) -> Column:
    if name in table.schema.names:
        return table.column(name)
    return pa.chunked_array([pa.nulls(table.num_rows, PACKED.field(name).type)])


def _plain(column: Column, divisor: int) -> Column:
    array = _one(column.combine_chunks())
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if divisor != 1:
        numbers = array.view(pa.int64()) if pa.types.is_timestamp(array.type) else array
        floors = np.floor_divide(numbers.fill_null(0).to_numpy(zero_copy_only=False), divisor)
        return pa.array(floors, mask=np.asarray(numbers.is_null()))
    return array


def _one(array: Column) -> Column:
    """Return one contiguous array."""
    if isinstance(array, pa.ChunkedArray):
        return array.chunk(0) if array.num_chunks == 1 else pa.concat_arrays(array.chunks or [pa.array([], array.type)])
    return array
