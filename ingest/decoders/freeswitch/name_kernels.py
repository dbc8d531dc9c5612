"""Compiled look-up of names among those that a format reads (ADR 38)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import inlined, load64, same_middle

SLOTS: Final = 256
SEEN: Final = 1024
_U = np.uint64
_MIX: Final = _U(0x9E37_79B9_7F4A_7C15)


def _code(at: Any, length: Any, place: Any, table: Any, names: Any) -> Any:
    """Return (what is known under a name in a place, -1 for nothing, hash of the name)."""
    first, last = load64(at), _U(0)
    if length < 8:
        first &= (_U(1) << _U(8 * length)) - _U(1)
    else:
        last = load64(at + length - 8)
    key = _U(length | (place << 32))
    mixed = (first ^ (last * _MIX) ^ key) * _MIX
    slot = np.int64(mixed >> _U(56))
    while table[slot, 2] != _U(0):
        if (
            table[slot, 0] == first
            and table[slot, 1] == last
            and table[slot, 2] == key
            and (length <= 16 or same_middle(at, names + np.int64(table[slot, 3]), length))
        ):
            return np.int64(table[slot, 4]), mixed
        slot = (slot + 1) & (SLOTS - 1)
    return np.int64(-1), mixed


code_of: Any = inlined(_code)


def _is_new(seen: Any, mixed: Any, mark: Any) -> Any:
    """Tell whether a name comes for the first time in the document `mark`, as far as its hash tells."""
    slot = np.int64(mixed >> _U(44)) & (SEEN - 1)
    while seen[slot, 0] == mark:
        if seen[slot, 1] == mixed:
            return False
        slot = (slot + 1) & (SEEN - 1)
    seen[slot, 0], seen[slot, 1] = mark, mixed
    return True


is_new: Any = inlined(_is_new)
