"""How long the audit log keeps what it says of persons, as data.

Our bound, not the law's, where the law names none: the log has to outlive the time in which an unlawful disclosure can
be prosecuted, and is personal data itself, so it has to end.

Source: Brottsbalken (1962:700) 4:9 c (gross unlawful access, six years at most) with 35:1 first paragraph 3 (ten
years); Regulation (EU) 2016/679 Art 5(1)(e) and 5(2).
"""

from __future__ import annotations

from datetime import date
from typing import Final

AUDIT_MONTHS: Final = 120
"""Calendar months after the month of an entry, during which nothing shortens the log. There is no setting."""
CITATION: Final = "Brottsbalken 4:9 c, 35:1; Regulation (EU) 2016/679 Art 5(1)(e)"

KEPT_KINDS: Final = (
    "audit.epoch",
    "audit.segment-expired",
    "batch",
    "batch.withdrawn",
    "category.ended",
    "clock.confirmed",
    "compaction",
    "disclosure.delivery-key",
    "erasure.",
    "hold.",
    "keyring.",
    "policy.enforced",
    "record.corrected",
    "record.erased",
    "store.",
)
"""Kinds of entries that outlive their segment, since the store's own verification stands on them; one that ends in a
dot is a beginning. Their sealed parts go with the key of their month."""


def is_kept(kind: str) -> bool:
    """Tell whether an entry of that kind outlives its segment."""
    return any(kind == word or (word[-1] == "." and kind.startswith(word)) for word in KEPT_KINDS)


def ends_on(month: date) -> date:
    """Return the day from which a month's entries may go; `month` is its first day."""
    count = month.year * 12 + month.month + AUDIT_MONTHS
    return date(count // 12, count % 12 + 1, 1)
