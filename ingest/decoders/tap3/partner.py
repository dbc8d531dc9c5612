"""What a TAP batch says about all its events: who sent it, and what its codes mean.

Source: GSMA TD.57 (TAP 3.12), BatchControlInfo and NetworkInfo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ingest.decoders.ber import values as ber_values
from ingest.decoders.ber.elements import definite, header, length_octets
from ingest.decoders.ber.walk import headers, padded
from ingest.decoders.threegpp import text as threegpp_text
from schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class Partner:
    """What a batch says about all its events: who sent it, which offsets and recording entities its codes mean.

    `front` is its control and network information as delivered: a refused event is kept in a batch of its own.
    """

    sender: str
    offsets_s: dict[int, int]
    entities: dict[int, str]
    front: bytes

    @classmethod
    def read(cls, control: bytes, network: bytes) -> Partner:
        """Read control and network information.

        Raises:
            InputError: they are damaged, or an offset has not the form `+hhmm`.
        """
        made = [definite(part) if part else b"" for part in (control, network)]
        if None in made:
            raise InputError("the TAP batch's control or network information is damaged")
        sender, offsets, entities = "", {}, {}
        for tag, content in _elements(made[0] or b"", 1):
            if tag == 196:
                sender = threegpp_text.label(content)
        for tag, content in _elements(made[1] or b"", 1):
            for _, entry in _elements(content, 0):
                parts = dict(_elements(entry, 0))
                if tag == 234 and 232 in parts:
                    offsets[int.from_bytes(parts[232], "big")] = _offset_s(parts.get(231, b""))
                if tag == 188 and 184 in parts:
                    entities[int.from_bytes(parts[184], "big")] = threegpp_text.label(parts.get(400, b""))
        return cls(sender, offsets, entities, control + network)

    def alone(self, event: bytes) -> bytes:
        """Return a batch that holds one event only."""
        content = self.front + b"\x63" + length_octets(len(event)) + event
        return b"\x61" + length_octets(len(content)) + content


def _elements(data: bytes, depth: int) -> list[tuple[int, bytes]]:
    """Return (number of the tag, content), `depth` levels down; nothing where they cannot be read."""
    found, at = [], 0
    while at < len(data):
        start, length = header(data, at, len(data))
        if start < 0 or length < 0 or start + length > len(data):
            return []
        found.append((int(headers(padded(data), np.array([at])).tags[0]) & 1023, data[start : start + length]))
        at = start + length
    if depth:
        return [inner for _, content in found for inner in _elements(content, depth - 1)]
    return found


def _offset_s(text: bytes) -> int:
    digits = text[1:]
    if len(text) != 5 or text[:1] not in (b"+", b"-") or not digits.isdigit() or int(digits[2:]) > 59:
        raise InputError("an offset of the TAP batch's table has not the form +hhmm")
    seconds = int(digits[:2]) * 3600 + int(digits[2:]) * 60
    if seconds > ber_values.OFFSET_MAX_S:
        raise InputError("an offset of the TAP batch's table is beyond 14 hours")
    return -seconds if text[:1] == b"-" else seconds
