"""What each kernel that reads a switch's bytes is called with, and what it promises.

A specification says where among the arguments the bytes are, which bytes its callers vouch for, and how to tell that
what came out keeps the kernel's contract: places inside the data, in order, no more than there is room for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ingest.decoders.freeswitch.walk import DOCUMENTS
from ingest.decoders.padded import PAD_BYTES
from store import native

Arguments = Sequence[Any]
Checked = Callable[[Arguments, Any, bytes], bool]
"""Tells from arguments, result and the mutated bytes whether a contract is kept."""


@dataclass(frozen=True)
class Spec:
    """One kernel.

    `links` names arguments that are addresses of others. `far` names addresses of memory that is no argument, with its
    size and the padding before and behind it. `payload` is the argument that holds the switch's bytes, `window` where
    in it they are. `lined`: line feeds stand where callers found them. `counted`: there are no more of them than that.
    `ended`: so many bytes at the end stay.
    """

    module: str
    name: str
    payload: int
    keeps: Checked
    links: Mapping[int, int] = field(default_factory=dict)
    far: Mapping[int, tuple[Callable[[Arguments], int], int, int]] = field(default_factory=dict)
    window: Callable[[Arguments], tuple[int, int]] | None = None
    lined: bool = False
    counted: bool = False
    ended: int = 0

    @property
    def title(self) -> str:
        """What reports call it."""
        return f"{self.module.removeprefix('ingest.decoders.')}.{self.name}"


def _within(starts: Any, ends: Any, low: Any, high: Any) -> bool:
    return bool(((starts >= low) & (starts <= ends) & (ends <= high)).all())


def _csv_walk(a: Arguments, result: Any, _data: bytes) -> bool:
    size, plan, wide, nulls, exceptions, places, state = a[1], a[4], a[6], a[8], a[9], a[12], a[14]
    rows, found = int(state[1]), int(state[2])
    if not (0 <= result <= 3 and 0 <= rows <= nulls.shape[1] and 0 <= found <= len(exceptions)):
        return False
    if not 0 <= state[0] <= size or (result == 0) != (state[0] >= size):
        return False
    odd = exceptions[:found]
    good = _within(odd[:, 2], odd[:, 2] + odd[:, 3], 0, size) and _within(0, odd[:, 1], 0, len(plan) - 1)
    for line in plan[plan[:, 0] == 5, 1]:
        starts = wide[line, :rows] >> 32
        good = good and _within(starts, starts + (wide[line, :rows] & 0xFFFFFFFF), 0, size)
    for table in range(len(places)):
        count = int(places[table, -1, 0])
        label = places[table, : max(count, 0)]
        good = good and 0 <= count < places.shape[1] and _within(label[:, 0], label[:, 0] + label[:, 1], 0, size)
    return good


def _copied(a: Arguments, _result: Any, data: bytes) -> bool:
    starts, offsets, out = a[1], a[2], a[3]
    sizes = offsets[1:] - offsets[:-1]
    want = b"".join(data[at : at + size] for at, size in zip(starts.tolist(), sizes.tolist(), strict=True))
    return bool(out[offsets[0] : offsets[0] + len(want)].tobytes() == want) if len(starts) else True


def _slices(a: Arguments, _result: Any, data: bytes) -> bool:
    places = zip(a[2].tolist(), a[3].tolist(), strict=True)
    want = b"".join(data[start:end] for start, end in places if start >= 0)
    return bool(a[4][: len(want)].tobytes() == want)


def _measured(a: Arguments, result: Any, _data: bytes) -> bool:
    there = a[0] >= 0
    sizes = np.where(there, a[1] - a[0], 0)
    valid = np.unpackbits(a[3], count=len(there), bitorder="little")
    return bool(result == np.count_nonzero(~there) and (np.diff(a[2]) == sizes).all() and (valid == there).all())


def _plain_values(a: Arguments, result: Any, data: bytes) -> bool:
    lines = data.count(b"\n") + (len(data) > 0 and not data.endswith(b"\n"))
    rows = int(a[8][0])
    if result != lines or rows + np.count_nonzero(a[7][:lines]) != lines:
        return False
    for line in a[2][a[2] >= 0]:
        starts, ends = a[4][line, :rows], a[5][line, :rows]
        if not _within(starts, ends, 0, len(data)) or not (ends[:-1] < starts[1:]).all():
            return False
    return True


def _names(a: Arguments, _result: Any, _data: bytes) -> bool:
    starts, ends = a[1][:-1], a[1][1:]
    return bool(((a[2] == -1) | ((a[2] >= starts) & (a[2] <= ends))).all())


def _matched(a: Arguments, _result: Any, _data: bytes) -> bool:
    starts, limits, which, stops, begins, ends = a[2], a[3], a[9], a[10], a[11], a[12]
    took = which >= 0
    good = bool((which >= -1).all() and (which < len(a[5]) - 1).all())
    good = good and _within(starts[took], stops[took], 0, limits[took])
    for one, two in zip(begins, ends, strict=True):
        some = took & (one >= 0)
        good = good and _within(one[some], two[some], starts[some], limits[some])
    return good and bool((begins[:, ~took] == -1).all())


def _joined(a: Arguments, _result: Any, data: bytes) -> bool:
    data, kinds, begins, ends, out, offsets = (data, *a[1:6])
    for row in range(begins.shape[1]):
        parts = []
        for kind, start, end in zip(kinds.tolist(), begins[:, row].tolist(), ends[:, row].tolist(), strict=True):
            if start < 0 or (kind <= 1 and end <= start):
                parts.append(b"-")
            elif kind == 2:
                parts.append(b"%d" % start)
            elif kind == 3:
                parts.append(b"%d.%d.%d.%d" % tuple(start >> shift & 255 for shift in (24, 16, 8, 0)))
            else:
                parts.append(data[start:end].lower() if kind else data[start:end])
        if out[offsets[row] : offsets[row + 1]].tobytes() != b" ".join(parts):
            return False
    return True


def _framed(first: int, gap: int) -> Checked:
    def keeps(a: Arguments, result: Any, data: bytes) -> bool:
        starts, ends = a[first][:result], a[first + 1][:result]
        ordered = bool((ends[:-1] + gap <= starts[1:]).all())
        return 0 <= result <= len(a[first]) and _within(starts, ends, 0, len(data)) and ordered

    return keeps


def _walked(a: Arguments, _result: Any, _data: bytes) -> bool:
    starts, ends, places, lengths, faults = a[1], a[2], a[6], a[7], a[8]
    rows = len(starts)
    sound = faults == 0
    for slot in range(len(places) // rows if rows else 0):
        at, size = places[slot * rows : slot * rows + rows], lengths[slot * rows : slot * rows + rows]
        some = sound & (size > 0)
        if not _within(at[some], at[some] + size[some], starts[some], ends[some]) or (size < 0).any():
            return False
    return True


def _definite(a: Arguments, _result: Any, data: bytes) -> bool:
    told = zip(a[1].tolist(), a[2].tolist(), a[4].tolist(), strict=True)
    return all(good in (0, 1) and (good == 1 or b"\x80" in data[start:end]) for start, end, good in told)


def _digits(a: Arguments, _result: Any, _data: bytes) -> bool:
    room, bad = a[4], a[6]
    chars = a[5][: len(bad) * room].reshape(len(bad), room)
    return bool((chars[bad != 0] == 0).all() and ((chars[:, 1:] == 0) | (chars[:, :-1] != 0)).all())


def _identified(a: Arguments, result: Any, _data: bytes) -> bool:
    values, bad = a[5], a[6] != 0
    told = np.count_nonzero(values) == result >> 2 and (values[bad] == 0).all() and (values[a[1] < 0] == 0).all()
    return bool(told and ((values == 0) | ((values >= 10) & (values < 2 * 10**18))).all())


def _trimmed(a: Arguments, _result: Any, data: bytes) -> bool:
    room, absent, offsets = a[1], a[2], a[3]
    rows = [b"" if gone else data[n * room : n * room + room].rstrip(b"\0") for n, gone in enumerate(absent)]
    return bool(a[4][: offsets[len(rows)]].tobytes() == b"".join(rows) and (np.diff(offsets) >= 0).all())


def _valued(starts: int, ends: int, good: int) -> Checked:
    def keeps(a: Arguments, _result: Any, _data: bytes) -> bool:
        some = (a[starts] >= 0) & a[good]
        low, high = (np.broadcast_to(one, some.shape)[some] for one in (a[1], a[2]))
        return _within(a[starts][some], a[ends][some], low, high)

    return keeps


def _told(a: Arguments, _result: Any, _data: bytes) -> bool:
    room, good, told = _keys_room(a), a[4], a[5]
    ends = [(offsets >= 0).all() and (np.diff(offsets) >= 0).all() and offsets[-1] <= room for offsets in (a[7], a[9])]
    own, kinds = np.diff(a[9]), told[0][good]
    return bool(all(ends) and (own[~good] == 0).all() and (own[good] > 0).all() and ((kinds >= 0) & (kinds <= 2)).all())


def _ended(a: Arguments, _result: Any, _data: bytes) -> bool:
    good, told, offsets = a[4], a[5], a[7]
    own = np.diff(offsets)
    times = (told[1] <= told[2]) & (told[2] <= told[3])
    keys = offsets[-1] <= _keys_room(a) and (own[~good] == 0).all() and (own[good] > 0).all()
    return bool(keys and times[good].all())


def _sliced(values: int, kinds: int) -> Checked:
    def keeps(a: Arguments, _result: Any, _data: bytes) -> bool:
        return bool((a[values] >= 0).all() and (a[kinds] <= 2).all() and (a[values][a[kinds] != 0] == 0).all())

    return keeps


def _sound(a: Arguments, _result: Any, _data: bytes) -> bool:
    return bool((a[2] - a[1] == 36)[a[4]].all())


def _coded(a: Arguments, result: Any, _data: bytes) -> bool:
    return bool(result < 0 or ((a[3] >= -1) & (a[3] < max(result, 1))).all())


def _legs(a: Arguments, _result: Any, _data: bytes) -> bool:
    memory, end, starts, ends, figures, state = a[1], a[2], a[11], a[12], a[13], a[14]
    rows = _rows_of(state)
    if not 0 <= rows <= starts.shape[1]:
        return False
    begin, behind = figures[0, :rows], figures[1, :rows]
    some = starts[:, :rows] >= 0
    texts = _within(starts[:, :rows][some], ends[:, :rows][some], 0, len(memory))
    return _within(begin, behind, PAD_BYTES, end) and bool((behind[:-1] <= begin[1:]).all()) and texts


def _rows_of(state: Any) -> int:
    return int(state[native.load(DOCUMENTS).ROWS])


def _integers(a: Arguments, _result: Any, data: bytes) -> bool:
    for row, (start, size) in enumerate(zip(a[1].tolist(), a[2].tolist(), strict=True)):
        value = int.from_bytes(data[start : start + size], "big") if start >= 0 and 1 <= size <= 8 else -1
        good = 0 <= value < 1 << 63
        if a[4][row] != (start >= 0 and not good) or a[3][row] != (value if good else 0):
            return False
    return True


def _times(a: Arguments, _result: Any, _data: bytes) -> bool:
    absent, bad = a[1] < 0, a[8]
    years = (a[6] >= 0) | (bad != 0) | absent
    return bool((bad <= 1).all() and (bad[absent] == 0).all() and (a[6][bad != 0] == 0).all() and years.all())


def _grouped(a: Arguments, result: Any, data: bytes) -> bool:
    if result < 0:
        return True
    places = list(zip(a[1].tolist(), a[2].tolist(), strict=True))
    firsts: dict[bytes, int] = {}
    for row, (start, size) in enumerate(places):
        group = firsts.setdefault(data[start : start + size], len(firsts)) if start >= 0 else -1
        if a[5][row] != group or (group >= 0 and a[4][group] > row):
            return False
    return bool(result == len(firsts))


def _clocked(a: Arguments, _result: Any, _data: bytes) -> bool:
    sized = np.diff(a[1]) == _TIME_BYTES
    hours, seconds = a[4], a[5]
    good = (hours >= -1) & (hours < 10**10) & (seconds >= -1) & (seconds < 3600)
    return bool((good & (sized | (hours == -1)) & ((hours >= 0) | (seconds == -1))).all())


def _packets(a: Arguments, result: Any, _data: bytes) -> bool:
    starts, ends, bounds = a[5][:, : max(result, 0)], a[6][:, : max(result, 0)], a[7][:, : max(result, 0)]
    some = starts >= 0
    low, high = (np.broadcast_to(one, some.shape)[some] for one in bounds)
    good = -1 <= result <= a[5].shape[1] and _within(bounds[0], bounds[1], a[1], a[2])
    return good and _within(starts[some], ends[some], low, high) and bool((bounds[1][:-1] < bounds[0][1:]).all())


def _packed(a: Arguments, result: Any, data: bytes) -> bool:
    for row, (start, end) in enumerate(zip(a[0][:-1].tolist(), a[0][1:].tolist(), strict=True)):
        text = data[start:end]
        fits = 0 < len(text) <= 18 and text.isdigit()
        if a[3][row] != fits or a[2][row] != (int(b"1" + text) if fits else 0):
            return False
    return bool(result == np.count_nonzero(a[3]))


def _keys_room(a: Arguments) -> int:
    return _upto(3)(a) + 2 * PAD_BYTES + 16 * len(a[4])


def _upto(argument: int) -> Callable[[Arguments], int]:
    """Return the size of the data in which slices end that an argument names."""
    return lambda a: max(int(a[argument].max(initial=0)), 0)


def _texts_end(a: Arguments) -> int:
    sizes = a[2][1:].astype(np.int64) - a[2][:-1]
    return int((a[1] + sizes[: len(a[1])]).max(initial=0))


def _names_end(table: int) -> Callable[[Arguments], int]:
    return lambda a: int((a[table][:, 3] + (a[table][:, 2] & np.uint64(0xFFFFFFFF))).max())


_D: Final = "ingest.decoders."
_BER: Final = _D + "ber.kernels"
_BER_VALUES: Final = _D + "ber.value_kernels"
_LINES: Final = _D + "line_kernels"
_KAMAILIO: Final = _D + "kamailio.walk_kernels"
_ENDED_CALLS: Final = _D + "kamailio.ended_kernels"
_SLICES: Final = _D + "slice_kernels"
_SLACK_BYTES: Final = 72
_TIME_BYTES: Final = 19


def _slack(a: Arguments) -> tuple[int, int]:
    return 0, max(len(a[0]) - _SLACK_BYTES, 0)


def _elements(module: str) -> Spec:
    names = (_names_end(6), 0, PAD_BYTES)
    window = lambda a: (PAD_BYTES, int(a[2]))  # noqa: E731
    return Spec(_D + module, "walk", 1, _legs, {0: 1}, {5: names}, window)


_BASE: Final = (_upto(2), PAD_BYTES, PAD_BYTES)
SPECS: Final = (
    Spec(
        _D + "csv_kernels",
        "walk",
        0,
        _csv_walk,
        far={0: (lambda a: int(a[1]), PAD_BYTES, PAD_BYTES), 2: (lambda a: int(a[3].max(initial=0)), 0, 8)},
        ended=1,
    ),
    Spec(_D + "csv_kernels", "copy_texts", 0, _copied, far={0: (_texts_end, 0, 0)}),
    Spec(_LINES, "copy_slices", 0, _slices, {1: 0, 5: 4}),
    Spec(_LINES, "measure_slices", 0, _measured),
    Spec(_LINES, "plain_values", 0, _plain_values, {1: 0}, counted=True),
    Spec(_LINES, "peers", 0, _names),
    Spec(_LINES, "systems", 0, _names),
    Spec(_D + "shape_kernels", "match", 0, _matched, {1: 0}, lined=True),
    Spec(_D + "key_kernels", "joined", 0, _joined),
    Spec(_BER, "frame", 0, _framed(4, 0)),
    Spec(_BER, "walk", 0, _walked, window=_slack),
    Spec(_BER, "frame_events", 0, _framed(3, 0)),
    Spec(_BER, "frame_file", 0, _framed(1, 4)),
    Spec(_BER, "find_definite", 0, _definite, window=_slack),
    Spec(_BER, "read_digits", 0, _digits, window=_slack),
    Spec(_BER, "trim", 0, _trimmed),
    Spec(_BER_VALUES, "read_identifiers", 0, _identified, window=_slack),
    Spec(_BER_VALUES, "read_integers", 0, _integers, window=_slack),
    Spec(_BER_VALUES, "read_times", 0, _times, window=_slack),
    Spec(_BER_VALUES, "group", 0, _grouped, window=_slack),
    Spec("ingest.time_kernels", "clocks", 0, _clocked),
    Spec(_KAMAILIO, "rows", 0, _valued(5, 6, 8), far={0: _BASE}, lined=True),
    Spec(_KAMAILIO, "bodies", 0, _valued(5, 6, 8), far={0: _BASE, 4: (_names_end(3), 0, PAD_BYTES)}, lined=True),
    Spec(
        _KAMAILIO,
        "transactions",
        0,
        _told,
        far={0: (_upto(3), PAD_BYTES, PAD_BYTES), 6: (_keys_room, 0, 0), 8: (_keys_room, 0, 0)},
    ),
    Spec(_ENDED_CALLS, "ended", 0, _ended, far={0: (_upto(3), PAD_BYTES, PAD_BYTES), 6: (_keys_room, 0, 0)}),
    Spec(_SLICES, "identifiers", 0, _sliced(3, 4), far={0: _BASE}),
    Spec(_SLICES, "figures", 0, _sliced(4, 5), far={0: _BASE}),
    Spec(_SLICES, "labels", 0, _coded, far={0: _BASE}),
    Spec(_SLICES, "uuids", 0, _sound, far={0: _BASE, 3: (lambda a: 36 * len(a[4]), 0, 0)}),
    Spec(_SLICES, "stamps", 0, _sliced(5, 6), far={0: _BASE}),
    _elements("freeswitch.document_kernels"),
    _elements("freeswitch.element_kernels"),
    _elements("broadworks_kernels"),
    Spec(
        _D + "radius.packet_kernels",
        "walk",
        0,
        _packets,
        far={0: (lambda a: int(a[2]), 0, PAD_BYTES), 3: (_names_end(4), 0, PAD_BYTES)},
        window=lambda a: (int(a[1]), int(a[2])),
        ended=2,
    ),
    Spec("schemas.number_kernels", "pack_digits", 1, _packed),
)
