"""The audit log: a Merkle log with signed checkpoints, whose entries are durable before anything is done on them."""

from store.audit.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from store.audit.entries import EPOCH_KIND, AuditEntry, StoredEntry
from store.audit.log import Appended, AuditLog
from store.audit.merkle import leaf_hash, verify_consistency, verify_inclusion
from store.audit.shut import ShutLog
from store.audit.verify import verify_directory

__all__ = [
    "EPOCH_KIND",
    "Appended",
    "AuditEntry",
    "AuditLog",
    "Checkpoint",
    "ShutLog",
    "StoredEntry",
    "VerifierKey",
    "leaf_hash",
    "open_checkpoint",
    "verify_consistency",
    "verify_directory",
    "verify_inclusion",
]
