"""A UDP port: datagrams received by a thread of their own into bounded memory, and what the kernel dropped.

When the memory is full nothing is read: the kernel's buffer fills, and then it drops. It counts what it drops, per
socket, and that count is told. What it holds when the port stops is read, beyond that limit too.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from pathlib import Path
from select import POLLIN, poll
from time import monotonic
from types import TracebackType
from typing import Any, Final, NamedTuple

from schemas.errors import ConfigurationError

DATAGRAM_OCTETS_MAX: Final = 65_535
QUEUE_OCTETS_MAX: Final = 32 << 20
"""Datagrams in memory, each counted with what its keeping costs."""
RECEIVE_BUFFER_OCTETS: Final = 8 << 20
GROUP_OCTETS_MAX: Final = 1 << 20
"""So much is taken at once: some 36 000 flows, a second's work; who stops waits for no more."""
_KEEPING_OCTETS: Final = 256
_POLL_S: Final = 0.2
_TABLES: Final = (Path("/proc/net/udp"), Path("/proc/net/udp6"))
_INODE_COLUMN, _DROPS_COLUMN = 9, 12


class Datagram(NamedTuple):
    """What came, and from where (address and port as the socket tells them)."""

    peer: tuple[Any, ...]
    data: bytes

    @property
    def address(self) -> str:
        """The sender's address; one of version 4 as such, whatever the socket's family."""
        text = str(self.peer[0]).partition("%")[0]
        return text.removeprefix("::ffff:") if "." in text else text


class UdpPort:
    """A bound UDP port. Use as a context manager."""

    def __init__(self, host: str, port: int, *, queue_octets_max: int = QUEUE_OCTETS_MAX) -> None:
        """Bind.

        Raises:
            ConfigurationError: the port is taken, or the address is none of this machine.
        """
        self._queue_octets_max = queue_octets_max
        self._socket = _bound(host, port)
        self._socket.settimeout(_POLL_S)
        self._inode = str(os.fstat(self._socket.fileno()).st_ino)
        self._queue: deque[Datagram] = deque()
        self._octets = 0
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._receive, name="lagrum-udp", daemon=True)
        self._thread.start()

    def __enter__(self) -> UdpPort:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def number(self) -> int:
        """The port's number."""
        return int(self._socket.getsockname()[1])

    @property
    def waiting(self) -> int:
        """Datagrams in memory."""
        return len(self._queue)

    def take(self, most: int, *, wait_s: float, gather_s: float) -> list[Datagram]:
        """Return what came: after `wait_s` perhaps nothing, else what came until `gather_s` after the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped, wait_s)
            if self._queue and gather_s:
                end = monotonic() + gather_s
                while len(self._queue) < most and not self._stopped and (left := end - monotonic()) > 0:
                    if self._octets >= min(self._queue_octets_max, GROUP_OCTETS_MAX):
                        break
                    self._changed.wait(left)
            found: list[Datagram] = []
            octets = 0
            while self._queue and len(found) < most and octets < GROUP_OCTETS_MAX:
                found.append(self._queue.popleft())
                octets += len(found[-1].data) + _KEEPING_OCTETS
            self._octets -= octets
            self._changed.notify_all()
        return found

    def drop(self) -> int:
        """Forget what is in memory; return how many datagrams that were."""
        with self._changed:
            number = len(self._queue)
            self._queue.clear()
            self._octets = 0
            self._changed.notify_all()
        return number

    def send(self, peer: tuple[Any, ...], data: bytes) -> bool:
        """Send one datagram; False when the kernel does not take it."""
        try:
            self._socket.sendto(data, peer)
        except OSError:
            return False
        return True

    def kernel_drops(self) -> int:
        """Return how many datagrams the kernel dropped since the port was bound."""
        for table in _TABLES:
            try:
                lines = table.read_text().splitlines()[1:]
            except OSError:
                continue
            for line in lines:
                columns = line.split()
                if len(columns) > _DROPS_COLUMN and columns[_INODE_COLUMN] == self._inode:
                    return int(columns[_DROPS_COLUMN])
        return 0

    def stop_receiving(self) -> None:
        """Read what the kernel holds, and no more; what is in memory can still be taken, and answered."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def close(self) -> None:
        """Read no more, and let go of the port."""
        self.stop_receiving()
        self._socket.close()

    def _receive(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._octets < self._queue_octets_max or self._stopped)
                if self._stopped:
                    break
            self._read()
        # Nobody sends a flow again: what the kernel holds by now came in time. It is no more than its buffer.
        end, held = self._octets + RECEIVE_BUFFER_OCTETS, poll()
        held.register(self._socket, POLLIN)
        while self._octets < end and held.poll(0):
            self._read()

    def _read(self) -> None:
        try:
            data, peer = self._socket.recvfrom(DATAGRAM_OCTETS_MAX)
        except OSError:
            return  # nothing for a while, or an error that an earlier answer met: a port that nobody listens on
        with self._changed:
            self._queue.append(Datagram(peer, data))
            self._octets += len(data) + _KEEPING_OCTETS
            self._changed.notify_all()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_OCTETS)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigurationError(
            f"the listener cannot take UDP port {port}: {error.strerror}",
            hint="another listener may run, or the address is not of this machine",
        ) from None
    return bound
