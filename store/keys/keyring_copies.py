"""What is done to one home of keys, the store's root or a replica: deliver, point, sweep, recognise."""

from __future__ import annotations

from pathlib import Path

import orjson

from schemas.errors import BusyError, ConfigurationError, IntegrityError, LagrumError, NotFoundError
from store import files
from store.keys import layout, ringfile
from store.keys.roots import RootProvider

MARKER_FORMAT = "lagrum-replica-1"


def read_pointer(home: Path) -> int:
    """Return the generation that counts in `home`.

    Raises:
        NotFoundError: There is none.
        IntegrityError: It cannot be read.
    """
    generation = layout.pointer_generation(files.read_secret(layout.pointer_path(home), size_bytes_max=64))
    if generation is None:
        raise IntegrityError("the pointer to the current keyring was changed", hint="restore it from a replica")
    return generation


def point(home: Path, generation: int) -> None:
    """Make `generation` the one that counts: the instant at which a change is published."""
    files.write_atomic(layout.pointer_path(home), layout.pointer_bytes(generation))


def make(home: Path) -> None:
    """Make the directories of a home, durably."""
    files.make_dir(layout.keys_dir(home))
    files.make_dir(layout.ring_dir(home))


def sweep(home: Path, roots: RootProvider, keep: int) -> None:
    """Erase every root key and keyring in `home` but generation `keep`, and what interrupted writes left."""
    for generation in roots.generations(home):
        if generation != keep:
            roots.destroy(home, generation)
    for path in sorted(layout.ring_dir(home).iterdir()):
        if layout.ring_generation(path) not in (None, keep):
            files.overwrite_and_unlink(path, missing_ok=True)
    for directory in (layout.keys_dir(home), layout.ring_dir(home)):
        for path in files.temporaries(directory):
            files.overwrite_and_unlink(path, missing_ok=True)


def deliver(source: Path, home: Path, roots: RootProvider, generation: int, data: bytes, *, anew: bool = False) -> None:
    """Put a generation's root key and keyring into `home`, durably; not yet published there.

    Raises:
        BusyError: What was written does not read back the same.
    """
    roots.copy(source, generation, home, anew=anew)
    path = layout.ring_path(home, generation)
    if anew or _content(path) != data:
        files.write_atomic(path, data)
        if _content(path) != data:
            raise BusyError("a keyring replica does not read back what was written", hint="replace its disk")
    else:
        files.fsync_path(path)
        files.fsync_dir(path.parent)


def mark(home: Path, store_id: str) -> None:
    """Make `home` this store's replica; nothing secret is written yet.

    Raises:
        ConfigurationError: It is another store's replica.
    """
    make(home)
    if (owner := _owner(home)) == store_id:
        return
    if owner is not None and layout.pointer_path(home).exists():
        raise ConfigurationError("the directory is a replica of another store")
    if owner is None and layout.pointer_path(home).exists():
        raise ConfigurationError("the directory holds a keyring but is no replica")
    content = {"format": MARKER_FORMAT, "store_id": store_id}
    files.write_atomic(layout.marker_path(home), orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))


def is_replica_of(home: Path, store_id: str) -> bool:
    """Tell whether `home` is marked as this store's replica."""
    return _owner(home) == store_id


def check(home: Path, store_id: str) -> None:
    """Return if `home` is this store's replica and can be reached: an unmounted disk is an empty directory.

    Raises:
        BusyError: It is not there.
    """
    if _owner(home) != store_id:
        raise BusyError(
            "a registered keyring replica cannot be reached",
            hint="mount it, register it again, or remove it from the keyring",
        )


def bring_up(
    source: Path, home: Path, roots: RootProvider, ring: ringfile.Ring, data: bytes, *, anew: bool = False
) -> None:
    """Make a replica hold exactly the store's current generation, durably, and nothing older.

    `anew` writes again what already reads well: after an I/O error that proves nothing.

    Raises:
        BusyError: It cannot be reached.
        IntegrityError: It holds, or claims to hold, a newer keyring than the store: it is left as it is.
    """
    generation = ring.header.generation
    check(home, ring.header.store_id)
    theirs = read_version(home, ring.header.store_id)
    if theirs is not None and theirs > ring.version:
        raise IntegrityError(
            "a replica holds a newer keyring than the store",
            hint="open the store again, or restore the keyring from it",
        )
    deliver(source, home, roots, generation, data, anew=anew)
    if anew or _content(layout.pointer_path(home)) != layout.pointer_bytes(generation):
        point(home, generation)
    sweep(home, roots, generation)


def read_header(home: Path) -> ringfile.Header | None:
    """Return the header of the keyring that counts in `home` (not authenticated); None if it cannot be read."""
    try:
        return ringfile.read_header(files.read_secret(layout.ring_path(home, read_pointer(home))))
    except LagrumError:
        return None


def read_version(home: Path, store_id: str) -> tuple[int, int] | None:
    """Return generation and revision that a home says it holds (not authenticated); None if it has none."""
    header = read_header(home)
    return (header.generation, header.revision) if header and header.store_id == store_id else None


def load(home: Path, roots: RootProvider) -> tuple[ringfile.Ring, bytes]:
    """Return the keyring that counts in `home`, authenticated, and its file's content.

    Raises:
        NotFoundError: There is no keyring.
        IntegrityError: Something of it was changed or is missing.
    """
    generation = read_pointer(home)
    try:
        data = files.read_secret(layout.ring_path(home, generation))
        header = ringfile.read_header(data)
        if header.generation != generation:
            raise IntegrityError("a keyring has another generation than its name says")
        root = roots.open(home, header.store_id, generation)
    except NotFoundError as exc:
        raise IntegrityError(
            "the current keyring or its root key is missing", hint="restore it from a replica"
        ) from exc
    return ringfile.decode(data, root), data


def erase(home: Path, roots: RootProvider) -> None:
    """Erase everything of a replica."""
    sweep(home, roots, keep=-1)
    files.unlink_durable(layout.provider_path(home), missing_ok=True)
    files.unlink_durable(layout.pointer_path(home), missing_ok=True)
    files.unlink_durable(layout.marker_path(home), missing_ok=True)


def _owner(home: Path) -> str | None:
    data = _content(layout.marker_path(home))
    try:
        value = orjson.loads(data or b"")
        return str(value["store_id"]) if value["format"] == MARKER_FORMAT else None
    except (ValueError, KeyError, TypeError):
        return None


def _content(path: Path) -> bytes | None:
    try:
        return files.read_secret(path)
    except (LagrumError, OSError):
        return None
