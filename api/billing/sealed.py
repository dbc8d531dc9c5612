"""Sealed tables of billing: subscriptions and the figures of closed periods, never in the clear on disk.

ROOT/billing/<kind>-<name>.sealed    Arrow IPC stream, sealed under the key `billing//<kind>/`
"""

from __future__ import annotations

import pyarrow as pa

from schemas.errors import NotFoundError
from store import Store
from store.files import make_dir, unlink_durable, write_atomic
from store.keys import KeyRef, derive, seal, unseal


def keep(store: Store, kind: str, name: str, table: pa.Table) -> None:
    """Seal a table, durable at return; a table of that name is replaced."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    ref = KeyRef("billing", "", kind, "")
    store.keyring.ensure([ref])
    directory = store.root / "billing"
    make_dir(directory)
    blob = seal(_key(store, ref), sink.getvalue().to_pybytes(), _aad(store, kind, name))
    write_atomic(directory / f"{kind}-{name}.sealed", blob)


def read(store: Store, kind: str, name: str) -> pa.Table:
    """Return a sealed table.

    Raises:
        NotFoundError: there is none.
        IntegrityError: it does not authenticate.
    """
    try:
        blob = (store.root / "billing" / f"{kind}-{name}.sealed").read_bytes()
    except FileNotFoundError:
        raise NotFoundError("there is no such table") from None
    plain = unseal(_key(store, KeyRef("billing", "", kind, "")), blob, _aad(store, kind, name))
    with pa.ipc.open_stream(pa.py_buffer(plain)) as reader:
        return reader.read_all()


def remove(store: Store, kind: str, name: str) -> None:
    """Remove a table's ciphertext."""
    unlink_durable(store.root / "billing" / f"{kind}-{name}.sealed", missing_ok=True)


def _key(store: Store, ref: KeyRef) -> bytes:
    return derive(store.keyring.key(ref), "billing table")


def _aad(store: Store, kind: str, name: str) -> bytes:
    return f"billing\x00{store.store_id}\x00{kind}\x00{name}".encode()
