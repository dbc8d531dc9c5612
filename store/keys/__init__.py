"""Root key, keyring, sealing: the only place that holds the store's keys."""

from store.keys.keyring import Keyring
from store.keys.modules import ModulePlace, Place, TransitPlace, roots_of
from store.keys.refs import KeyRef
from store.keys.roots import FileRoots, Root, RootProvider, needs_passphrase
from store.keys.sealing import KEY_BYTES, SEAL_OVERHEAD_BYTES, derive, seal, seal_series, unseal, unseal_series
from store.keys.view import LEASE_S

__all__ = [
    "KEY_BYTES",
    "LEASE_S",
    "FileRoots",
    "KeyRef",
    "Keyring",
    "ModulePlace",
    "Place",
    "Root",
    "RootProvider",
    "SEAL_OVERHEAD_BYTES",
    "TransitPlace",
    "derive",
    "needs_passphrase",
    "roots_of",
    "seal",
    "seal_series",
    "unseal",
    "unseal_series",
]
