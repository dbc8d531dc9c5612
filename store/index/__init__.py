"""Postings: which groups of a part hold an identifier, field by field (ADR 14, 33).

Block 0 is a header, JSON: the rows of the part and of a group, the salt of the hashes, what lookups need to know of the
values, and for each field that some row has its shape, the place of its first block, and into how many pieces a group
is divided for it: one page of the word is read alone. Then come the blocks of one field after the other
(`store.index.coding`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from schemas.errors import IntegrityError
from schemas.fields import BY_NAME
from store.blocks import BlockFile
from store.encoding.columns import page_rows_of, piece_rows_of
from store.index.coding import Shape, bucket_bits, encode, find_each
from store.index.entries import INDEXED, Posted, Traits, posted, traits
from store.index.hashing import hash_value, seed

__all__ = ["INDEXED", "Asked", "Key", "PartIndex", "find_in", "postings", "problems"]

Key = tuple[int, tuple[int, ...]]
"""A value as it is posted: domain (`store.index.hashing`), words."""
Asked = tuple[str, Iterable[Key]]
"""A field, and the values of which it may have one."""
_Place = tuple[int, int, int, Shape]
"""Number of the question, block, first entry of the bucket in it, shape of the field."""

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type
VERSION: Final = 3
_PIECE_BITS: Final = 1
_PIECE_BITS_LARGE: Final = 2
"""A field that is posted by piece has so many bits fewer for its buckets: a piece that is read in vain costs less."""
_FEW_GROUPS: Final = 8
"""A part of so few is small, and there are many like it: it is named in vain seldom, for two bits a value more."""
_SAMPLE_ROWS: Final = 4_096
_REPEATED_MAX: Final = 0.15
SALT_BYTES: Final = 16
_SORT_COLUMN: Final = "calling_number"


def postings(
    records: pa.Table,
    group_rows: int,
    salt: bytes | None = None,
    *,
    by_piece: Collection[str] | None = None,
    piece_rows: int | None = None,
) -> Sequence[bytes | memoryview]:
    """Return the blocks of a part's index, given its records in their stored order and the rows of a group.

    Some fields are posted `by_piece`: a piece is a page of the word, and costs less than a group when it is read in
    vain, so that where groups are many there are fewer buckets. None: those whose values are scattered and, where
    groups are many and every column has such pages, the others too. The salt is random; `verify` gives it and the
    pieces that the file has, and gets the same bytes again.
    """
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    groups = max(1, -(-records.num_rows // group_rows))
    part = traits(records)
    blocks: list[bytes | memoryview] = []
    fields: dict[str, list[int]] = {}
    piece_rows = piece_rows_of(group_rows, records) if piece_rows is None else piece_rows
    every_column = bool(page_rows_of(group_rows))
    together, fewer_bits = every_column and groups > _FEW_GROUPS, _PIECE_BITS if every_column else _PIECE_BITS_LARGE
    for name in INDEXED:
        is_divided = together or _is_scattered(records, name) if by_piece is None else name in by_piece
        pieces = group_rows // piece_rows if is_divided and group_rows % piece_rows == 0 else 1
        entries = posted(records, name, group_rows // pieces, salt, part)
        if entries is None:
            continue
        codes = groups * pieces
        bits = bucket_bits(groups) - (fewer_bits if pieces > 1 and groups > _FEW_GROUPS else 0)
        if name == _SORT_COLUMN and _is_sorted(records):  # Parquet's bounds tell the groups: membership is enough
            codes, bits, pieces, entries = 1, bucket_bits(1), 1, Posted(entries.hashes, entries.groups * 0)
        shape, coded = encode(entries.hashes, entries.groups, codes, bits)
        fields[name] = [1 + len(blocks), pieces, shape.buckets, shape.width_bits, shape.codes, shape.low_bits]
        blocks += coded
    header = {
        "version": VERSION,
        "rows": records.num_rows,
        "group_rows": group_rows,
        "salt": salt.hex(),
        "port_bits": part.port_bits,
        "prefixes": part.prefix_lengths,
        "fields": fields,
    }
    return [json.dumps(header, separators=(",", ":")).encode(), *blocks]


def _is_scattered(records: pa.Table, name: str) -> bool:
    """Tell whether a field's values change from row to row, by some rows in the middle: no order explains them."""
    if name not in records.column_names or not pa.types.is_integer(records.schema.field(name).type):
        return False
    start = max((records.num_rows - _SAMPLE_ROWS) // 2, 0)
    values = pc.fill_null(records.column(name).slice(start, _SAMPLE_ROWS), 0).to_numpy()
    return bool((values[1:] == values[:-1]).sum() < _REPEATED_MAX * len(values))


def _is_sorted(records: pa.Table) -> bool:
    """Tell whether the calling parties ascend, all of them packed: then bounds of row groups do not overlap."""
    if _SORT_COLUMN + "_text" in records.column_names:
        return False
    values = pc.fill_null(records.column(_SORT_COLUMN), 0).to_numpy()
    return bool((values[1:] >= values[:-1]).all())


class PartIndex:
    """An open index; safe for threads. It holds the file's key as long as it is open."""

    def __init__(self, file: BlockFile) -> None:
        """Read the header.

        Raises:
            IntegrityError: the header does not authenticate or is none.
        """
        self._file = file
        if not len(file):
            raise IntegrityError("an index file has no header")
        header = json.loads(file.read(0))
        if header["version"] != VERSION:
            raise IntegrityError("an index file has a version that this program does not read")
        self.rows, self.group_rows = int(header["rows"]), int(header["group_rows"])
        self.groups = max(1, -(-self.rows // self.group_rows))
        self.salt = bytes.fromhex(header["salt"])
        self.traits = Traits(tuple((item[0], item[1]) for item in header["prefixes"]), int(header["port_bits"]))
        self._fields = {name: (item[0], Shape(*item[2:])) for name, item in header["fields"].items()}
        self._pieces = {name: int(item[1]) for name, item in header["fields"].items()}
        self._seeds: dict[tuple[str, int], int] = {}
        self.bytes_read = 0

    def has(self, name: str) -> bool:
        """Tell whether some row has a value of the field."""
        return name in self._fields

    def is_bounded(self, name: str) -> bool:
        """Tell whether the field is posted without groups: the bounds of row groups tell them."""
        return name in self._fields and self._fields[name][1].codes < self.groups

    def pieces(self, name: str) -> int:
        """Return into how many pieces a group is divided for a field that some row has."""
        return self._pieces[name]

    @property
    def piece_rows(self) -> int:
        """Rows of a piece."""
        return self.group_rows // max(self._pieces.values(), default=1)

    @property
    def by_piece(self) -> frozenset[str]:
        """The fields that are posted by piece."""
        return frozenset(name for name, pieces in self._pieces.items() if pieces > 1)

    def find(self, name: str, keys: Iterable[Key]) -> set[int]:
        """Return the groups, or pieces, in which the field may have one of the values; {0} for a bounded field.

        Raises:
            IntegrityError: a block does not authenticate.
        """
        return find_in([self], [[(name, keys)]])[0][0]

    def places(self, asked: Sequence[Asked]) -> list[_Place]:
        """Return which block and bucket of it tell of each key; none for a field that no row has."""
        found: list[_Place] = []
        for number, (name, keys) in enumerate(asked):
            laid = self._fields.get(name)
            if laid is None:
                continue
            first, shape = laid
            for domain, words in keys:
                block, entry = shape.place(hash_value(self._seed(name, domain), words))
                found.append((number, first + block, entry, shape))
        return found

    def read(self, numbers: Sequence[int]) -> list[bytes]:
        """Return some blocks.

        Raises:
            IntegrityError: one does not authenticate.
        """
        blocks = self._file.read_some(numbers)
        self.bytes_read += sum(map(len, blocks))
        return blocks

    def blocks(self) -> Iterator[bytes]:
        """Yield every block."""
        for number in range(len(self._file)):
            yield self._file.read(number)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _seed(self, name: str, domain: int) -> int:
        found = self._seeds.get((name, domain))
        if found is None:
            found = self._seeds[name, domain] = seed(self.salt, BY_NAME[name].id, domain)
        return found


def find_in(indexes: Sequence[PartIndex], asked: Sequence[Sequence[Asked]]) -> list[list[set[int]]]:
    """Answer what is asked of each index, question by question as `PartIndex.find` does.

    Each block is read once, each file opened once, and the blocks of all are searched together.

    Raises:
        IntegrityError: a block does not authenticate.
    """
    answers: list[list[set[int]]] = [[set() for _ in questions] for questions in asked]
    blocks: list[bytes] = []
    shapes: list[Shape] = []
    entries: list[int] = []
    waiting: list[set[int]] = []
    for index, questions, own in zip(indexes, asked, answers, strict=True):
        places = index.places(questions)
        numbers = [place[1] for place in places]
        if len(set(numbers)) == len(numbers):
            blocks += index.read(numbers)
        else:
            once = list(dict.fromkeys(numbers))
            known = dict(zip(once, index.read(once), strict=True))
            blocks += [known[number] for number in numbers]
        for number, _, entry, shape in places:
            waiting.append(own[number])
            entries.append(entry)
            shapes.append(shape)
    if blocks:
        groups = find_each(blocks, shapes, entries, sum(index.rows for index in indexes))
        for answer, found in zip(waiting, groups, strict=True):
            answer.update(found)
    return answers


def problems(index: PartIndex, records: pa.Table, group_rows: int) -> Iterator[str]:
    """Derive a part's index again from its records (in their stored order) and yield what differs."""
    whole = min(index.group_rows, index.rows)  # the only group of a small part has fewer rows
    if (index.rows, whole) != (records.num_rows, min(group_rows, records.num_rows)):
        yield "has an index of other row groups than it has"
        return
    derived = postings(records, index.group_rows, index.salt, by_piece=index.by_piece, piece_rows=index.piece_rows)
    if len(derived) != sum(1 for _ in index.blocks()) or any(
        a != b for a, b in zip(derived, index.blocks(), strict=True)
    ):
        yield "has an index that does not follow from its records"
