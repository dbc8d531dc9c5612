"""Looking for values among the codes of a column: most rows are strangers, and need not be restored to tell. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from store.encoding import bit_packing, derivations
from store.encoding.forms import Form

Range = tuple[int, int]
"""Values or codes [first, last)."""
_KINDS: Final = ("word", "delta", "repeat")


@dataclass(frozen=True, slots=True)
class Sought:
    """Codes of one column, in the form that the column has; none at all where no row can have them."""

    form: Form
    codes: Sequence[Range]

    def among(self, words_of_rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return which rows have one of the codes, given the words of the rows."""
        return self._in(bit_packing.unpack(words_of_rows, self.form.slot))

    def among_values(self, values: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which rows have one of the codes, given the column's own, in the form `delta`."""
        return self._in(values)

    def among_bytes(self, low_bytes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return which rows have one of the codes, given the low bytes of each, in the form `repeat`."""
        codes = np.zeros((len(low_bytes), 8), np.uint8)
        codes[:, : low_bytes.shape[1]] = low_bytes
        return self._in(codes.view(np.uint64).reshape(-1))

    def _in(self, found: Any) -> npt.NDArray[np.bool_]:
        mask: Any = None
        for first, last in self.codes:
            kind = found.dtype.type
            here = found == kind(first) if last == first + 1 else (found >= kind(first)) & (found < kind(last))
            mask = here if mask is None else mask | here
        return np.zeros(len(found), np.bool_) if mask is None else np.asarray(mask)


def sought(form: Form, rule: dict[str, Any] | None, ranges: Sequence[Range]) -> Sought | None:
    """Return the codes of values in these ranges, given a column's form and rule; None where it cannot be told so."""
    if form.kind not in _KINDS:
        return None
    if rule is not None:
        told = derivations.equipment_ranges(rule, ranges) if rule["rule"] == "equipment" else None
        if told is None:
            return None
        ranges = told
    if form.kind == "delta":
        return None if form.nulls else Sought(form, ranges)
    ahead = (1 if form.nulls else 0) - form.base
    lowest, end = 1 if form.nulls else 0, 1 << form.bits
    inside = [(max(first + ahead, lowest), min(last + ahead, end)) for first, last in ranges]
    return Sought(form, [(first, last) for first, last in inside if first < last])
