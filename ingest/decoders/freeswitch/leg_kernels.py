"""Compiled making of one FreeSWITCH leg from the places of its values (ADR 38).

The twin is `ingest.decoders.freeswitch.json_cdr`, record by record in Python; what is said there holds here. What this
does not understand (an escape, an address of another form than a dotted quad, a time that only a stamp tells) it leaves
to the twin, and so it does with every leg that would be refused.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.freeswitch.leg_values_kernels import (
    ABSENT,
    MAYBE,
    PLAIN,
    STRANGE,
    encoding_of,
    helper,
    is_ascii,
    milliseconds,
    offset_of,
    plain,
    same,
    whole,
)
from ingest.decoders.word_kernels import inlined, load8, load64, number, quad

# Places of a leg: its variables, the newest profile's fields, the oldest's (`freeswitch_walk.VARIABLES`, `PROFILE`).
(
    _DIRECTION, _UUID, _START_STAMP, _END_STAMP, _ANSWER_STAMP, _PROFILE_STAMP, _CHANNEL,
    _FROM_URI, _TO_URI, _REQ_URI, _CONTACT_URI, _START, _ANSWER, _END,
    _MDURATION, _UDURATION, _DURATION, _BILLMSEC, _BILLUSEC, _BILLSEC, _GATEWAY_NAME, _GATEWAY,
    _CAUSE, _NETWORK_IP, _NETWORK_PORT, _REPLY_HOST, _USER_AGENT,
    _FROM_USER, _TO_USER, _DOMAIN, _ACCOUNT, _CALL_UUID, _ORIGINATOR, _ORIGINATING,
) = range(34)  # fmt: skip
NEWEST: Final = 34
_ID, _ANI, _RDNIS, _DESTINATION, _NETWORK, _KEY = range(6)
FIELDS: Final = 6  # of a profile
OLDEST: Final = NEWEST + FIELDS
ORIGIN: Final = OLDEST + FIELDS  # uuid of the profile that began the newest one
SWITCH: Final = ORIGIN + 1
PLACES: Final = SWITCH + 1

_TIME_US_MAX: Final = 253_370_764_800_000_000
_PERCENT: Final = 0x25
_SLASH: Final = 0x2F
_U = np.uint64


def _word(text: bytes) -> Any:
    return _U(int.from_bytes(text, "little"))


_OUTBOUND: Final = _word(b"outbound")
_WITHHELD: Final = (b"anonymous", b"Anonymous", b"restricted", b"Restricted", b"unavailable", b" unknown")
_WITHHELD_FIRST: Final = np.array([_word(text[:8]) for text in _WITHHELD], np.uint64)
_WITHHELD_LAST: Final = np.array([_word(text[-8:]) for text in _WITHHELD], np.uint64)
_WITHHELD_BYTES: Final = np.array([len(text) for text in _WITHHELD], np.int64)
_UNKNOWN_BYTES: Final = len("unknown")


def _is_withheld_of(at: Any, length: Any) -> Any:
    """Tell whether a number is one that says that it is withheld."""
    if length == 0:
        return True
    if length == _UNKNOWN_BYTES:
        return (load64(at) << _U(8)) | _U(0x20) == _WITHHELD_FIRST[5]
    for index in range(5):
        if (
            length == _WITHHELD_BYTES[index]
            and load64(at) == _WITHHELD_FIRST[index]
            and load64(at + length - 8) == _WITHHELD_LAST[index]
        ):
            return True
    return False


_is_withheld: Any = helper(_is_withheld_of)


def _trunk_of(base: Any, found: Any, encoding: Any) -> Any:
    """Return the place of `sofia/internal` in a channel's name; length -1 when it is left to the twin."""
    start, length = found[_CHANNEL, 0], found[_CHANNEL, 1]
    slashes, first = 0, length
    for place in range(length):
        byte = load8(base + start + place)
        if byte == _PERCENT and encoding != PLAIN:
            return start, np.int64(-1)
        if byte == _SLASH:
            slashes += 1
            if slashes == 2:
                return start, np.int64(place)
            first = place
    return start, first


_trunk: Any = helper(_trunk_of)


def _reply_of(at: Any, length: Any) -> Any:
    """Tell what a host is: 1 an IPv4 address, 0 a name, -1 what is left to the twin."""
    if quad(at, length) >= 0:
        return 1
    letters = False
    for place in range(length):
        byte = load8(at + place)
        lower = byte | 0x20
        letter = 0x61 <= lower <= 0x7A
        letters |= letter
        if not letter and not 0x30 <= byte <= 0x39 and byte != 0x2D and byte != 0x2E:  # noqa: PLR1714 (compiled)
            return -1
    return 0 if letters else -1


_reply: Any = helper(_reply_of)


def _put_of(row: Any, text: Any, place: Any, length: Any, starts: Any, ends: Any) -> None:
    """Write where a text is; an empty one is none."""
    starts[text, row] = place if length > 0 else -1
    ends[text, row] = place + length


_put: Any = inlined(_put_of)


def _parties_of(
    base: Any, memory: Any, found: Any, encoding: Any, scratch: Any, starts: Any, ends: Any, row: Any
) -> Any:
    """Write the parties of a leg; return what is left of memory, -1 when it is left to the twin."""
    place, length = found[NEWEST + _ID, 0], found[NEWEST + _ID, 1]
    if place == 0 or _is_withheld(base + place, length):
        ani, user = found[NEWEST + _ANI, 1], np.int64(0)
        if ani > 0:
            place, length = found[NEWEST + _ANI, 0], ani
        else:
            other, user, scratch = plain(base, memory, found, _FROM_USER, encoding, scratch)
            if user < 0:
                return np.int64(-1)
            if user > 0:
                place, length = other, user
    _put(row, 2, place, length, starts, ends)
    place, length = found[NEWEST + _DESTINATION, 0], found[NEWEST + _DESTINATION, 1]
    if length == 0:
        place, length, scratch = plain(base, memory, found, _TO_USER, encoding, scratch)
        if length < 0:
            return np.int64(-1)
    _put(row, 3, place, length, starts, ends)
    before, size = found[OLDEST + _RDNIS, 0], found[OLDEST + _RDNIS, 1]
    if size == 0:
        before, size = found[OLDEST + _DESTINATION, 0], found[OLDEST + _DESTINATION, 1]
    if length == 0 or same(base + before, size, base + place, length):
        size = np.int64(0)
    _put(row, 4, before, size, starts, ends)
    return scratch


_parties: Any = helper(_parties_of)


def _addresses_of(
    base: Any, memory: Any, found: Any, encoding: Any, scratch: Any, starts: Any, ends: Any, row: Any
) -> Any:
    """Write the addresses and trunks of a leg; return what is left of memory, -1 when it is left to the twin."""
    at, length = base + found[_DIRECTION, 0], found[_DIRECTION, 1]
    outbound = length == 8 and load64(at) == _OUTBOUND
    place, length = found[NEWEST + _NETWORK, 0], found[NEWEST + _NETWORK, 1]
    if length == 0 and not outbound:
        place, length, scratch = plain(base, memory, found, _NETWORK_IP, encoding, scratch)
    if length != 0 and quad(base + place, length) < 0:
        return np.int64(-1)
    _put(row, 5, place, length, starts, ends)
    place, length = np.int64(0), np.int64(0)
    if outbound:
        place, length, scratch = plain(base, memory, found, _REPLY_HOST, encoding, scratch)
        if length > 0:
            kind = _reply(base + place, length)
            length = length if kind == 1 else np.int64(kind)
        if length < 0:
            return np.int64(-1)
    _put(row, 6, place, length, starts, ends)
    slot = _GATEWAY_NAME if found[_GATEWAY_NAME, 1] > 0 else _GATEWAY
    place, length, scratch = plain(base, memory, found, slot, encoding, scratch)
    if length == 0:
        place, length = _trunk(base, found, encoding)
    if length < 0:
        return np.int64(-1)
    _put(row, 9, place, np.int64(0) if outbound else length, starts, ends)
    _put(row, 10, place, length if outbound else np.int64(0), starts, ends)
    return scratch


_addresses: Any = helper(_addresses_of)


def _figures_of(base: Any, found: Any, figures: Any, row: Any) -> Any:
    """Write the times, durations and the port of a leg; tell whether all of them are understood."""
    start, answer, end = whole(base, found, _START), whole(base, found, _ANSWER), whole(base, found, _END)
    if not 0 < start < _TIME_US_MAX or not 0 <= answer < _TIME_US_MAX or not start <= end < _TIME_US_MAX:
        return False
    duration = milliseconds(base, found, _MDURATION, _UDURATION, _DURATION)
    billable = milliseconds(base, found, _BILLMSEC, _BILLUSEC, _BILLSEC)
    offset = offset_of(base, found, start)
    if duration == -1 or billable == -1 or offset == -1:
        return False
    at, length = base + found[_DIRECTION, 0], found[_DIRECTION, 1]
    outbound = length == 8 and load64(at) == _OUTBOUND
    port, length = np.int64(ABSENT), found[_NETWORK_PORT, 1]
    if length > 0 and not outbound:
        if not is_ascii(base + found[_NETWORK_PORT, 0], length):
            return False
        value = number(base + found[_NETWORK_PORT, 0], length) if length <= 5 else np.int64(-1)
        port = value if 0 < value < 65_536 else port
    figures[3, row], figures[4, row], figures[5, row] = start, answer if answer > 0 else ABSENT, end
    figures[6, row], figures[7, row], figures[8, row], figures[9, row] = offset, duration, billable, port
    return True


_figures: Any = helper(_figures_of)


def _leg_of(
    base: Any,
    memory: Any,
    found: Any,
    spans: Any,
    count: Any,
    option: Any,
    scratch: Any,
    starts: Any,
    ends: Any,
    figures: Any,
    row: Any,
) -> Any:
    """Write the texts and figures of one leg into its row; return what is left of memory, -1: it is left to the twin.

    Args:
        base: address of the memory.
        memory: uint8; places are places in it.
        found: int64 per place of `PLACES`: where a value begins (0: there is none), and its bytes.
        spans: int64 per variable: where its text begins, and its bytes; of `count` of them.
        count: how many variables are texts.
        option: MAYBE, PLAIN or ENCODED.
        scratch: place of memory for what has to be decoded, as much as the block is long.
        starts: int64 per text of `freeswitch_walk.TEXTS` and row, -1 for none.
        ends: the same, places behind.
        figures: int64 per figure of `freeswitch_walk.FIGURES` and row, ABSENT for none.
        row: which one.
    """
    if not _figures(base, found, figures, row):
        return np.int64(-1)
    encoding = encoding_of(base, found, spans, count) if option == MAYBE else option
    if encoding == STRANGE:
        return np.int64(-1)
    key = _UUID if found[_UUID, 1] > 0 else NEWEST + _KEY
    if found[key, 1] == 0:
        return np.int64(-1)
    _put(row, 0, found[SWITCH, 0], found[SWITCH, 1], starts, ends)
    _put(row, 1, found[key, 0], found[key, 1], starts, ends)
    scratch = _parties(base, memory, found, encoding, scratch, starts, ends, row)
    if scratch >= 0:
        scratch = _addresses(base, memory, found, encoding, scratch, starts, ends, row)
    if scratch < 0:
        return np.int64(-1)
    for text, slot in ((7, _USER_AGENT), (12, _DOMAIN), (13, _ACCOUNT)):
        place, length, scratch = plain(base, memory, found, slot, encoding, scratch)
        if length < 0:
            return np.int64(-1)
        _put(row, text, place, length, starts, ends)
    starts[8, row] = found[_CAUSE, 0] if found[_CAUSE, 0] > 0 else -1  # an empty one is told from none
    ends[8, row] = found[_CAUSE, 0] + found[_CAUSE, 1]
    for slot in (_CALL_UUID, _ORIGINATOR, _ORIGINATING, ORIGIN):
        if found[slot, 1] > 0:
            key = slot
            break
    _put(row, 11, found[key, 0], found[key, 1], starts, ends)
    return scratch


leg: Any = helper(_leg_of)
