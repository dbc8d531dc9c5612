"""The compiled road of FreeSWITCH's documents: legs as columns, each from the bytes of its values (ADR 38).

What the kernels do not understand they leave where it is, and the caller reads that one body in Python.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders.freeswitch.values import encoding_option
from ingest.decoders.slices import compute, gather
from ingest.source_config import SourceConfig
from ingest.window import Window
from schemas.arrow import DELIVERED
from schemas.buffers import Bytes, Column, Ints
from store import native

LOAD_BYTES_MIN: Final = 1 << 20
"""A smaller window is no reason to load the kernels; when they are there, they are used."""

WALK_BYTES_MIN: Final = 1 << 14
"""Fewer bytes are a few bodies."""

ROWS_MAX: Final = 4096

VARIABLES: Final = (
    "direction", "uuid", "start_stamp", "end_stamp", "answer_stamp", "profile_start_stamp", "channel_name",
    "sip_from_uri", "sip_to_uri", "sip_req_uri", "sip_contact_uri", "start_uepoch", "answer_uepoch", "end_uepoch",
    "mduration", "uduration", "duration", "billmsec", "billusec", "billsec", "sip_gateway_name", "sip_gateway",
    "hangup_cause", "sip_network_ip", "sip_network_port", "sip_reply_host", "sip_user_agent",
    "sip_from_user", "sip_to_user", "domain_name", "accountcode", "call_uuid", "originator", "originating_leg_uuid",
)  # fmt: skip
"""Variables that are read; number `n` is place `n` of a leg (`leg_kernels`)."""
PROFILE: Final = ("caller_id_number", "ani", "rdnis", "destination_number", "network_addr", "uuid")
"""Fields of a caller profile that are read."""
TEXTS: Final = (
    "switch", "record_key", "calling_number", "called_number", "dialled_number", "source_ip", "destination_ip",
    "user_agent", "cause", "trunk_in", "trunk_out", "call_link", "tenant", "account",
)  # fmt: skip
"""Texts of a leg."""
FIGURES: Final = (
    "begin", "end", "position", "start_time", "answer_time", "end_time", "utc_offset_s", "duration_ms",
    "billable_duration_ms", "source_port",
)  # fmt: skip
"""Figures of a leg; `begin` and `end` are where in the block it stands."""

DOCUMENTS: Final = "ingest.decoders.freeswitch.document_kernels"
ELEMENTS: Final = "ingest.decoders.freeswitch.element_kernels"
_LINES: Final = "ingest.decoders.line_kernels"
_PAD_BYTES: Final = 64
_OPTIONS: Final = {None: -1, False: 0, True: 1}
_ABSENT: Final = -(2**63)
_MIX: Final = 0x9E37_79B9_7F4A_7C15
_WORD: Final = (1 << 64) - 1
_SLOTS: Final = 256


class Names(NamedTuple):
    """Names that are read, as the kernels look them up; `held` are their bytes."""

    table: npt.NDArray[np.uint64]
    held: Bytes


def names_of(names: Sequence[tuple[int, str, int]]) -> Names:
    """Return a table of names: what each stands in, and what it is (`document_kernels`)."""
    held = np.zeros(sum(len(name) for _, name, _ in names) + _PAD_BYTES, np.uint8)
    table = np.zeros((_SLOTS, 5), np.uint64)
    at = 0
    for place, name, code in names:
        text = name.encode()
        held[at : at + len(text)] = np.frombuffer(text, np.uint8)
        first = int.from_bytes(text[:8], "little")
        last = int.from_bytes(text[-8:], "little") if len(text) >= 8 else 0
        key = len(text) | place << 32
        slot = ((first ^ (last * _MIX & _WORD) ^ key) * _MIX & _WORD) >> 56
        while table[slot, 2]:
            slot = (slot + 1) % _SLOTS
        table[slot] = (first, last, key, at, code)
        at += len(text)
    return Names(table, held)


@cache
def _names(module: str) -> Names:
    """Return what the kernels of a module look for."""
    kernels = native.load(module)
    names = [(kernels.VARIABLES, name, place) for place, name in enumerate(VARIABLES)]
    names += [(kernels.CALLER, name, kernels.OLDEST + place) for place, name in enumerate(PROFILE)]
    names += [
        (kernels.DOCUMENT, "switchname", kernels.SWITCH),
        (kernels.DOCUMENT, "variables", kernels.OPENS + kernels.VARIABLES),
        (kernels.DOCUMENT, "callflow", kernels.OPENS + kernels.ENTRY),
        (kernels.ENTRY, "caller_profile", kernels.OPENS + kernels.CALLER),
        (kernels.CALLER, "originator", kernels.OPENS + kernels.ORIGIN_OF),
        (kernels.ORIGIN_CALLER, "uuid", kernels.ORIGIN),
    ]
    if module == ELEMENTS:
        names += [(kernels.ORIGIN_OF, "originator_caller_profile", kernels.OPENS + kernels.ORIGIN_CALLER)]
    else:
        names += [(kernels.ORIGIN_OF, "originator_caller_profiles", kernels.OPENS + kernels.ORIGINS)]
    return names_of(names)


class Form(NamedTuple):
    """What kernels make of documents of one form: names of its texts, and of its figures, the first three of which are
    where a record begins and ends in the block, and its position. `names` are those that are looked for."""

    module: str
    names: Callable[[], Names]
    texts: tuple[str, ...]
    figures: tuple[str, ...]


def leg_form(module: str) -> Form:
    """Return the form of legs: DOCUMENTS or ELEMENTS."""
    return Form(module, lambda: _names(module), TEXTS, FIGURES)


class Legs(NamedTuple):
    """Records of one window: texts and figures of their form, and the bytes that they stand in."""

    texts: dict[str, Column]
    figures: dict[str, Ints]
    data: bytes

    def text(self, row: int) -> bytes:
        """Return the bytes of a leg."""
        return self.data[int(self.figures["begin"][row]) : int(self.figures["end"][row])]


class Walker:
    """Walks the windows of one delivery."""

    def __init__(self, form: Form, option: int = 0) -> None:
        self._form, self._option = form, option
        self._block: _Block | None = None

    def walk(self, window: Window, position: int, *, is_utf8: bool = True) -> tuple[int, Legs | None]:
        """Take records from where the window stands, and move it behind them; only ASCII where it is not UTF-8.

        Returns:
            How many, the first of them at `position` of the delivery; and those that are to be handed over now.
        """
        done = None
        if self._block is None or self._block.data is not window.data:
            done, self._block = self.rest(), None
            size = len(window.data) - window.at
            if size < WALK_BYTES_MIN or (size < LOAD_BYTES_MIN and not native.is_loaded(self._form.module)):
                return 0, done
            self._block = _Block(self._form, window.data, window.at)
        elif self._block.is_full:
            done = self._block.rest()
        rows = self._block.walk(window, position, self._option, is_utf8=is_utf8)
        if done is None and self._block.is_full:
            done = self._block.rest()
        return rows, done

    def rest(self) -> Legs | None:
        """Return legs that were not handed over yet."""
        return None if self._block is None else self._block.rest()


class _Block:
    """A copy of a window's bytes with padding around it, room for what is decoded, and the legs so far."""

    def __init__(self, form: Form, data: bytes, at: int) -> None:
        self.data, self._form = data, form
        self._kernels = kernels = native.load(form.module)
        native.load(_LINES)  # `gather` copies with them
        self._names = form.names()
        size = len(data) - at
        self._offset = at - _PAD_BYTES  # from places of the memory to places of the data
        self._memory = np.empty(2 * size + 3 * _PAD_BYTES, np.uint8)
        self._end = _PAD_BYTES + size
        self._memory[:_PAD_BYTES] = 0
        self._memory[_PAD_BYTES : self._end] = np.frombuffer(data, np.uint8, offset=at)
        self._memory[self._end : self._end + _PAD_BYTES] = 0
        self._is_utf8 = _is_utf8(data)
        self._left = -1  # place of a body that the kernels left
        self._found = np.zeros((kernels.PLACES + 1, 2), np.int64)
        self._spans = np.empty((kernels.SPANS_MAX, 2), np.int64)
        self._seen = np.zeros((kernels.SEEN + kernels.ATTRIBUTES_MAX, 2), np.uint64)
        self._work = np.zeros(kernels.WORK, np.int64)
        self._starts = np.empty((len(form.texts), ROWS_MAX), np.int64)
        self._ends = np.empty((len(form.texts), ROWS_MAX), np.int64)
        self._figures = np.empty((len(form.figures), ROWS_MAX), np.int64)
        self._state = np.zeros(kernels.STATE_SIZE, np.int64)
        self._state[kernels.SCRATCH] = self._end + _PAD_BYTES

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another leg."""
        return int(self._state[self._kernels.ROWS]) == ROWS_MAX

    def walk(self, window: Window, position: int, option: int, *, is_utf8: bool) -> int:
        """Take legs from where the window stands, and move it behind them; return how many."""
        kernels, state = self._kernels, self._state
        if window.at == self._left:
            return 0
        before = int(state[kernels.ROWS])
        state[kernels.POSITION], state[kernels.NUMBER] = window.at - self._offset, position
        kernels.walk(
            int(self._memory.ctypes.data),
            self._memory,
            self._end,
            int(self._is_utf8 and is_utf8),
            option,
            int(self._names.held.ctypes.data),
            self._names.table,
            self._found,
            self._spans,
            self._seen,
            self._work,
            self._starts,
            self._ends,
            self._figures,
            state,
        )
        window.at = int(state[kernels.POSITION]) + self._offset
        if not self.is_full:
            self._left = window.at
        return int(state[kernels.ROWS]) - before

    def rest(self) -> Legs | None:
        """Return the legs so far, and forget them; None when there are none."""
        rows = int(self._state[self._kernels.ROWS])
        if not rows:
            return None
        texts = {
            name: gather(self._memory, self._starts[number, :rows], self._ends[number, :rows])
            for number, name in enumerate(self._form.texts)
        }
        figures = dict(zip(self._form.figures, self._figures[:, :rows].copy(), strict=True))
        for name in ("begin", "end"):
            figures[name] += self._offset
        self._state[self._kernels.ROWS] = 0
        return Legs(texts, figures, self.data)


def encoding_of(source: SourceConfig) -> int:
    """Return whether values are URL-encoded, as the kernels of legs are told."""
    return _OPTIONS[encoding_option(source.options.get("encode_values", "auto"))]


def _is_utf8(data: bytes) -> bool:
    """Tell whether bytes are UTF-8, of which the last character may be cut."""
    try:
        return data.isascii() or utf_8_decode(data, "strict", False) is not None
    except UnicodeDecodeError:
        return False


def columns_of(legs: Legs, source: SourceConfig) -> dict[str, Column]:
    """Return the columns that the kernels made, with what the source says of all its records."""
    rows = len(legs.figures["position"])
    made: dict[str, Column] = dict(legs.texts)
    made |= {name: _column_of(name, values) for name, values in legs.figures.items() if name not in ("begin", "end")}
    if source.element:
        made["switch"] = compute.fill_null(made["switch"], source.element)
    if source.tenant:
        made["tenant"] = pa.nulls(rows, pa.string())
    made["service_type"] = pa.repeat(source.service_type or "voice", rows)
    return made


def _column_of(name: str, values: Ints) -> Column:
    """Return a figure as the column of its field."""
    absent = values == _ABSENT
    if name == "position":
        return pa.array(values)
    kind = DELIVERED.field(name).type
    whole = pa.array(values, mask=absent) if absent.any() else pa.array(values)
    return whole.cast(kind) if kind != pa.int64() else whole
