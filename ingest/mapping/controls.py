"""Lines that are no records: comments, and header and trailer lines that declare how many records there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ingest.decoders.slices import Block
from ingest.mapping.model import Control, MappingFile
from schemas.errors import InputError

UNKNOWN_OFFSET: Final = -1
"""Where lines were taken out before, so that places in the delivery are not known any more."""

_CUT_OFF: Final = "the delivery is cut off, or not what the mapping describes; deliver it again"


class Controls:
    """Recognises control lines and checks what they declare; one per delivery.

    A delivery may be several files one after the other, each with its header and trailer: a line that begins like one
    is one, wherever it stands, and counts the records since the one before.
    """

    def __init__(self, mapping: MappingFile) -> None:
        self._header, self._trailer = mapping.header_line, mapping.trailer_line
        comment = mapping.layout.comment
        self._comment = None if comment is None else comment.encode()
        self._since = 0
        self._headers = self._trailers = 0
        self._announced: int | None = None
        prefixes = [control.prefix.encode() for control in (self._header, self._trailer) if control is not None]
        self._line = _beginning(prefixes)
        self._comments = _beginning([self._comment] if self._comment else [])

    @property
    def any(self) -> bool:
        """Whether there is anything to look for."""
        return self._line is not None or self._comments is not None

    @property
    def is_told(self) -> bool:
        """Whether a header or trailer line was seen."""
        return self._headers + self._trailers > 0

    def takes(self, line: bytes, records: int) -> bool:
        """Tell whether a line is no record; `records` is how many came before it.

        Raises:
            InputError: it declares another number of records.
        """
        if self._comment is not None and line.startswith(self._comment):
            return True
        for control in (self._header, self._trailer):
            if control is not None and line.startswith(control.prefix.encode()):
                self._seen(control, line, records)
                return True
        return False

    def pieces(self, block: Block, count: CountSoFar) -> Iterator[Block]:
        """Yield what of a block of whole lines is records.

        Raises:
            InputError: a control line declares another number of records.
        """
        if self._comments is not None and self._comments.search(block.data) is not None:
            block = block._replace(data=self._comments.sub(b"", block.data), offset=UNKNOWN_OFFSET)
        at = 0
        if self._line is not None:
            for found in self._line.finditer(block.data):
                yield _part(block, at, found.start())
                self.takes(found[0].rstrip(b"\r\n"), count())
                at = found.end()
        yield _part(block, at, len(block.data))

    def end(self, records: int) -> None:
        """Check what must have come by the end of the delivery.

        Raises:
            InputError: a line is missing, or a header announced another number of records.
        """
        self._settle(records)
        if self._header is not None and self._header.required and not self._headers:
            raise InputError("there is no header line as the mapping describes it", hint=_CUT_OFF)
        if self._trailer is not None and self._trailer.required:
            if not self._trailers:
                raise InputError("there is no trailer line as the mapping describes it", hint=_CUT_OFF)
            if records > self._since:
                raise InputError("records follow the last trailer line", hint=_CUT_OFF)

    def _seen(self, control: Control, line: bytes, records: int) -> None:
        declared = _declared(control, line)
        if control is self._header:
            self._settle(records)
            self._headers += 1
            self._announced = declared
        else:
            self._trailers += 1
            if declared is not None:
                _compare(declared - control.excess, records - self._since, "trailer")
            self._settle(records)
        self._since = records

    def _settle(self, records: int) -> None:
        if self._announced is not None and self._header is not None:
            _compare(self._announced - self._header.excess, records - self._since, "header")
        self._announced = None


class CountSoFar:
    """The number of records that were read so far."""

    def __init__(self) -> None:
        self.records = 0

    def __call__(self) -> int:
        """Return it."""
        return self.records


def _declared(control: Control, line: bytes) -> int | None:
    if control.count is None:
        return None
    found = control.count.search(line.decode("utf-8", "replace"))
    text = found["count"] if found is not None else None
    if text is None or not text.strip().isdigit():
        raise InputError("a header or trailer line does not declare its count as the mapping describes", hint=_CUT_OFF)
    return int(text)


def _compare(declared: int, counted: int, where: str) -> None:
    if declared != counted:
        raise InputError(f"the {where} line declares {declared} records, and there are {counted}", hint=_CUT_OFF)


def _beginning(prefixes: list[bytes]) -> re.Pattern[bytes] | None:
    """Return the pattern of whole lines that begin so."""
    if not prefixes:
        return None
    words = b"|".join(re.escape(prefix) for prefix in prefixes)
    return re.compile(rb"^(?:" + words + rb")[^\n]*(?:\n|\Z)", re.MULTILINE)


def _part(block: Block, start: int, stop: int) -> Block:
    offset = UNKNOWN_OFFSET if block.offset < 0 else block.offset + start
    return block._replace(data=block.data[start:stop], offset=offset)
