"""NAT events in IPFIX and NetFlow v9: files of messages, one behind the other, and datagrams of a collector.

* A session, binding or block that is created is OPEN, one that is deleted is CLOSE
  (`ingest.decoders.cgnat.ipfix_records`). They meet by stream, kind, addresses, ports and protocol.
* `record_key` is the event's letter, the same tuple and the time in µs: a tuple is used again, the time does not come
  back.
* Every data record counts. One that tells no NAT event is refused as `unsupported`; a set whose template never comes
  is one refused piece (`missing-field`, field `template`), because nobody can tell how many records it has.
* Templates and options data describe the exporter; they are no records.

Source: RFC 5655 (files are messages one behind the other), RFC 7011, RFC 3954, RFC 8158.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, ClassVar, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import CHUNK_ROWS, Decoded, nothing
from ingest.decoders.cgnat.ipfix_messages import (
    MESSAGE_OCTETS_MAX,
    DataSet,
    Exporters,
    Header,
    Template,
    message_octets,
)
from ingest.decoders.cgnat.ipfix_records import Records, message_of
from ingest.decoders.event_rows import by_position
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.rejects import Reject, RejectReason

_BLOCK_BYTES: Final = 1 << 20
_EMPTY: Final = pa.table({"position": pa.array([], pa.int64())})
_TEMPLATE_FIELD: Final = "template"
_PADDING_OCTETS_MAX: Final = 3
"""Exporters fill a set up to four octets, not always with zeros."""


class Ipfix:
    """NAT events of IPFIX and NetFlow v9."""

    name: ClassVar = "ipfix"
    summary: ClassVar = "NAT events in IPFIX (RFC 8158) and NetFlow v9 messages"
    zoned: ClassVar = True
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records; times carry no zone.

        Raises:
            InputError: the delivery does not begin with a message.
        """
        exporters, chunk, some = Exporters(), Chunk(source.element), False
        for message in _messages(stream):
            some = True
            chunk.take(exporters.read("", message))
            if chunk.rows >= CHUNK_ROWS:
                yield from chunk.flush()
        chunk.take(exporters.give_up())
        is_nothing = some and not chunk.position
        yield from chunk.flush()
        if is_nothing:  # templates alone
            yield nothing()


class Chunk:
    """Records on their way to a table; positions go on from one flush to the next."""

    def __init__(self, element: str, position: int = 0) -> None:
        self._element = element
        self.position = position
        """Of the last record that was taken in."""
        self._records: dict[tuple[Template, str, int, int], Records] = {}
        self._rejects: list[Reject] = []
        self.rows = 0

    def take(self, found: Iterable[DataSet]) -> None:
        """Take sets in."""
        for data in found:
            if data.template is None:
                self._refuse(data)
                continue
            header = data.header
            key = (data.template, header.exporter, header.protocol, header.domain)
            records = self._records.get(key)
            if records is None:
                records = self._records[key] = Records(data.template, header, header.exporter or self._element)
            number, rest = records.add(data, self.position + 1)
            self.position += number
            self.rows += number
            least = 1 if data.template.varies else _PADDING_OCTETS_MAX + 1
            if rest and (not number or (len(rest) >= least and any(rest))):
                self._refuse_piece(header, data.template, rest)

    def flush(self) -> Iterator[Decoded]:
        """Yield what was taken in, and begin anew."""
        rejects, tables, groups = self._rejects, [], []
        for records in self._records.values():
            if not records.rows:
                continue
            table, positions, faults = records.finish()
            for index, reason, field in faults.found():
                raw = records.raw(index)
                rejects.append(Reject(int(positions[index]), reason, field, None, len(raw), raw))
            tables.append(table.filter(pa.array(~faults.mask)))
            groups.append((positions, records))
        self._records, self._rejects, self.rows = {}, [], 0
        if not tables:
            if rejects:
                yield Decoded(_EMPTY, rejects)
            return

        def raw_of(wanted: Sequence[int]) -> list[bytes | None]:
            return [_raw(groups, position) for position in wanted]

        yield Decoded(tables[0] if len(tables) == 1 else by_position(tables), rejects, raw_of)

    def _refuse(self, data: DataSet) -> None:
        self.position += 1
        self.rows += 1
        reason = RejectReason.MALFORMED if data.malformed else RejectReason.MISSING_FIELD
        field = None if data.malformed else _TEMPLATE_FIELD
        header = data.header
        # Whole messages and ends of messages keep their bytes as they came; a set gets its message's header.
        alone = data.malformed or not header.octets
        raw = (header.octets + data.payload) if alone else message_of(header, None, data.payload, data.set_id)
        self._rejects.append(Reject(self.position, reason, field, None, len(data.payload), raw))

    def _refuse_piece(self, header: Header, template: Template, rest: bytes) -> None:
        """Refuse what follows the last whole record of a set, unless it is padding."""
        self.position += 1
        self.rows += 1
        raw = message_of(header, template, rest)
        self._rejects.append(Reject(self.position, RejectReason.MALFORMED, None, None, len(rest), raw))


def _raw(groups: Sequence[tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Records]], position: int) -> bytes | None:
    for positions, records in groups:
        place = int(np.searchsorted(positions, position))
        if place < len(positions) and positions[place] == position:
            return records.raw(place)
    return None


def _messages(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the messages of a file; behind one that cannot be told from the next, the rest comes in pieces."""
    data, at, last, first = b"", 0, False, True
    while True:
        octets = message_octets(data, at, last=last) if at < len(data) else 0
        if octets:
            yield data[at : at + octets]
            at, first = at + octets, False
        elif octets is None:
            if first:
                raise InputError("the delivery does not begin with a message of IPFIX or NetFlow v9")
            yield from _rest(stream, data[at:])
            return
        elif last:
            return
        else:
            block = stream.read(_BLOCK_BYTES)
            last = not block
            data, at = data[at:] + block, 0


def _rest(stream: BinaryIO, data: bytes) -> Iterator[bytes]:
    """Yield what cannot be read any more as one refused piece of bounded size; what is beyond it is not kept."""
    while len(data) <= MESSAGE_OCTETS_MAX and (block := stream.read(_BLOCK_BYTES)):
        data += block
    while stream.read(_BLOCK_BYTES):
        pass
    yield b"\0\0" + data[:MESSAGE_OCTETS_MAX]
