"""Where keys live, below a home: the store's root or a replica. Pure paths, each with its parser.

HOME/keys/root-000001.key          the root key of generation 1
HOME/keys/provider.json            where roots live that are no key files
HOME/keyring/000001.keyring        the keyring of generation 1
HOME/keyring/current               the generation that counts, six digits and a newline
HOME/keyring/intent                a destruction that has begun (store only)
HOME/keyring/lock                  the writers' lock (store only)
HOME/keyring/replica.json          whose replica this is (replicas only)
"""

from __future__ import annotations

import re
from pathlib import Path

_ROOT_NAME = re.compile(r"root-(\d{6,})\.key")
_RING_NAME = re.compile(r"(\d{6,})\.keyring")
_POINTER = re.compile(rb"(\d{6,})\n")


def keys_dir(home: Path) -> Path:
    """Return the directory of root keys."""
    return home / "keys"


def ring_dir(home: Path) -> Path:
    """Return the directory of keyrings."""
    return home / "keyring"


def root_path(home: Path, generation: int) -> Path:
    """Return the path of a generation's root key."""
    return keys_dir(home) / f"root-{generation:06d}.key"


def root_generation(path: Path) -> int | None:
    """Return the generation that a root key's file name tells; None if it is none."""
    match = _ROOT_NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def provider_path(home: Path) -> Path:
    """Return the path of the file that says where roots live that are no key files."""
    return keys_dir(home) / "provider.json"


def ring_path(home: Path, generation: int) -> Path:
    """Return the path of a generation's keyring."""
    return ring_dir(home) / f"{generation:06d}.keyring"


def ring_generation(path: Path) -> int | None:
    """Return the generation that a keyring's file name tells; None if it is none."""
    match = _RING_NAME.fullmatch(path.name)
    return int(match[1]) if match else None


def pointer_path(home: Path) -> Path:
    """Return the path of the pointer to the current generation."""
    return ring_dir(home) / "current"


def pointer_bytes(generation: int) -> bytes:
    """Return the content of the pointer."""
    return f"{generation:06d}\n".encode()


def pointer_generation(data: bytes) -> int | None:
    """Return the generation that a pointer's content tells; None if it cannot be read."""
    match = _POINTER.fullmatch(data)
    return int(match[1]) if match and pointer_bytes(int(match[1])) == data else None


def intent_path(home: Path) -> Path:
    """Return the path of the record of a destruction that has begun."""
    return ring_dir(home) / "intent"


def lock_path(home: Path) -> Path:
    """Return the path of the writers' lock."""
    return ring_dir(home) / "lock"


def marker_path(home: Path) -> Path:
    """Return the path of the file that says whose replica a directory is."""
    return ring_dir(home) / "replica.json"
