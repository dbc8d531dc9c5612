"""Small arrays of integers as text, for the layout of a part: differences, squeezed."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def packed_ints(values: Ints) -> str:
    """Return integers as text; neighbours of like size take little room."""
    steps = np.diff(values.astype("<i8"), prepend=np.int64(0))
    planes = np.ascontiguousarray(steps.astype("<i8").view(np.uint8).reshape(-1, 8).T)
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode()


def unpacked_ints(text: str) -> Ints:
    """Return the integers that `packed_ints` wrote."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(8, -1)
    steps = np.ascontiguousarray(planes.T).view("<i8").reshape(-1)
    return np.cumsum(steps, dtype=np.int64)
