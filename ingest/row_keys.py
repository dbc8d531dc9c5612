"""Record keys for sources that give none: row digest and occurrence number within the delivery.

The key is `r`, 24 hexadecimal digits of BLAKE2b over the row, `-`, and how often the same row came before in this
delivery. So the same file delivered twice brings the same keys and is stored once, and two equal rows of one file stay
two records. What it cannot do: tell a repeated row of an overlapping second file from a new one that looks the same.
The key is stored like any other field, encrypted; what leaves a part is only its keyed tag.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

import pyarrow as pa

from schemas.buffers import Column, as_text, pc
from schemas.errors import InputError

KEYLESS_ROWS_MAX: Final = 5_000_000
"""Rows of one delivery whose digests are remembered, about 100 bytes each."""

_BETWEEN: Final = "\x1f"


class RowKeys:
    """Makes keys for the rows of one delivery, in order. Make one per delivery."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}
        self._rows = 0

    def of_rows(self, rows: Iterable[bytes]) -> Column:
        """Return the keys of rows as delivered, as a string column.

        Raises:
            InputError: the delivery has more rows than can be told apart.
        """
        keys = []
        for row in rows:
            digest = blake2b(row, digest_size=12).digest()
            before = self._seen.get(digest, 0)
            self._seen[digest] = before + 1
            keys.append(f"r{digest.hex()}-{before}")
        self._rows += len(keys)
        if self._rows > KEYLESS_ROWS_MAX:
            raise InputError(
                f"a delivery without record keys holds more than {KEYLESS_ROWS_MAX} records",
                hint="deliver it in smaller files, or with a record_key",
            )
        return pa.array(keys, pa.string())

    def of_table(self, table: pa.Table, names: Sequence[str]) -> Column:
        """Return the keys of decoded rows: the digest is over the named fields that are not null, in their order."""
        texts = [
            pc.binary_join_element_wise(pa.scalar(name), as_text(table.column(name)), "=") for name in sorted(names)
        ]
        # Arrow 26 leaves out a row in which all are null; every row has the empty one.
        first = pa.repeat(pa.scalar(""), table.num_rows)
        joined = pc.binary_join_element_wise(first, *texts, _BETWEEN, null_handling="skip")
        return self.of_rows(text.encode() for text in joined.to_pylist())
