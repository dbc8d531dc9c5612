"""Texts that are kept as numbers come back letter by letter; what only looks like them stays text."""

from __future__ import annotations

import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.arrow import PACKED
from store import native
from store.encoding import texts
from store.encoding.joined_layouts import likeness
from store.encoding.texts import DIGITS, HEX, LITERAL, NUMBER, Piece
from store.parquet import size_of
from tests.store.encoding.test_columns import SLOW, assert_same, stored_and_read
from tests.store.encoding.test_joined_layouts import some, together

ROWS = texts.ROWS_MIN + 900
RNG = np.random.default_rng(7)
KINDS = {
    "uuid": [str(uuid.UUID(bytes=RNG.bytes(16))) for _ in range(ROWS)],
    "counter behind a time": [f"{1795046400 + n % 800}.{n * 7919 % ROWS}/{n}" for n in range(ROWS)],
    "call-id": [f"call {n * 2654435761 % 2**32:08x}{n:08x}@192.0.2.40" for n in range(ROWS)],
    "fixed width": [f"AB{n:09d}{{}}" for n in RNG.permutation(ROWS).tolist()],
    "largest": [f"{n}/{10**16 - 1 - n}" for n in RNG.permutation(ROWS).tolist()],
}


def order() -> npt.NDArray[np.int64]:
    return np.random.default_rng(3).permutation(ROWS)


def table_of(key: list[str], link: list[str] | None = None) -> pa.Table:
    made: dict[str, Any] = {"record_key_text": key, "start_time": np.arange(len(key)), "call_link_text": link or key}
    arrays = {name: pa.array(values).cast(PACKED.field(name).type) for name, values in made.items()}
    return pa.table({name: arrays[name] for name in PACKED.names if name in arrays})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunks", [1, 3])
def test_texts_of_one_template_are_kept_as_numbers_in_any_order(kind: str, chunks: int) -> None:
    values = KINDS[kind]
    pieces = [pa.array(piece.tolist()) for piece in np.array_split(np.array(values, object), chunks)]
    column = pa.chunked_array(pieces)
    found = texts.of(pa.table({"record_key_text": column}), order(), size_of)["record_key_text"]
    assert found.words is not None and found.words.shape[1] <= 16
    rule = found.rule("record_key_text")
    assert texts.unpack(rule, found.words).to_pylist() == [values[row] for row in order()]
    few = found.words[:5].copy()  # what a lookup restores
    assert texts.unpack(rule, few).to_pylist() == [values[row] for row in order()[:5]]


@pytest.mark.parametrize(
    "strange",
    ["", "0b7e2c1a", "0B7E2C1A-9f60-4d15-8e0a-000000000001", "0b7e2c1a-9f60-4d15-8e0a-0000000000012", None, "ä" * 18],
)
def test_one_row_of_another_form_keeps_the_column_text(strange: str | None) -> None:
    values: list[Any] = [*KINDS["uuid"]]
    values[777] = strange
    assert texts.numbers_of(pa.array(values, pa.string())) is None


def test_leading_zeros_and_signs_are_no_numbers() -> None:
    for strange in ("07", "+7", "-7", "7 ", "", "12345678901234567"):
        values = [f"x/{n}" for n in range(ROWS)]
        values[1234] = f"x/{strange}"
        assert texts.numbers_of(pa.array(values)) is None


def test_a_row_that_no_sample_had_is_an_example() -> None:
    values = [f"{n:04d}x" for n in [*range(1000)] * 6][:ROWS]
    values[1235] = "00fax"
    found = texts.numbers_of(pa.array(values))
    assert found is not None and found.pieces == (Piece(HEX, 4), Piece(LITERAL, 1, "x"))


def test_few_rows_and_noise_stay_text() -> None:
    assert texts.numbers_of(pa.array(KINDS["uuid"][: texts.ROWS_MIN - 1])) is None
    assert texts.numbers_of(pa.array([f"x{'y' * (n % 3)}{n}" for n in range(ROWS)])) is None
    assert texts.of(table_of(KINDS["uuid"]), order(), lambda *_: 12 * 4_096) == {}  # zstd makes less of it
    assert list(texts.of(table_of(KINDS["uuid"]), order(), lambda *_: 13 * 4_096)) == list(texts.COLUMNS)


def test_what_another_column_tells_is_not_kept_twice(tmp_path: Path) -> None:
    link = [key.rpartition("/")[0] for key in KINDS["counter behind a time"]]
    table = table_of(KINDS["counter behind a time"], link)
    reader = stored_and_read(tmp_path / "part", table)
    assert "call_link_text" in reader.names
    assert list(reader.stored_names(["call_link_text"])) == ["record_key_text"]
    assert_same(table, reader.read())
    assert_same(table.select(["call_link_text"]), reader.read(columns=["call_link_text"]))
    assert reader.pages(range(reader.groups)).of(np.array([0, 7, ROWS - 1])).read(["call_link_text"]).column(
        0
    ).to_pylist() == [link[0], link[7], link[-1]]


def test_parts_of_other_numbers_are_restored_together(tmp_path: Path) -> None:
    tables = [table_of([f"{begun + n}.{n}" for n in range(ROWS)][::-1]) for begun in (1795046400, 1795132800)]
    readers = [stored_and_read(tmp_path / str(number), table) for number, table in enumerate(tables)]
    layouts = [reader.layout for reader in readers if reader.layout is not None]
    assert len({likeness(layout) for layout in layouts}) == 1
    assert layouts[0].rules["record_key_text"]["bases"] != layouts[1].rules["record_key_text"]["bases"]
    rows, names = np.array([0, 4_100]), tables[0].column_names
    found = together([some(reader, rows, names) for reader in readers])
    assert_same(pa.concat_tables([table.take(pa.array(rows)) for table in tables]), found)


@SLOW
@given(st.data())
def test_compiled_loops_are_as_their_twins(data: st.DataObject) -> None:
    widths = {NUMBER: 16, DIGITS: 16, HEX: 8}
    kinds = data.draw(st.lists(st.sampled_from([LITERAL, NUMBER, DIGITS, HEX]), min_size=1, max_size=6))
    pieces: list[Piece] = []
    for kind in kinds:
        if kind == LITERAL or (pieces and pieces[-1].kind == NUMBER):  # a literal ends a number without a width
            text = data.draw(st.text("gz{}-/.", min_size=1, max_size=4))
            pieces.append(Piece(LITERAL, len(text), text))
        if kind != LITERAL:
            pieces.append(Piece(kind, widths[NUMBER] if kind == NUMBER else data.draw(st.integers(1, widths[kind]))))
    numbered = [piece for piece in pieces if piece.kind != LITERAL]
    limits = [(16 if piece.kind == HEX else 10) ** piece.width - 1 for piece in numbered]
    rows = data.draw(st.lists(st.tuples(*(st.integers(0, limit) for limit in limits)), min_size=1, max_size=9))
    values = np.array(rows, np.int64).reshape(len(rows), len(numbered))
    expected = texts.written(pieces, values)
    plan, literals = texts.planned(pieces)
    kernels = native.load("store.encoding.text_kernels")
    offsets = np.empty(len(rows) + 1, np.int32)
    out = np.empty(int(kernels.measure(plan, values, offsets)), np.uint8)
    kernels.write(plan, literals, values, offsets, out)
    assert [out[a:b].tobytes().decode() for a, b in pairwise(offsets)] == expected
    again = np.empty_like(values)
    assert kernels.parse(out, offsets, plan, literals, again) == len(rows)
    assert (again == values).all()
    cut = data.draw(st.integers(0, len(out)))  # whatever the bytes are, a row is read as it is written, or not at all
    out[cut : cut + 1] = data.draw(st.integers(0, 127))
    good = kernels.parse(out, offsets, plan, literals, again)
    told = [out[a:b].tobytes().decode() for a, b in pairwise(offsets)]
    assert texts.written(pieces, again[:good]) == told[:good]
    assert good == len(rows) or any(a <= cut < b for a, b in [(offsets[good], offsets[good + 1])])
