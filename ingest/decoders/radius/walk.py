"""The compiled road of detail files: the values of a whole block found at once (ADR 38).

It takes a block in which every packet is as FreeRADIUS writes it, and leaves any other to the road of NumPy.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from ingest.decoders.freeswitch.walk import Names, names_of
from ingest.decoders.radius.records import ATTRIBUTES
from ingest.decoders.slices import BLANK_LINE, KERNEL_BYTES_MIN, LOAD_BYTES_MIN, Block, Column, Ints, gather, is_utf8
from store import native

_KERNELS: Final = "ingest.decoders.radius.packet_kernels"
_LINES: Final = "ingest.decoders.line_kernels"
_PAD_BYTES: Final = 64
_PACKET_BYTES_MIN: Final = 128
"""Packets are longer in the mean, or their block is left."""
_WANTED: Final = frozenset(name.encode() for name in ATTRIBUTES)


class Walked(NamedTuple):
    """The packets of a block: attributes as texts by name, which of them stood in quotes, and where packets stand."""

    columns: dict[str, Column]
    quoted: frozenset[str]
    begins: Ints
    ends: Ints


def walked(block: Block) -> Walked | None:
    """Return the packets of a block; None when it is left to the other road."""
    data = block.data
    if len(data) < (KERNEL_BYTES_MIN if native.is_loaded(_KERNELS) else LOAD_BYTES_MIN):
        return None
    if not data.endswith(BLANK_LINE) or b"\0" in data or not (data.isascii() or is_utf8(data)):
        return None
    kernels = native.load(_KERNELS)
    native.load(_LINES)  # `gather` copies with them
    memory = np.empty(len(data) + 2 * _PAD_BYTES, np.uint8)
    end = _PAD_BYTES + len(data)
    memory[:_PAD_BYTES] = memory[end:] = ord("\n")
    memory[_PAD_BYTES:end] = np.frombuffer(data, np.uint8)
    most = len(data) // _PACKET_BYTES_MIN + 1
    starts, ends = (np.empty((len(ATTRIBUTES), most), np.int64) for _ in range(2))
    bounds, told, names = np.empty((2, most), np.int64), np.zeros(len(ATTRIBUTES), np.uint8), _names()
    count = kernels.walk(
        int(memory.ctypes.data),
        _PAD_BYTES,
        end,
        int(names.held.ctypes.data),
        names.table,
        starts,
        ends,
        bounds,
        told,
    )
    if count < 0:
        return None
    columns = {
        name: gather(memory, starts[code, :count], ends[code, :count])
        for code, name in enumerate(ATTRIBUTES)
        if told[code]
    }
    quoted = frozenset(name for code, name in enumerate(ATTRIBUTES) if told[code] & kernels.QUOTED)
    places: Any = bounds[:, :count] - _PAD_BYTES
    return Walked(columns, quoted, places[0], places[1])


def kept(packet: bytes) -> list[bytes]:
    """Return the lines of a packet that was walked: its header, and the attributes that are read."""
    header, *lines = packet.replace(b"\r\n", b"\n").split(b"\n")
    return [header, *(line for line in lines if line[1:].partition(b" = ")[0] in _WANTED)]


@cache
def _names() -> Names:
    return names_of([(0, name, code) for code, name in enumerate(ATTRIBUTES)])
