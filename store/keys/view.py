"""The reading half of the keyring: what is remembered, for how long, and how others' changes are noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import BusyError, IntegrityError, KeyUnavailableError, LagrumError, NotFoundError
from store import files
from store.keys import keyring_copies, layout, ringfile
from store.keys.refs import KeyRef
from store.keys.roots import RootProvider
from store.keys.sealing import derive
from store.place import GONE, PUT_BACK

LEASE_S = 60.0


def boot_seconds() -> float:
    """Return seconds since boot, sleep included: leases are measured with it, nothing else."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class State:
    """What was last read or written, with the keys unwrapped since; replaced as a whole: readers need no lock."""

    ring: ringfile.Ring
    data: bytes = field(repr=False)
    stamp: tuple[int, int, int] | None
    unwrapped: dict[str, bytes] = field(default_factory=dict, repr=False)


class KeyringView:
    """Reads keys; base of the keyring. Readers never wait for a writer of this process."""

    def __init__(self, root: Path, roots: RootProvider, elapsed: Callable[[], float]) -> None:
        self._root = root
        self._roots = roots
        self._elapsed = elapsed
        self._swap = threading.Lock()
        self._state_or_none: State | None = None
        self._checked_s = elapsed()

    @property
    def store_id(self) -> str:
        """The store that these keys belong to."""
        return self._state.ring.header.store_id

    @property
    def generation(self) -> int:
        """The current generation, from 1."""
        return self._state.ring.header.generation

    def leased_generation(self) -> int:
        """Return the current generation, as told at most a lease ago: under it nothing known then was destroyed.

        Raises:
            BusyError: The lease is over and the keyring cannot be read.
        """
        self._check_lease()
        return self.generation

    @property
    def replicas(self) -> tuple[Path, ...]:
        """The registered replicas."""
        return tuple(Path(path) for path in self._state.ring.replicas)

    def key(self, ref: KeyRef) -> bytes:
        """Return the 32 bytes of one key.

        Raises:
            KeyUnavailableError: It was destroyed, or never made.
            BusyError: The lease is over and the keyring cannot be read.
        """
        self._check_lease()
        state = self._state
        text = ref.text
        found = state.unwrapped.get(text)
        if found is None:
            if text not in state.ring.keys and self.refresh():  # another process may have made it just now
                state = self._state
            if text not in state.ring.keys:
                raise KeyUnavailableError("the key was destroyed, or the keyring never had it")
            found = state.unwrapped[text] = state.ring.unwrap(text)
        return found

    def has(self, ref: KeyRef) -> bool:
        """Tell whether the keyring holds a key."""
        self._check_lease()
        return ref.text in self._state.ring.keys

    def refs(self) -> list[KeyRef]:
        """Return what the keyring holds keys for, sorted."""
        self._check_lease()
        return sorted(KeyRef.parse(text) for text in self._state.ring.keys)

    def commitment(self, ref: KeyRef) -> str:
        """Return a commitment to a key, in hex: it may be published, and says nothing about the key.

        Taken before the destruction, it goes into the certificate: whoever shows a key later can be checked against it.

        Raises:
            KeyUnavailableError: The key is gone.
        """
        context = f"{self.store_id}\x00{ref.text}".encode()
        return derive(self.key(ref), "keyring commitment", context).hex()

    def refresh(self) -> bool:
        """Take over what another process changed; destroyed keys leave the memory. True if something had changed.

        Raises:
            BusyError: The keyring cannot be read now; unwrapped keys are forgotten all the same.
            IntegrityError: It was changed by somebody else than us.
        """
        started_s = self._elapsed()
        state = self._state
        try:
            changed = not self._unchanged(state)
            if changed:
                self._install(self._load_beside_writers())
        except LagrumError:
            self.forget()
            raise
        except OSError as exc:
            self.forget()
            raise BusyError("the keyring cannot be read", hint="is the store's disk there?") from exc
        self._checked_s = started_s
        return changed

    def forget(self) -> None:
        """Drop every unwrapped key from memory."""
        with self._swap:
            if self._state_or_none is not None:
                self._state_or_none.unwrapped.clear()

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _state(self) -> State:
        assert self._state_or_none is not None
        return self._state_or_none

    def _install(self, state: State) -> None:
        with self._swap:
            before = self._state_or_none
            if before is not None and before.ring.header.store_id != state.ring.header.store_id:
                # The root was replaced: this store's ring would be written over that of the one that is there.
                raise BusyError(GONE, hint=PUT_BACK)
            if before is not None and before.ring.version > state.ring.version:
                return  # a slow reader must not bring back what a writer has replaced
            self._state_or_none = state
            if before is not None:
                before.unwrapped.clear()

    def _unchanged(self, state: State) -> bool:
        try:
            generation = keyring_copies.read_pointer(self._root)
        except NotFoundError as exc:
            raise IntegrityError("the keyring is gone", hint="restore it from a replica") from exc
        if generation != state.ring.header.generation or state.stamp is None:
            return False
        return stamp_of(layout.ring_path(self._root, generation)) == state.stamp

    def _load(self) -> State:
        # The stamp comes first: what changes after it is found by the next check.
        stamp = stamp_of(layout.ring_path(self._root, keyring_copies.read_pointer(self._root)))
        ring, data = keyring_copies.load(self._root, self._roots)
        return State(ring, data, stamp)

    def _load_beside_writers(self) -> State:
        try:
            return self._load()
        except (LagrumError, OSError):
            # A writer may have moved the files under us: look again when none is at work.
            with files.lock(layout.lock_path(self._root), exclusive=False):
                return self._load()

    def _check_lease(self) -> None:
        if self._elapsed() - self._checked_s > LEASE_S:
            self.refresh()


def stamp_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever a file is replaced: inode, time in ns, size in bytes; None if there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
