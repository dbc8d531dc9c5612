"""The table [layout] of a mapping file."""

from __future__ import annotations

from typing import Any, Final, Protocol

from ingest.mapping.model import Kind, Layout

ENCODINGS: Final = ("utf-8", "latin-1", "cp1252")
COLUMNS_MAX: Final = 2000
_LINE_MAX: Final = 1 << 20
_COMMON: Final = ("kind", "null", "trim")
_LINES: Final = ("encoding", "skip_lines", "comment")
_WORDS: Final = {
    Kind.DELIMITED: (*_COMMON, *_LINES, "delimiter", "quote", "header", "columns"),
    Kind.FIXED_WIDTH: (*_COMMON, *_LINES, "columns", "line_length"),
    Kind.JSON_LINES: (*_COMMON, "skip_lines", "comment"),
    Kind.JSON: (*_COMMON, "records"),
}


class _Place(Protocol):
    """What `ingest.mapping.reader.Place` offers."""

    @property
    def values(self) -> Any: ...
    def fail(self, message: str, key: str | None = None) -> Any: ...
    def only(self, words: tuple[str, ...]) -> None: ...
    def has(self, key: str) -> bool: ...
    def text(self, key: str, default: str | None = None) -> str: ...
    def flag(self, key: str, *, default: bool) -> bool: ...
    def number(self, key: str, default: int, lowest: int = 0, highest: int = 1_000_000) -> int: ...
    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]: ...


def read_layout(place: _Place) -> Layout:
    """Return the layout that the table says.

    Raises:
        ConfigurationError: it says what cannot work.
    """
    name = place.text("kind")
    if name not in list(Kind):
        place.fail(f"is one of {', '.join(Kind)}", "kind")
    kind = Kind(name)
    place.only(_WORDS[kind])
    encoding = place.text("encoding", "utf-8")
    if encoding not in ENCODINGS:
        place.fail(f"is one of {', '.join(ENCODINGS)}", "encoding")
    comment = place.text("comment") if place.has("comment") else None
    if comment is not None and (not comment or "\n" in comment):
        place.fail("is a text within a line", "comment")
    if kind is Kind.FIXED_WIDTH:
        slices = _slices(place)
        length = place.number("line_length", 0, 1, _LINE_MAX) if place.has("line_length") else None
        if length is not None and max(stop for _, stop in slices.values()) > length:
            place.fail("is shorter than a column reaches", "line_length")
    else:
        slices, length = {}, None
    return Layout(
        kind,
        delimiter=_one_character(place, "delimiter", ",") if kind is Kind.DELIMITED else ",",
        quote=_quote(place) if kind is Kind.DELIMITED else "",
        header=place.flag("header", default=False) if kind is Kind.DELIMITED else False,
        columns=_columns(place) if kind is Kind.DELIMITED else (),
        slices=slices,
        line_length=length,
        skip_lines=place.number("skip_lines", 0),
        comment=comment,
        encoding=encoding,
        trim=place.flag("trim", default=kind is Kind.FIXED_WIDTH),
        nulls=frozenset({"", *place.texts("null")}),
        record_path=place.text("records") if place.has("records") else None,
    )


def _one_character(place: _Place, key: str, default: str) -> str:
    text = place.text(key, default)
    if len(text) != 1 or not text.isascii() or text in "\r\n\0":
        place.fail("is one ASCII character", key)
    return text


def _quote(place: _Place) -> str:
    if place.text("quote", '"') == "":
        return ""
    quote = _one_character(place, "quote", '"')
    if quote == place.text("delimiter", ","):
        place.fail("is the delimiter too", "quote")
    return quote


def _columns(place: _Place) -> tuple[str, ...]:
    columns = place.texts("columns")
    if place.flag("header", default=False) == bool(columns):
        place.fail("has either `header = true` or `columns`, the names in their order")
    if len(columns) != len(set(columns)) or len(columns) > COLUMNS_MAX:
        place.fail("has a name twice, or too many of them", "columns")
    return columns


def _slices(place: _Place) -> dict[str, tuple[int, int]]:
    table = place.values.get("columns")
    if not isinstance(table, dict) or not table:
        place.fail("has `columns`, a table of name = [first, last] in characters, counted from 1")
    slices = {}
    for name, span in table.items():
        whole = isinstance(span, list) and len(span) == 2 and all(type(one) is int for one in span)
        if not whole or not 1 <= span[0] <= span[1] <= _LINE_MAX:
            place.fail(f"has a wrong span for {name!r}: it is [first, last], counted from 1", "columns")
        slices[name] = (span[0] - 1, span[1])
    return slices
