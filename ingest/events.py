"""Things about intake that somebody should look at: a log line without personal data, and an entry of the audit log."""

from __future__ import annotations

import logging
from typing import Any

from store import AuditEntry

_log = logging.getLogger("lagrum.intake")


def event(kind: str, source: str, *, secret: dict[str, Any] | None = None, **public: Any) -> AuditEntry:
    """Return the audit entry of an event, and write its log line; `secret` is readable by auditors only."""
    told = "".join(f" {name}={value}" for name, value in public.items())
    _log.warning("%s source=%s%s", kind, source, told)
    return AuditEntry(f"intake.{kind}", {"source": source, **public}, secret)
