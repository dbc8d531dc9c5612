"""Memory with pages behind and before it that nobody may touch: a loop that reads past its end dies there."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Guarded:
    """So many bytes in pages of their own, against the guard behind them or, `front`, against the one before them."""

    def __init__(self, size: int, *, front: bool = False) -> None:
        pages = max(-(-size // _PAGE), 1)
        self._held = mmap.mmap(-1, (pages + 2) * _PAGE)
        whole = np.frombuffer(self._held, np.uint8)
        for page in (0, pages + 1):
            if _libc.mprotect(whole.ctypes.data + page * _PAGE, _PAGE, 0):
                raise OSError(ctypes.get_errno(), "mprotect failed")
        start = _PAGE if front else (pages + 1) * _PAGE - size
        self.bytes: npt.NDArray[np.uint8] = whole[start : start + size]
        self.address = int(whole.ctypes.data) + start


def copy_of(array: npt.NDArray[Any], *, front: bool) -> npt.NDArray[Any]:
    """Return a copy of an array in guarded memory; an array of nothing as it is."""
    if not array.size:
        return array
    room = Guarded(array.nbytes, front=front)
    room.bytes[:] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
    return room.bytes.view(array.dtype).reshape(array.shape)


def bytes_at(address: int, size: int) -> bytes:
    """Return the bytes at an address."""
    return ctypes.string_at(address, size)
