"""Keys, parts, catalog, retention, audit log, verification.

`Store` is the facade; the other names are the values that go in and out of it. Each is loaded when it is first used, so
that who needs only `store.files` or `store.clock` does not wait for Arrow and SQL.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from store.audit import AuditEntry
    from store.clock import Clock, SystemClock
    from store.documents import Document, Documents, Put
    from store.model import PartitionStatus, PartRow, Problem, Receipt, ScanQuery, SourceRef, TargetIdentifier
    from store.spooling.spool_format import PushGroup
    from store.spooling.spool_receipts import PushId, PushReceipt
    from store.store import Store

_HOMES: Final = {
    "store.audit": ("AuditEntry",),
    "store.clock": ("Clock", "SystemClock"),
    "store.documents": ("Document", "Documents", "Put"),
    "store.model": ("PartRow", "PartitionStatus", "Problem", "Receipt", "ScanQuery", "SourceRef", "TargetIdentifier"),
    "store.spooling.spool_format": ("PushGroup",),
    "store.spooling.spool_receipts": ("PushId", "PushReceipt"),
    "store.store": ("Store",),
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    """Load a name from its home, and keep it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
