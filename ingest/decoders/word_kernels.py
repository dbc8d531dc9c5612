"""Compiled helpers that read words of text from memory: numbers, addresses, times, ends of fields (ADR 7).

Every function takes an address and looks at no more than the `PAD_BYTES` before and behind it that its caller keeps.
Digits are read eight at a time from one 64-bit word, ends of fields are found 32 bytes at a time.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")
intrinsic: Any = importlib.import_module("numba.extending").intrinsic
ir: Any = importlib.import_module("llvmlite.ir")
types: Any = numba.types

PAD_BYTES: Final = 64

SLOTS: Final = 4096
LABELS_MAX: Final = 1024
_PROBES_MAX: Final = 32

_U = np.uint64
_ZEROS: Final = _U(0x3030_3030_3030_3030)
_HIGH: Final = _U(0x8080_8080_8080_8080)
_NINE_LIMIT: Final = _U(0x7676_7676_7676_7676)  # 0x7f - 9 in every byte: the sum has its high bit above 9
_CLOCK: Final = _U(0x3030_3A30_303A_3030)  # "00:00:00"
_CLOCK_LIMIT: Final = _U(0x767A_7F76_7A7F_767D)  # 0x7f less the most that stands there: 29:59:59
_PAIRS: Final = _U(0x0000_00FF_0000_00FF)
_FIRST: Final = _U(100 + (1_000_000 << 32))
_SECOND: Final = _U(1 + (10_000 << 32))
_LOW: Final = _U(0xFFFF_FFFF)
_BYTE: Final = _U(0xFF)
_ALL: Final = _U(0xFFFF_FFFF_FFFF_FFFF)
_MIX: Final = _U(0x9E37_79B9_7F4A_7C15)
POWERS: Final = 10 ** np.arange(19, dtype=np.int64)
_OCTET_MIN: Final = np.array([0, 0, 10, 100], np.int64)
_MONTH_DAYS: Final = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int64)
_QUAD_MIN: Final = len("1.1.1.1")
_QUAD_MAX: Final = len("255.255.255.255")
_CLOCK_BYTES: Final = len("13:45:12.")
_ZULU: Final = 0x5A
_DOT: Final = 0x2E
_DAY_US: Final = 86_400_000_000
_YEAR_MIN: Final = 1970
_YEAR_MAX: Final = 2261


def _loader(bits: int, result: Any) -> Any:
    """Return an intrinsic that loads so many bits, at any alignment, from an address."""

    def load(_typing: Any, _address: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            value = builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))
            value.align = 1
            return value

        return result(types.int64), generate

    return intrinsic(load)


def _store_word(_typing: Any, _address: Any, _word: Any) -> Any:
    """Store 64 bits, at any alignment, at an address."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        builder.store(arguments[1], place).align = 1
        return ir.Constant(ir.IntType(64), 0)

    return types.uint64(types.int64, types.uint64), generate


def _finder(test: Any) -> Any:
    """Return an intrinsic: a bit for each of the 32 bytes at an address where `test(builder, bytes, splat)` is so."""

    def find(_typing: Any, _address: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            vector = ir.VectorType(ir.IntType(8), 32)
            data = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()))
            data.align = 1
            found = test(builder, data, lambda byte: ir.Constant(vector, [byte] * 32))
            return builder.zext(builder.bitcast(found, ir.IntType(32)), ir.IntType(64))

        return types.uint64(types.int64), generate

    return intrinsic(find)


def _equal(byte: int) -> Any:
    return lambda builder, data, splat: builder.icmp_unsigned("==", data, splat(byte))


def _no_digit(builder: Any, data: Any, splat: Any) -> Any:
    return builder.icmp_unsigned(">", builder.sub(data, splat(ord("0"))), splat(9))


def _control(builder: Any, data: Any, splat: Any) -> Any:
    return builder.icmp_unsigned("<", data, splat(0x20))


def _high(builder: Any, data: Any, splat: Any) -> Any:
    return builder.icmp_signed("<", data, splat(0))


def _trailing(_typing: Any, _word: Any) -> Any:
    """Count the zero bits below the lowest bit that is set; 64 for none."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


def _set_bits(_typing: Any, _word: Any) -> Any:
    """Count the bits that are set."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


load8 = _loader(8, types.uint8)
load32 = _loader(32, types.uint32)
load64 = _loader(64, types.uint64)
store64 = intrinsic(_store_word)
no_digits32 = _finder(_no_digit)
controls32 = _finder(_control)
high32 = _finder(_high)
commas32 = _finder(_equal(ord(",")))
newlines32 = _finder(_equal(ord("\n")))
returns32 = _finder(_equal(ord("\r")))
nuls32 = _finder(_equal(0))
quotes32 = _finder(_equal(ord('"')))
colons32 = _finder(_equal(ord(":")))
spaces32 = _finder(_equal(ord(" ")))
pipes32 = _finder(_equal(ord("|")))
backslashes32 = _finder(_equal(ord("\\")))
dots32 = _finder(_equal(ord(".")))
less32 = _finder(_equal(ord("<")))
greater32 = _finder(_equal(ord(">")))
ampersands32 = _finder(_equal(ord("&")))
ctz = intrinsic(_trailing)
ones = intrinsic(_set_bits)
inlined: Any = numba.njit(nogil=True, forceinline=True, error_model="numpy")
"""Compiles a helper into each kernel that calls it."""


def _eight_of(digits: Any) -> Any:
    """Return the number that eight bytes of 0 to 9 make, the first of them lowest."""
    pairs = digits * _U(10) + (digits >> _U(8))
    value = (pairs & _PAIRS) * _FIRST + ((pairs >> _U(16)) & _PAIRS) * _SECOND
    return np.int64((value >> _U(32)) & _LOW)


eight = inlined(_eight_of)


def _number_of(at: Any, count: Any) -> Any:
    """Return the number of 1 to 18 digits at an address; -1 when some byte is no digit."""
    low = load64(at + count - 8) ^ _ZEROS
    high = load64(at + count - 16) ^ _ZEROS
    first = np.int64(0)
    if count <= 8:
        low &= _ALL << _U(8 * (8 - count))
        high = _U(0)
    elif count <= 16:
        high &= _ALL << _U(8 * (16 - count))
    else:
        for place in range(count - 16):
            digit = np.int64(load8(at + place)) - 48
            if digit < 0 or digit > 9:
                return np.int64(-1)
            first = first * 10 + digit
    if ((low + _NINE_LIMIT) | low | (high + _NINE_LIMIT) | high) & _HIGH != _U(0):
        return np.int64(-1)
    return first * 10_000_000_000_000_000 + eight(high) * 100_000_000 + eight(low)


number = inlined(_number_of)


def _quad_of(at: Any, length: Any) -> Any:
    """Return the IPv4 address of a dotted quad without leading zeros; -1 when the text is none."""
    if length < _QUAD_MIN or length > _QUAD_MAX:
        return np.int64(-1)
    within = (_U(1) << _U(length)) - _U(1)
    dots = dots32(at) & within
    if no_digits32(at) & within != dots:
        return np.int64(-1)
    value, start, bad = np.int64(0), np.int64(0), False
    for octet in range(4):
        end = length
        if octet < 3:
            end = np.int64(ctz(dots))  # 64 when there are no three dots: then the size is wrong
            dots &= dots - _U(1)
        size = end - start
        if size < 1 or size > 3:
            return np.int64(-1)
        digits = ((np.int64(load32(at + end - 3)) & 0xFFFFFF) ^ 0x303030) & (0xFFFFFF << (8 * (3 - size)))
        octet_value = (digits & 0xFF) * 100 + ((digits >> 8) & 0xFF) * 10 + ((digits >> 16) & 0xFF)
        bad |= (octet_value > 255) | (octet_value < _OCTET_MIN[size])
        value = (value << 8) | octet_value
        start = end + 1
    return np.int64(-1) if bad or dots != _U(0) else value


quad = inlined(_quad_of)


def _day_of(value: Any) -> Any:
    """Return the µs since 1970 of a date that is written as the number 20261101; -1 when there is none to 2261."""
    year, month, day = value // 10_000, value // 100 % 100, value % 100
    if year < _YEAR_MIN or year > _YEAR_MAX or month < 1 or month > 12 or day < 1:
        return np.int64(-1)
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > _MONTH_DAYS[month] + (1 if leap and month == 2 else 0):
        return np.int64(-1)
    # Days from 0000-03-01, the year beginning in March: then a leap day is the last of its year.
    early = 1 if month <= 2 else 0
    year -= early
    in_year = (153 * (month + 12 * early - 3) + 2) // 5 + day - 1
    days = 365 * year + year // 4 - year // 100 + year // 400 + in_year - 719_468
    return days * _DAY_US


day_of = inlined(_day_of)


def _date_of(at: Any) -> Any:
    """Return the µs since 1970 of the date `2026-11-01` at an address; -1 when there is none from 1970 to 2261."""
    value = np.int64(0)
    for place in range(10):
        byte = np.int64(load8(at + place))
        if place in (4, 7):
            if byte != 0x2D:
                return np.int64(-1)
        else:
            if byte < 48 or byte > 57:
                return np.int64(-1)
            value = value * 10 + byte - 48
    return day_of(value)


date = inlined(_date_of)


def _clock_of(at: Any, length: Any) -> Any:
    """Return the µs of the day of `13:45:12.123456Z`, up to nine digits; -1 when the text is none."""
    count = length - _CLOCK_BYTES - 1  # digits of the fraction
    if count < -1 or count == 0 or count > 9 or load8(at + length - 1) != _ZULU:
        return np.int64(-1)
    digits = load64(at) ^ _CLOCK
    if ((digits + _CLOCK_LIMIT) | digits) & _HIGH != _U(0):
        return np.int64(-1)
    pairs = digits * _U(10) + (digits >> _U(8))
    hour = np.int64(pairs & _BYTE)
    if hour > 23:
        return np.int64(-1)
    second = (hour * 60 + np.int64((pairs >> _U(24)) & _BYTE)) * 60 + np.int64((pairs >> _U(48)) & _BYTE)
    if count < 0:
        return second * 1_000_000
    fraction = number(at + _CLOCK_BYTES, count)
    if fraction < 0 or load8(at + 8) != _DOT:
        return np.int64(-1)
    fraction = fraction * POWERS[6 - count] if count <= 6 else fraction // POWERS[count - 6]
    return second * 1_000_000 + fraction


clock = inlined(_clock_of)


def _same_middle_of(left: Any, right: Any, length: Any) -> Any:
    """Tell whether two texts of one length are equal behind their first eight and before their last eight bytes."""
    place = np.int64(8)
    while place < length - 8:
        if load64(left + place) != load64(right + place):
            if length - 8 - place >= 8:
                return False
            rest = _U(8 * (8 - (length - 8 - place)))
            if (load64(left + place) ^ load64(right + place)) << rest != _U(0):
                return False
        place += 8
    return True


same_middle = inlined(_same_middle_of)


def _label_of(base: Any, at: Any, length: Any, table: Any, slots: Any, keys: Any, places: Any) -> Any:
    """Return the code of a label, new or known; -1 when there are too many.

    `slots` holds codes + 1; `keys` per code the first and the last eight bytes; `places` where it stands: start and
    length; `places[table, LABELS_MAX, 0]` counts the codes.
    """
    first = load64(at)
    last = _U(0)
    if length < 8:
        first &= (_U(1) << _U(8 * length)) - _U(1)
    else:
        last = load64(at + length - 8)
    mixed = (first ^ (last * _MIX) ^ _U(length)) * _MIX
    slot = np.int64(mixed >> _U(52))
    for _ in range(_PROBES_MAX):
        code = np.int64(slots[table, slot]) - 1
        if code < 0:
            code = places[table, LABELS_MAX, 0]
            if code == LABELS_MAX:
                return np.int64(-1)
            places[table, LABELS_MAX, 0] = code + 1
            slots[table, slot] = code + 1
            keys[table, code, 0], keys[table, code, 1] = first, last
            places[table, code, 0], places[table, code, 1] = at - base, length
            return code
        if (
            keys[table, code, 0] == first
            and keys[table, code, 1] == last
            and places[table, code, 1] == length
            and (length <= 16 or same_middle(at, base + places[table, code, 0], length))
        ):
            return code
        slot = (slot + 1) & (SLOTS - 1)
    return np.int64(-1)


label = inlined(_label_of)
