"""Compiled loops of the sieve (ADR 7); `store.identities.sieve` says what the slots mean.

The sixteen slots of a bucket are compared at once, as one vector; addresses are of 64-byte buckets within the sieve.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")
intrinsic: Any = importlib.import_module("numba.extending").intrinsic
ir: Any = importlib.import_module("llvmlite.ir")
types: Any = numba.types

_U = np.uint64
_ONE: Final = _U(1)
_HALF: Final = _U(32)
_LOW: Final = _U(0xFFFF_FFFF)
_BUCKET_BITS: Final = _U(6)
_SLOT_BITS: Final = _U(2)
_FULL: Final = _U(16)


def _generate_equal(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    word, vector = ir.IntType(32), ir.VectorType(ir.IntType(32), 16)
    loaded = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()))
    loaded.align = 64
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), builder.trunc(arguments[1], word), word(0))
    splat = builder.shuffle_vector(
        single, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(word, 16), [word(0)] * 16)
    )
    mask = builder.icmp_unsigned("==", loaded, splat)
    return builder.zext(builder.bitcast(mask, ir.IntType(16)), ir.IntType(64))


def _equal_slots_of(_typing: Any, _address: Any, _entry: Any) -> Any:
    """Return a bit for each of the 16 slots at an address that equals the entry."""
    return types.uint64(types.uint64, types.uint64), _generate_equal


equal_slots: Any = intrinsic(_equal_slots_of)


def _generate_store(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    word = ir.IntType(32)
    builder.store(builder.trunc(arguments[1], word), builder.inttoptr(arguments[0], word.as_pointer()))
    return arguments[1]


def _store_slot_of(_typing: Any, _address: Any, _entry: Any) -> Any:
    """Set the slot at an address."""
    return types.uint64(types.uint64, types.uint64), _generate_store


store_slot: Any = intrinsic(_store_slot_of)


def _generate_load(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    loaded = builder.load(builder.inttoptr(arguments[0], ir.IntType(32).as_pointer()))
    return builder.zext(loaded, ir.IntType(64))


def _load_slot_of(_typing: Any, _address: Any) -> Any:
    """Return the slot at an address."""
    return types.uint64(types.uint64), _generate_load


load_slot: Any = intrinsic(_load_slot_of)


def _generate_prefetch(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
    builder.call(prefetch, [builder.inttoptr(arguments[0], pointer), word(1), word(3), word(1)])
    return arguments[0]


def _prefetch_of(_typing: Any, _address: Any) -> Any:
    """Ask for the cache line at an address."""
    return types.uint64(types.uint64), _generate_prefetch


prefetch: Any = intrinsic(_prefetch_of)


trailing_zeros: Any = importlib.import_module("numba.cpython.unsafe.numbers").trailing_zeros
_AHEAD: Final = 12


def _line_of(address: Any, tag: Any, buckets: Any) -> Any:
    return address + (((tag >> _HALF) * buckets + (((tag & _LOW) * buckets) >> _HALF)) << _BUCKET_BITS)


_line: Any = numba.njit("u8(u8, u8, u8)", nogil=True, inline="always")(_line_of)


def _pass_through_of(address: Any, buckets: Any, tags: Any, drop: Any, start: Any, keep: Any, known: Any) -> Any:
    """Tell in `known`, unless it is empty, which tags [start:] (shifted right by `drop`) are held; `keep` holds them.

    Returns the place at which a shard was full, or the number of tags.
    """
    tell = len(known) > 0
    for place in range(start, len(tags)):
        if place + _AHEAD < len(tags):
            prefetch(_line(address, tags[place + _AHEAD] >> drop, buckets))
        tag = tags[place] >> drop
        entry = max(tag & _LOW, _ONE)
        line = _line(address, tag, buckets)
        last = address + (((tag >> _HALF) * buckets + buckets - _ONE) << _BUCKET_BITS)
        tries = _U(0)
        while True:
            if equal_slots(line, entry) != _U(0):
                if tell:
                    known[place] = 1
                break
            free = equal_slots(line, _U(0))
            if free != _U(0):
                if keep:
                    store_slot(line + (_U(trailing_zeros(free)) << _SLOT_BITS), entry)
                break
            tries += _ONE
            if tries == buckets:
                if keep:
                    return place
                break
            line = line + _U(64) if line != last else address + (((tag >> _HALF) * buckets) << _BUCKET_BITS)
    return len(tags)


pass_through: Any = numba.njit("i8(u8, u8, u8[::1], u8, i8, b1, u1[::1])", nogil=True)(_pass_through_of)


def _grow_of(address: Any, shards: Any, old: Any, new: Any, scratch: Any) -> Any:
    """Spread every shard from `old` to `new` buckets, in place, the last one first; return the entries.

    `scratch` has room for the slots of a shard as it was.
    """
    held = 0
    for number in range(shards):
        shard = shards - _ONE - _U(number)
        source = address + ((shard * old) << _BUCKET_BITS)
        entries = 0
        for slot in range(old * _FULL):
            at = source + (_U(slot) << _SLOT_BITS)
            entry = load_slot(at)
            if entry != _U(0):
                scratch[entries] = entry
                entries += 1
            store_slot(at, _U(0))
        target = address + ((shard * new) << _BUCKET_BITS)
        last = target + ((new - _ONE) << _BUCKET_BITS)
        held += entries
        for slot in range(entries):
            entry = scratch[slot]
            line = target + (((entry * new) >> _HALF) << _BUCKET_BITS)
            while True:
                free = equal_slots(line, _U(0))
                if free != _U(0):
                    store_slot(line + (_U(trailing_zeros(free)) << _SLOT_BITS), entry)
                    break
                line = line + _U(64) if line != last else target
    return held


grow: Any = numba.njit("i8(u8, u8, u8, u8, u8[::1])", nogil=True)(_grow_of)
