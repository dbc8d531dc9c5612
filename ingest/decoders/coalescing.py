"""Many small deliveries read as one: a stretch costs the same, whether it has one record or some thousands.

Only what is plain goes this road. Where something is refused, or a delivery is not made of whole lines, each is read by
itself, with the result that it has alone.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from ingest.decoders.base import Decoded
from ingest.source_config import SourceConfig

Decode = Callable[[BinaryIO, SourceConfig], Iterator[Decoded]]
Together = tuple[Decoded, Sequence[int]] | None


def lines_together(decode: Decode, bodies: Sequence[bytes], source: SourceConfig) -> Together:
    """Read bodies of which every line that is not blank is a record; return them with each body's last position.

    None when they have to be read one by one.
    """
    if not all(body.endswith(b"\n") for body in bodies):
        return None
    counts = [1 if body.find(b"\n") == len(body) - 1 else _filled_lines(body) for body in bodies]
    return joined(decode, bodies, counts, source)


def joined(decode: Decode, bodies: Sequence[bytes], counts: Sequence[int], source: SourceConfig) -> Together:
    """Read bodies that have so many records each as one delivery; None unless it has just these, none refused."""
    stretches = [part for part in decode(io.BytesIO(b"".join(bodies)), source) if part.table.num_rows]
    if len(stretches) != 1 or stretches[0].rejects or stretches[0].table.num_rows != sum(counts):
        return None
    return stretches[0], list(itertools.accumulate(counts))


def _filled_lines(body: bytes) -> int:
    return sum(1 for line in body.split(b"\n") if line and not line.isspace())
