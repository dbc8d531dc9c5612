"""Compiled loops of usage (ADR 7, ADR 20); `api.billing.usage_tally` says what the arrays mean.

A column that has one value is an array of one, and its step is 0; else its step is 1.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")

NATIONAL: Final = 0
INTERNATIONAL: Final = 1
SHORT_CODE: Final = 2
OTHER: Final = 3
DESTINATIONS: Final = 4

# Columns, in the order of the kernel's arguments and of their steps.
KEPT, SERVICE, SOURCE, DISPOSITION, CALLED, DURATION, BILLABLE, UP, DOWN = range(9)
# What the state tells: groups held, and why the loop ended.
GROUPS: Final = 0
REASON: Final = 1
DONE: Final = 0
CROWDED: Final = 1
OVERFLOW: Final = 2

RECENT: Final = 64
_HIGHEST: Final = 2**63 - 1
_LOWEST: Final = -(2**63)
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)

_INTS: Final = numba.types.Array(numba.int64, 1, "C", readonly=True)
_FLAGS: Final = numba.types.Array(numba.boolean, 1, "C", readonly=True)
_GRID: Final = numba.types.Array(numba.int64, 2, "C", readonly=True)
_OWN: Final = numba.types.Array(numba.int64, 1, "C")
_SUMS: Final = numba.types.Array(numba.int64, 2, "C")


def _own_of(
    values: Any, starts: Any, start_step: Any, wanted: Any, begins: Any, ends: Any, owners: Any, accounts: Any
) -> None:
    """Give rows without an account (0) the owner of their value when they began.

    `wanted` is sorted, with its begins and ends beside it; callers of a part are sorted too, so the search goes on from
    where the row before ended.
    """
    count = len(wanted)
    at = 0  # the first place whose value is not below the row's
    before = np.int64(-1)
    for row in range(len(values)):
        value = values[row]
        if accounts[row] != 0 or value < 0:
            continue
        if value != before:
            before = value
            low, high, stride = 0, count, 1
            if at < count and wanted[at] < value:
                low = at + 1
                while at + stride < count and wanted[at + stride] < value:
                    low = at + stride + 1
                    stride <<= 1
                high = min(at + stride, count)
            else:
                high = at
                while at - stride >= 0 and wanted[at - stride] >= value:
                    high = at - stride
                    stride <<= 1
                low = max(at - stride, 0)
            while low < high:
                middle = (low + high) >> 1
                if wanted[middle] < value:
                    low = middle + 1
                else:
                    high = middle
            at = low
        place = at
        while place < count and wanted[place] == value:
            start = starts[row * start_step]
            if begins[place] <= start < ends[place]:
                accounts[row] = owners[place]
                break
            place += 1


def _class_of(called: Any, country: Any, lows: Any, highs: Any, is_known: Any) -> int:
    """Return the destination of a packed number; `lows` and `highs` bound the national ones by number of digits."""
    if called == 0:
        return OTHER
    top = 2 * 10**6
    if called < top:
        return SHORT_CODE
    for digits in range(lows.shape[1]):
        top *= 10
        if called < top:
            if not is_known:
                return OTHER
            return NATIONAL if lows[country, digits] <= called < highs[country, digits] else INTERNATIONAL
    return OTHER


def _place_of(accounts: Any, cells: Any, account: Any, cell: Any) -> Any:
    """Return where a group lies, or where it would."""
    mask = len(cells) - 1
    mixed = (np.uint64(account) * _MIX) ^ np.uint64(cell)
    mixed *= _MIX
    place = np.int64(mixed >> _HALF) & mask
    while cells[place] >= 0 and (cells[place] != cell or accounts[place] != account):
        place = (place + 1) & mask
    return place


class_of: Any = numba.njit(numba.int64(numba.int64, numba.int64, _GRID, _GRID, numba.boolean), nogil=True)(_class_of)
place_of: Any = numba.njit(numba.int64(_OWN, _OWN, numba.int64, numba.int64), nogil=True)(_place_of)


def _add_of(
    first: Any,
    accounts: Any,
    kept: Any,
    service: Any,
    source: Any,
    disposition: Any,
    called: Any,
    duration: Any,
    billable: Any,
    up: Any,
    down: Any,
    steps: Any,
    services: Any,
    countries: Any,
    left_out: Any,
    known: Any,
    lows: Any,
    highs: Any,
    held_accounts: Any,
    held_cells: Any,
    sums: Any,
    state: Any,
    recent: Any,
) -> int:
    """Add rows from `first` on to their groups; return the first that was not added, `state` tells why.

    `recent` tells where the last group of a cell lies: neighbours have it in common.
    """
    room = 3 * (len(held_cells) >> 2)
    width = 0  # the number of digits of the last national number: the next one mostly has as many
    state[REASON] = DONE
    for row in range(first, len(accounts)):
        if not kept[row * steps[KEPT]] or left_out[disposition[row * steps[DISPOSITION]]]:
            continue
        country = countries[source[row * steps[SOURCE]]]
        number = called[row * steps[CALLED]]
        if lows[country, width] <= number < highs[country, width]:
            way = NATIONAL
        else:
            way = class_of(number, country, lows, highs, known[country])
            if way == NATIONAL:
                width = 0
                while number >= highs[country, width]:
                    width += 1
        cell = services[service[row * steps[SERVICE]]] * DESTINATIONS + way
        account = accounts[row]
        place = recent[cell & (RECENT - 1)]
        if held_cells[place] != cell or held_accounts[place] != account:
            place = place_of(held_accounts, held_cells, account, cell)
            recent[cell & (RECENT - 1)] = place
            if held_cells[place] < 0:
                if state[GROUPS] >= room:
                    state[REASON] = CROWDED
                    return row
                held_accounts[place] = account
                held_cells[place] = cell
                state[GROUPS] += 1
        sums[place, 0] += 1
        for measure in range(4):
            if measure == 0:
                value = duration[row * steps[DURATION]]
            elif measure == 1:
                value = billable[row * steps[BILLABLE]]
            elif measure == 2:
                value = up[row * steps[UP]]
            else:
                value = down[row * steps[DOWN]]
            held = sums[place, measure + 1]
            # Asked before: the compiler takes it that sums do not overflow, and leaves out a check behind them.
            if held > _HIGHEST - value if value > 0 else held < _LOWEST - value:
                state[REASON] = OVERFLOW
                return row
            sums[place, measure + 1] = held + value
    return len(accounts)


def _move_of(accounts: Any, cells: Any, sums: Any, to_accounts: Any, to_cells: Any, to_sums: Any) -> None:
    """Put every group into a larger table."""
    for held in range(len(cells)):
        if cells[held] >= 0:
            place = place_of(to_accounts, to_cells, accounts[held], cells[held])
            to_accounts[place] = accounts[held]
            to_cells[place] = cells[held]
            for measure in range(sums.shape[1]):
                to_sums[place, measure] = sums[held, measure]


own: Any = numba.njit(numba.void(_INTS, _INTS, numba.int64, _INTS, _INTS, _INTS, _INTS, _OWN), nogil=True)(_own_of)
_COLUMNS: Final = [_INTS] * 8
_MEANINGS: Final = [_INTS, _INTS, _FLAGS, _FLAGS, _GRID, _GRID]
add: Any = numba.njit(
    numba.int64(numba.int64, _INTS, _FLAGS, *_COLUMNS, _INTS, *_MEANINGS, _OWN, _OWN, _SUMS, _OWN, _OWN),
    nogil=True,
)(_add_of)
move: Any = numba.njit(numba.void(_OWN, _OWN, _SUMS, _OWN, _OWN, _SUMS), nogil=True)(_move_of)
