"""Single pages of an encrypted Parquet file: what a lookup needs of a row group is seldom all of it (ADR 33).

Arrow reads a row group's columns whole. Each page is sealed by itself (Parquet Modular Encryption, `AES_GCM_V1`): a
module of its header and one of its values, each a length (4 bytes, little endian), a nonce (12), ciphertext and tag.
Their associated data end in the module's kind and the numbers of row group, column and page, so a page that is moved,
or comes from another file, does not authenticate. Lengths stand in the clear: they only say where to look.

What this module does not know (dictionaries, pages of uneven rows) it leaves to Arrow.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import IntegrityError
from store.binding import FileBinding
from store.reading import page_values, thrift
from store.reading.cuts import Cut, Page, decoded
from store.reading.page_layout import CODECS, Chunk, Grid, Paging, Window

_MAGIC: Final = b"PARE"
_NONCE_BYTES: Final = 12
_PLACE: Final = struct.Struct("<HHH")  # row group, column, page
_VALUES, _HEADER = b"\x02", b"\x04"  # kinds of modules
_DELTA_BYTES, _DELTA_OWN_BYTES = 9, 512  # of a page of differences at most: for each row, and besides
_LOOK_BYTES: Final = 96  # of a page: its header's module, and the length of what follows
_TORN: Final = (
    InvalidTag,
    struct.error,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    OSError,
    pa.ArrowException,
)


_UNKNOWN: Final = object()

Piece = tuple[int, str, int, int]
"""Of a column of a row group, rows [first, last): number of the row group, name, first, last."""


class PageFile:
    """The pages of one open file; safe for threads. It holds the file's key as long as it is open."""

    def __init__(
        self,
        path: Path,
        metadata: Any,
        schema: Any,
        binding: FileBinding,
        file_key: bytes,
        paging: Paging | None = None,
    ) -> None:
        """Take the file's key and its authenticated footer: metadata, and the Arrow schema that follows from it.

        With `paging` it tells where pages lie; without, the first to ask for a column follows their lengths.
        """
        self._path, self._metadata, self._binding = os.fspath(path), metadata, binding
        self._paging = paging
        self._cipher = AESGCM(file_key)
        self._fields = {name: (number, schema.field(name)) for number, name in enumerate(schema.names)}
        self._chunks: dict[tuple[int, str], Any] = {}  # of Chunk, or None
        self._asked: set[str] = set()
        self._even: dict[str, Chunk] = {}  # of those asked for, by any of their row groups
        self._aad = b""

    @property
    def page_rows(self) -> int:
        """Rows of a page of every column that is not halved; 0 where only the pages themselves tell."""
        return 0 if self._paging is None else self._paging.rows

    def page_rows_of(self, name: str) -> int:
        """Return the rows of a page of a column; 0 where only the pages themselves tell."""
        return 0 if self._paging is None else self._paging.rows_of(name)

    @property
    def table_bytes(self) -> int:
        """Bytes of the table that tells where pages lie."""
        return 0 if self._paging is None else int(self._paging.ends.nbytes)

    def read(self, group: int, name: str, first: int, last: int) -> Any:
        """Return rows [first, last) of a column of a row group, as an Arrow array; None where Arrow has to read it.

        Raises:
            IntegrityError: the file is missing, a page does not authenticate, or is not what the footer says.
        """
        (cut,) = self.cuts([(group, name, first, last)])
        return None if cut is None else decoded([cut])

    def cuts(self, wanted: Sequence[Piece]) -> list[Cut | None]:
        """Return each of some pieces, still encoded; the file is opened once, and a page of two pieces is read once.

        None where Arrow has to read it.

        Raises:
            IntegrityError: as `read`.
        """
        known: dict[tuple[int, str, int], bytes] = {}
        with self._opened() as descriptor:
            return [self._cut(descriptor, known, *piece) for piece in wanted]

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise IntegrityError(f"{self._binding} is missing") from error
        try:
            yield descriptor
        except MemoryError:
            raise  # it says nothing of the file
        except _TORN as error:
            raise IntegrityError(f"{self._binding} does not authenticate") from error
        finally:
            os.close(descriptor)

    def columns(self, names: Sequence[str], windows: Sequence[Window]) -> dict[str, Cut | None]:
        """Return the same rows [first, last) of some columns, still encoded; the file is opened once.

        Windows ascend, and each lies in one row group. None for a column that Arrow has to read.

        Raises:
            IntegrityError: as `read`.
        """
        with self._opened() as descriptor:
            return {name: self._cut_of(descriptor, name, windows) for name in names}

    def _cut_of(self, descriptor: int, name: str, windows: Sequence[Window]) -> Cut | None:
        grid = self._grid
        if grid is not None and name not in self._asked:
            self._asked.add(name)
            self._look(descriptor, windows[0][0] // grid.rows, name)
        if grid is not None and (chunk := self._even.get(name)) is not None:
            return self._even_cut(descriptor, name, chunk, grid, windows)
        known: dict[tuple[int, str, int], bytes] = {}
        size = self._metadata.row_group(0).num_rows
        pieces = [(first // size, name, first % size, (last - 1) % size + 1) for first, last in windows]
        cuts = [self._cut(descriptor, known, *piece) for piece in pieces]
        whole = [cut for cut in cuts if cut is not None]
        if len(whole) < len(cuts):
            return None
        return Cut(whole[0].kind, whole[0].nullable, [page for cut in whole for page in cut.pages])

    def _even_cut(self, descriptor: int, name: str, chunk: Chunk, grid: Grid, windows: Sequence[Window]) -> Cut:
        """Return rows of a column whose pages lie where its rows tell."""
        assert self._paging is not None
        number, size, ends = self._fields[name][0], chunk.page_rows, self._paging.ends
        known: dict[tuple[int, int], bytes] = {}
        pages: list[Page] = []
        for first, last in windows:
            group = first // grid.rows
            base = group * grid.rows
            rows, before = (grid.rows, grid.full) if group < grid.others else (grid.last_rows, grid.last)
            low, high = (first - base) // size, -(-(last - base) // size)
            lacking = low + ((group, low) in known)  # the page before may have the first of these rows, too
            if lacking < high:
                at = group * grid.full[-1] + before[number]
                offsets = ends[at + lacking : at + high + 1].tolist()
                sealed = os.pread(descriptor, offsets[-1] - offsets[0], offsets[0])
                for page, begin, end in zip(range(lacking, high), offsets, offsets[1:], strict=False):
                    held, place = min(size, rows - page * size), (group, name, page)
                    opened = self._page(sealed, begin - offsets[0], end - offsets[0], chunk, place, held)
                    known[group, page] = opened
            for page in range(low, high):
                begin = base + page * size
                held = min(size, rows - page * size)
                pages.append((known[group, page], held, max(first - begin, 0), min(last - begin, held)))
        return Cut(chunk.kind, chunk.nullable, pages)

    def _cut(
        self, descriptor: int, known: dict[tuple[int, str, int], bytes], group: int, name: str, first: int, last: int
    ) -> Cut | None:
        chunk = self._chunks.get((group, name), _UNKNOWN)
        if chunk is _UNKNOWN:
            chunk = self._chunks[group, name] = self._look(descriptor, group, name)
        if chunk is None:
            return None
        size = chunk.page_rows
        low, high = first // size, -(-last // size)
        if high == low + 1:  # as nearly always
            place = (group, name, low)
            data = known.get(place)
            if data is None:
                base, end = chunk.offsets[low : high + 1]
                sealed = os.pread(descriptor, int(end - base), int(base))
                data = known[place] = self._page(sealed, 0, int(end - base), chunk, place, chunk.rows_of(low))
            begin = low * size
            return Cut(chunk.kind, chunk.nullable, [(data, chunk.rows_of(low), first - begin, last - begin)])
        missing = [page for page in range(low, high) if (group, name, page) not in known]
        if missing:
            base, end = int(chunk.offsets[missing[0]]), int(chunk.offsets[missing[-1] + 1])
            sealed = os.pread(descriptor, end - base, base)
            for page in missing:
                at = int(chunk.offsets[page]) - base, int(chunk.offsets[page + 1]) - base
                place = (group, name, page)
                known[place] = self._page(sealed, *at, chunk, place, chunk.rows_of(page))
        pages = []
        for page in range(low, high):
            begin, rows = page * size, chunk.rows_of(page)
            pages.append((known[group, name, page], rows, max(first - begin, 0), min(last - begin, rows)))
        return Cut(chunk.kind, chunk.nullable, pages)

    def _page(self, sealed: bytes, at: int, end: int, chunk: Chunk, place: tuple[int, str, int], rows: int) -> bytes:
        """Open the page of so many rows in sealed[at:end] and decompress it."""
        middle = at + 4 + int.from_bytes(sealed[at : at + 4], "little")
        if middle + 4 + int.from_bytes(sealed[middle : middle + 4], "little") != end or end > len(sealed):
            raise ValueError("a page has another length than its chunk says")
        data = self._open(memoryview(sealed)[middle + 4 : end], _VALUES, *place)
        if chunk.codec is None:
            return data
        unpacked: bytes
        if chunk.is_bounded:
            try:  # whose bytes nothing tells but the header; what lies behind the differences is never read
                unpacked = chunk.codec.decompress(data, _DELTA_BYTES * rows + _DELTA_OWN_BYTES, asbytes=True)
                return unpacked
            except (OSError, pa.ArrowException):
                pass
        size = chunk.width * rows or page_values.frame_bytes(data)
        if size < 0:
            header = page_values.header(self._open(memoryview(sealed)[at + 4 : middle], _HEADER, *place))
            if header is None or header.rows != rows:
                raise ValueError("a page has other rows than its chunk says")
            size = header.bytes
        unpacked = chunk.codec.decompress(data, size, asbytes=True)
        return unpacked

    def _look(self, descriptor: int, group: int, name: str) -> Chunk | None:
        """Find the pages of a column of a row group; None where they are not of a kind known here."""
        number, field = self._fields[name]
        row_group = self._metadata.row_group(group)
        told, rows = row_group.column(number), row_group.num_rows
        if told.has_dictionary_page or told.compression not in CODECS:
            return None
        if not self._aad:
            self._aad = self._binding.aad + _unique(descriptor)
        start, end = told.data_page_offset, told.data_page_offset + told.total_compressed_size
        codec, nullable = CODECS[told.compression], field.nullable
        width = 0 if nullable or not pa.types.is_fixed_size_binary(field.type) else field.type.byte_width
        # The writer ends pages by their rows; only texts may be so long that it ends one sooner.
        even = self._paging is not None and not pa.types.is_string(field.type)
        if self._paging is not None and even:
            page_rows, encoding = self._paging.rows_of(name), page_values.encoding(told.encodings)
        else:
            header = self._header(descriptor, start, group, name, 0)
            page_rows, encoding = (0, -1) if header is None else (header.rows, header.encoding)
        if not page_rows or not page_values.is_known(field.type, encoding):
            return None
        offsets: Any
        if self._paging is not None:
            offsets = self._paging.of(start, end)
        elif codec is None and width:
            offsets = [*range(start, end, _page_bytes(descriptor, start)), end]  # all pages but the last are alike
        else:
            offsets = _walk(descriptor, start, end)
        if len(offsets) - 1 != -(-rows // page_rows):
            return None
        chunk = Chunk(offsets, page_rows, rows, codec, field.type, nullable, width)
        # Pages of values of one width are full alike; where others end depends on the values.
        for page in range(1, 1 if width or even else len(offsets) - 1):
            after = self._header(descriptor, int(offsets[page]), group, name, page)
            if after is None or after.rows != chunk.rows_of(page):
                return None
        if even and self._grid is not None:
            self._even[name] = chunk
        return chunk

    @cached_property
    def _grid(self) -> Grid | None:
        """Where pages lie if all columns have as many as their rows need; None if they have not.

        A dictionary, or a text that ends a page sooner, adds pages: where there are none too many, all are even.
        """
        if self._paging is None or not self._metadata.num_row_groups:
            return None
        rows, others = int(self._metadata.row_group(0).num_rows), self._metadata.num_row_groups - 1
        last_rows = self._metadata.num_rows - others * rows
        sizes = [self._paging.rows_of(name) for name in self._fields]
        full, last = ([0, *accumulate(-(-count // size) for size in sizes)] for count in (rows, last_rows))
        even = others * full[-1] + last[-1] == len(self._paging.ends) - 1
        return Grid(rows, last_rows, others, full, last) if even else None

    def _header(self, descriptor: int, start: int, group: int, name: str, page: int) -> page_values.Header | None:
        """Return what the header of the page at a place says."""
        head = os.pread(descriptor, _LOOK_BYTES, start)
        return page_values.header(self._open(head[4 : 4 + _length(head)], _HEADER, group, name, page))

    def _open(self, sealed: bytes | memoryview, kind: bytes, group: int, name: str, page: int) -> bytes:
        place = _PLACE.pack(group, self._fields[name][0], page)
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._aad + kind + place)


def _length(data: bytes | memoryview) -> int:
    return int.from_bytes(data[:4], "little")


def _page_bytes(descriptor: int, start: int) -> int:
    """Return the bytes of the page that begins at a place, both its modules."""
    head = os.pread(descriptor, _LOOK_BYTES, start)
    middle = 4 + _length(head)
    told = head[middle : middle + 4] if middle + 4 <= len(head) else os.pread(descriptor, 4, start + middle)
    return middle + 4 + _length(told)


def _walk(descriptor: int, start: int, end: int) -> list[int]:
    """Return where the pages of a stretch of the file begin, and where the last one ends."""
    offsets = [start]
    while offsets[-1] < end:
        offsets.append(offsets[-1] + _page_bytes(descriptor, offsets[-1]))
    if offsets[-1] != end:
        raise ValueError("a column's pages do not end where it ends")
    return offsets


def _unique(descriptor: int) -> bytes:
    """Return what tells a file apart in its associated data; it stands in the clear, before the footer.

    Raises:
        ValueError, IndexError: the file does not end as an encrypted one.
    """
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 8, size - 8)
    if tail[4:] != _MAGIC:
        raise ValueError("the file has no encrypted footer")
    told, _ = thrift.struct(os.pread(descriptor, _LOOK_BYTES, size - 8 - _length(tail)))
    unique = told[1][1][2]  # algorithm, AES_GCM_V1, aad_file_unique
    if not isinstance(unique, bytes):
        raise TypeError("the file's encryption has no identifier")
    return unique
