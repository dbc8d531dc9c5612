"""Input as it should not be: pieces of real files in any order, bytes of them changed."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from ingest.source_config import SourceConfig
from schemas.errors import InputError
from tests.ingest.decoding import decode

UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@st.composite
def spoilt(draw: st.DrawFn, pieces: Sequence[bytes], *, pieces_max: int = 8) -> bytes:
    """Pieces one after the other, any bytes at the end, up to four bytes changed."""
    whole = b"".join(draw(st.lists(st.sampled_from(pieces), max_size=pieces_max))) + draw(st.binary(max_size=40))
    return _changed(draw, whole, 4)


@st.composite
def spoilt_lines(draw: st.DrawFn, lines: Sequence[bytes]) -> bytes:
    """Lines between which others stand that no producer wrote, up to six bytes changed."""
    kept = st.lists(st.one_of(st.sampled_from(lines), st.binary(max_size=60)), max_size=8)
    return _changed(draw, b"\n".join(draw(kept)), 6)


def _changed(draw: st.DrawFn, data: bytes, changes_max: int) -> bytes:
    text = bytearray(data)
    for _ in range(draw(st.integers(0, changes_max)) if text else 0):
        text[draw(st.integers(0, len(text) - 1))] = draw(st.integers(0, 255))
    return bytes(text)


def accounts_for(name: str, data: bytes, source: SourceConfig | None = None) -> None:
    """Check that a decoder puts every record in one place; only what begins as UTF-16 may be refused as a whole."""
    try:
        decode(name, data, source)
    except InputError:
        assert data[:2] in UTF_16


def accounts_for_lines(
    name: str, data: bytes, source: SourceConfig | None = None, *, apart: bytes | None = None
) -> None:
    """Check that every line is a row or a reject; blank ones and those that begin with `apart` are neither."""
    if data[:2] in UTF_16:
        return
    rows, rejects = decode(name, data, source)
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    assert len(rows) + len(rejects) == sum(1 for line in lines if apart is None or not line.startswith(apart))
