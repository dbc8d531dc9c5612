"""Where an encrypted file's pages lie is followed on its way to the disk, however that is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from store.parquet import _Pages


@given(st.lists(st.integers(0, 300), max_size=9), st.lists(st.integers(1, 40), max_size=60))
def test_pages_are_found_however_the_file_is_cut(modules: list[int], cuts: list[int]) -> None:
    data = b"PARE" + b"".join(length.to_bytes(4, "little") + bytes(length) for length in modules)
    pages, at = _Pages(), 0
    for cut in [*cuts, len(data)]:
        pages.see(memoryview(data)[at : at + cut])
        at += cut
    whole = [8 + one + two for one, two in zip(modules[::2], modules[1::2], strict=False)]
    assert pages.sizes.tolist() == whole
