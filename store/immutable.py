"""The mark of the file system by which nobody opens, renames or removes a file, as `chattr +i` sets it."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

_GET_FLAGS: Final = 0x80086601  # linux/fs.h, 64 bits
_SET_FLAGS: Final = 0x40086602
_IMMUTABLE: Final = 0x10


def mark(path: Path, wanted: bool) -> bool:
    """Set or clear the mark; False if it is not allowed, or if there was none to clear."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, _GET_FLAGS, bytes(struct.calcsize("l"))))
        after = flags | _IMMUTABLE if wanted else flags & ~_IMMUTABLE
        if after == flags:
            return wanted
        fcntl.ioctl(fd, _SET_FLAGS, struct.pack("l", after))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
