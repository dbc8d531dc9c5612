"""The keyring: every key of the store, wrapped, in one small file per generation.

Adding keys rewrites the current generation's file with the next revision. Destroying keys makes the next generation
without them, under a new root key, and destroys the old root key and keyring in every registered place:

    (1) the intent is made durable: from here on the destruction will happen
    (2) root key n+1 and keyring n+1 are written, synced and read back
    (3) both are delivered to every replica
    (4) the pointer moves to n+1: published
    (5) root key n and keyring n are overwritten and unlinked, in the store and on every replica
    (6) the intent is removed

A crash before (1) changes nothing; one after it is rolled forward by the next opening, or by the next change.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from schemas.errors import BusyError, ConfigurationError, LagrumError, NotFoundError
from store import files, locks
from store.keys import keyring_copies, layout, ringfile
from store.keys.modules import roots_at
from store.keys.refs import KeyRef
from store.keys.roots import FileRoots, RootProvider
from store.keys.sealing import KEY_BYTES
from store.keys.view import KeyringView, State, boot_seconds, stamp_of
from store.shared_dirs import refuse_shared_dir


class Keyring(KeyringView):
    """All keys of one store; safe for threads, and for processes that share the store.

    A key taken with `key` must not be kept longer than the work at hand: the lease of `LEASE_S` binds what the keyring
    itself remembers. A service that lives long calls `refresh` at least that often, busy or not.
    """

    def __init__(self, root: Path, roots: RootProvider, elapsed: Callable[[], float]) -> None:
        super().__init__(root, roots, elapsed)
        self._writers = threading.Lock()
        self._settled: tuple[int, int] | None = None
        self._suspect = False
        self._lagging: tuple[Path, ...] = ()

    # -- opening ------------------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        store_id: str,
        passphrase: bytes | None = None,
        replicas: Iterable[Path] = (),
        roots: RootProvider | None = None,
        elapsed: Callable[[], float] = boot_seconds,
    ) -> Keyring:
        """Make the first generation in `root`, and on each replica, durably.

        Raises:
            ConfigurationError: There is a keyring already, or a replica directory cannot be one.
            BusyError: Something could not be written; the same call may be repeated.
        """
        made = cls(root, roots or FileRoots(passphrase), elapsed)
        registered = tuple(str(made._replica_path(path)) for path in replicas)
        with _writable():
            keyring_copies.make(root)
            with files.lock(layout.lock_path(root), exclusive=True):
                if layout.pointer_path(root).exists():
                    raise ConfigurationError("there is a keyring already")
                keyring_copies.sweep(root, made._roots, keep=-1)
                for path in registered:
                    keyring_copies.mark(Path(path), store_id)
                made._write_generation(store_id, 1, registered, {})
        return cls.open(root, roots=made._roots, elapsed=elapsed)

    @classmethod
    def open(
        cls,
        root: Path,
        passphrase: bytes | None = None,
        *,
        roots: RootProvider | None = None,
        elapsed: Callable[[], float] = boot_seconds,
    ) -> Keyring:
        """Open the keyring, finish what a crash interrupted, and bring stale replicas up to date.

        A replica that cannot be reached does not stop the opening (see `lagging`); it stops `ensure` and `destroy`.

        Raises:
            NotFoundError: There is no keyring.
            PermissionsError: Others may use the root key or the keyring.
            ConfigurationError: The passphrase is missing or wrong.
            IntegrityError: A file was changed or is missing.
        """
        opened = cls(root, roots or roots_at(root, passphrase), elapsed)
        if not layout.pointer_path(root).exists():
            raise NotFoundError(
                "there is no keyring", hint="make the store first, or restore its keyring from a replica"
            )
        for directory in (layout.keys_dir(root), layout.ring_dir(root)):
            refuse_shared_dir(directory)
        with _writable(), files.lock(layout.lock_path(root), exclusive=True):
            opened._install(opened._load())
            opened._adopt_newest()
            with suppress(BusyError):
                opened._recover()
                opened._settle()
        return opened

    @classmethod
    def unmake(cls, root: Path, replicas: Iterable[Path] = ()) -> None:
        """Erase the keyring of a store that was never completely made, and its copies on these replicas.

        Raises:
            BusyError: Something could not be erased; the same call may be repeated.
        """
        with _writable():
            keyring_copies.make(root)
            header = keyring_copies.read_header(root)
            for replica in replicas:
                if header is not None and keyring_copies.is_replica_of(replica, header.store_id):
                    keyring_copies.erase(replica, roots_at(replica))
            keyring_copies.erase(root, roots_at(root))

    @classmethod
    def restore(
        cls, root: Path, replica: Path, passphrase: bytes | None = None, *, roots: RootProvider | None = None
    ) -> Keyring:
        """Bring the current keyring back into `root` from a replica, and open it.

        Raises:
            ConfigurationError: The store holds a newer keyring, or another store's.
            IntegrityError: The replica's files do not authenticate.
        """
        roots = roots or roots_at(replica, passphrase)
        ring, data = keyring_copies.load(replica, roots)
        with _writable():
            keyring_copies.make(root)
            with files.lock(layout.lock_path(root), exclusive=True):
                present = keyring_copies.read_header(root)
                if present is not None and present.store_id != ring.header.store_id:
                    raise ConfigurationError("the replica belongs to another store")
                if present is not None and (present.generation, present.revision) > ring.version:
                    raise ConfigurationError("the store holds a newer keyring than the replica")
                keyring_copies.deliver(replica, root, roots, ring.header.generation, data)
                keyring_copies.point(root, ring.header.generation)
        return cls.open(root, roots=roots)

    @property
    def root_kind(self) -> str:
        """Where the root key lives: `file`, or `held` by a device or a service that does not give it out."""
        return "file" if isinstance(self._roots, FileRoots) else "held"

    @property
    def lagging(self) -> tuple[Path, ...]:
        """The replicas that could not be reached when last tried: they may hold old keys, and lack new ones."""
        return self._lagging

    # -- changing -----------------------------------------------------------------------------------------------------

    def ensure(self, refs: Iterable[KeyRef]) -> None:
        """Make the keys that are missing; at return all are durable, in the store and on every replica.

        It makes a key again that was destroyed: whether an erased partition may come back is not decided here.

        Raises:
            BusyError: The store or a replica cannot be written; nothing may be acknowledged that needs these keys.
        """
        wanted = {ref.text for ref in refs}
        self.refresh()
        ring = self._state.ring
        if self._settled == ring.version and not self._suspect and wanted <= ring.keys.keys():
            return
        with self._writing():
            ring = self._state.ring
            if missing := sorted(wanted - ring.keys.keys()):
                self._check_replicas()
                self._write(ring.with_keys({ref: os.urandom(KEY_BYTES) for ref in missing}))
            self._settle()

    def destroy(self, refs: Iterable[KeyRef]) -> int:
        """Destroy keys and the root key that wrapped them; return the generation that no longer holds them.

        Keys that are gone already are no error. At return no registered copy is left in any file.

        Raises:
            BusyError: A place cannot be written. If the destruction had begun, it is finished by the next change or
                opening that reaches every place; calling again is right in either case.
        """
        victims = {ref.text for ref in refs}
        with self._writing():
            present = victims & self._state.ring.keys.keys()
            if present:
                self._begin(sorted(present))
            self._settle()
        return self.generation

    def rotate(self) -> int:
        """Make the next generation under a new root key, with all keys; return it.

        Raises:
            BusyError: As `destroy`.
        """
        with self._writing():
            self._begin([])
            self._settle()
        return self.generation

    def add_replica(self, path: Path) -> None:
        """Register a directory that holds keyring and root key from now on; repeat it for one that was replaced.

        Raises:
            ConfigurationError: It is the store's own directory, or another store's replica.
            BusyError: It cannot be written.
        """
        target = self._replica_path(path)
        with self._writing(recover=False):
            ring = self._state.ring
            keyring_copies.mark(target, self.store_id)
            # Registered before a key is in it: a crash never leaves an unregistered copy.
            if str(target) not in ring.replicas:
                self._write(ring.with_replicas((*ring.replicas, str(target))))
            self._settled = None
            self._recover()
            self._settle()

    def remove_replica(self, path: Path) -> bool:
        """Erase a replica and forget it; False if it could not be reached, and a copy of keys may live on there.

        Raises:
            NotFoundError: It is not registered.
            BusyError: The store cannot be written.
        """
        target = self._replica_path(path)
        with self._writing(recover=False):
            ring = self._state.ring
            if str(target) not in ring.replicas:
                raise NotFoundError("the directory is not a registered replica")
            try:
                keyring_copies.check(target, self.store_id)
                keyring_copies.erase(target, self._roots)
                erased = True
            except (LagrumError, OSError):
                erased = False
            self._write(ring.with_replicas(tuple(other for other in ring.replicas if other != str(target))))
            with suppress(BusyError):
                self._recover()
                self._settle()
        return erased

    # -- inside -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, *, recover: bool = True) -> Iterator[None]:
        path = layout.lock_path(self._root)
        with locks.within(self._writers, "keyring"), _writable(), files.lock(path, exclusive=True):
            try:
                if not self._unchanged(self._state):
                    self._install(self._load())
                if recover:
                    self._recover()
                yield
            except OSError:
                # What the disk holds is unknown, and a later sync of the same file could lie.
                self._suspect = True
                raise

    def _write(self, ring: ringfile.Ring) -> None:
        data = ring.encode()
        path = layout.ring_path(self._root, ring.header.generation)
        files.write_atomic(path, data)
        self._install(State(ring, data, stamp_of(path)))

    def _write_generation(
        self, store_id: str, generation: int, replicas: tuple[str, ...], keys: dict[str, bytes]
    ) -> None:
        # (2)
        root = self._roots.create(self._root, store_id, generation)
        secret = os.urandom(KEY_BYTES)
        ring = ringfile.new_ring(root, secret, store_id=store_id, generation=generation, replicas=replicas, keys=keys)
        data = ring.encode()
        path = layout.ring_path(self._root, generation)
        files.write_atomic(path, data)
        again = ringfile.decode(files.read_secret(path), self._roots.open(self._root, store_id, generation))
        if again.unwrap_all() != keys:
            raise BusyError("the new keyring does not read back what was written", hint="check the store's disk")
        # (3)
        for replica in replicas:
            keyring_copies.check(Path(replica), store_id)
            keyring_copies.deliver(self._root, Path(replica), self._roots, generation, data)
        # (4)
        keyring_copies.point(self._root, generation)
        self._install(State(ring, data, stamp_of(path)))

    def _begin(self, victims: list[str]) -> None:
        self._check_replicas()
        # (1)
        files.write_atomic(layout.intent_path(self._root), ringfile.encode_intent(self._state.ring, victims))
        self._recover()

    def _recover(self) -> None:
        """Finish a destruction that has begun."""
        path = layout.intent_path(self._root)
        try:
            intent = files.read_secret(path)
        except NotFoundError:
            return
        ring = self._state.ring
        if ringfile.intent_generation(intent) == ring.header.generation:
            victims = set(ringfile.decode_intent(intent, ring))
            keyring_copies.sweep(self._root, self._roots, keep=ring.header.generation)  # a half-made n+1
            self._check_replicas()
            survivors = {ref: key for ref, key in ring.unwrap_all().items() if ref not in victims}
            self._write_generation(ring.header.store_id, ring.header.generation + 1, ring.replicas, survivors)
        # (5)
        self._settled = None
        self._settle()
        # (6)
        files.unlink_durable(path, missing_ok=True)

    def _settle(self) -> None:
        """Make sure that the current revision is durable everywhere, and that nothing older is left anywhere."""
        state = self._state
        if self._settled == state.ring.version and not self._suspect:
            return
        generation = state.ring.header.generation
        path = layout.ring_path(self._root, generation)
        if self._suspect:
            files.write_atomic(path, state.data)
            keyring_copies.point(self._root, generation)
            self._install(State(state.ring, state.data, stamp_of(path)))
        else:
            for name in (path, layout.pointer_path(self._root)):
                files.fsync_path(name)
            files.fsync_dir(path.parent)
        keyring_copies.sweep(self._root, self._roots, keep=generation)
        behind: list[Path] = []
        for replica in map(Path, state.ring.replicas):
            try:
                anew = replica in self._lagging
                keyring_copies.bring_up(self._root, replica, self._roots, state.ring, state.data, anew=anew)
            except (LagrumError, OSError):
                behind.append(replica)
        self._lagging = tuple(behind)
        if behind:
            raise BusyError(
                "a registered keyring replica cannot be written",
                hint="mount it, register it again, or remove it from the keyring",
            )
        self._settled, self._suspect = state.ring.version, False

    def _check_replicas(self) -> None:
        for replica in self.replicas:
            keyring_copies.check(replica, self.store_id)

    def _adopt_newest(self) -> None:
        """Take the keyring over from a replica that is ahead: this root was restored from an old backup."""
        ring = self._state.ring
        for replica in map(Path, ring.replicas):
            version = keyring_copies.read_version(replica, ring.header.store_id)
            if version is None or version <= self._state.ring.version:
                continue
            try:
                newer, data = keyring_copies.load(replica, self._roots)
            except (LagrumError, OSError):
                continue  # it claims what it cannot show: left as it is, and no change is taken until it is removed
            keyring_copies.deliver(replica, self._root, self._roots, newer.header.generation, data)
            keyring_copies.point(self._root, newer.header.generation)
            self._install(self._load())

    def _replica_path(self, path: Path) -> Path:
        resolved, root = path.resolve(), self._root.resolve()
        if resolved == root or root in resolved.parents or resolved in root.parents:
            raise ConfigurationError("a replica must lie outside the store", hint="best on another disk or machine")
        return resolved


@contextmanager
def _writable() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise BusyError("the keyring cannot be written", hint="check the disk of the store and its replicas") from exc
