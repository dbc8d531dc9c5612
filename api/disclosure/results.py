"""What the operator's roles see of a result: its manifest's counts, digests, fields and gaps; never a record."""

from __future__ import annotations

from typing import Any

import orjson

from api.disclosure.model import Task
from api.disclosure.vault import MANIFEST, Vault
from schemas.errors import KeyUnavailableError, NotFoundError
from store import Store

_SHOWN = ("test", "expired", "result", "counts", "fields", "erased_days", "recipient", "snapshot")


def result_of(store: Store, task: Task) -> dict[str, Any] | None:
    """Return what an approver decides on; None when there is no result, or none any more.

    Raises:
        IntegrityError: the manifest at rest was changed.
    """
    if task.delivery_id is None:
        return None
    try:
        manifest = orjson.loads(Vault(store).read(task.delivery_id, MANIFEST))
    except (NotFoundError, KeyUnavailableError):
        return None
    parts = [{name: part[name] for name in ("sequence", "records", "sha256")} for part in manifest["parts"]]
    return {
        **{name: manifest[name] for name in _SHOWN if name in manifest},
        "parts": parts,
        "manifest_sha256": task.result_digest,
    }
