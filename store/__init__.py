"""Keys, parts, catalog, retention, audit log, verification.

`Store` is the facade; the other names are the values that go in and out of it.
"""

from store.audit import AuditEntry
from store.clock import Clock, SystemClock
from store.documents import Document, Documents, Put
from store.model import (
    PartitionStatus,
    PartRow,
    Problem,
    Receipt,
    ScanQuery,
    SourceRef,
    TargetIdentifier,
)
from store.spooling.spool_format import PushGroup
from store.spooling.spool_receipts import PushId, PushReceipt
from store.store import Store

__all__ = [
    "AuditEntry",
    "Clock",
    "Document",
    "Documents",
    "PartRow",
    "PartitionStatus",
    "Problem",
    "PushGroup",
    "PushId",
    "PushReceipt",
    "Put",
    "Receipt",
    "ScanQuery",
    "SourceRef",
    "Store",
    "SystemClock",
    "TargetIdentifier",
]
