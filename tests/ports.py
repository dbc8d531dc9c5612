"""Ports of loopback for programs that must be told theirs, or that come back on it.

A port that the kernel chose may be taken again before the program binds it: by any connection, as its own end. These
lie below the range from which connections take theirs, and each is given once; every process begins elsewhere.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Final

FIRST: Final = 20_000
_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_STEP: Final = 97
_turns: Final = count()


def free_port() -> int:
    """Return a port of loopback that nobody uses, by TCP or UDP, and that no connection will take.

    Raises:
        RuntimeError: there is none.
    """
    end = min(int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32_768, 65_536)
    for _ in range(FIRST, end):
        port = FIRST + (os.getpid() * _STEP + next(_turns)) % (end - FIRST)
        if _is_free(port):
            return port
    raise RuntimeError(f"no port of loopback is free between {FIRST} and {end}")


def _is_free(port: int) -> bool:
    with ExitStack() as stack:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            made = stack.enter_context(socket.socket(socket.AF_INET, kind))
            try:
                made.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
