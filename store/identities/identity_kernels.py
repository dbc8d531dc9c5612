"""The compiled twin of the assembly of identity blocks (ADR 7); `store.identities.identity` encrypts what it writes."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")

_DIGITS: Final = np.uint64(1)


_CODES: Final = numba.types.Array(numba.int32, 1, "C", readonly=True)
_KEYS: Final = numba.types.Array(numba.uint64, 1, "C", readonly=True)
_BLOCKS: Final = numba.types.Array(numba.uint64, 2, "C")


def _assemble_of(domains: Any, switches: Any, names: Any, beginnings: Any, keys: Any, blocks: Any) -> None:
    """Write the last block of every record's tag: the beginning for its labels, xor the packed key and its mark.

    `beginnings` has a row for each pair (domain, switch), `names` switches to a domain.
    """
    for row in range(len(keys)):
        pair = np.int64(domains[row]) * names + np.int64(switches[row])
        blocks[row, 0] = beginnings[pair, 0] ^ keys[row]
        blocks[row, 1] = beginnings[pair, 1] ^ _DIGITS


assemble: Any = numba.njit(numba.void(_CODES, _CODES, numba.int64, _BLOCKS, _KEYS, _BLOCKS), nogil=True)(_assemble_of)
