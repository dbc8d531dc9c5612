"""A mapping file (TOML) to a mapping; everything that cannot work is refused with its place and line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final, NoReturn

from ingest.mapping.layout import read_layout
from ingest.mapping.model import FILE_COLUMN, SOURCE_ZONE, Control, FieldMap, Key, Kind, MappingFile, Rule, Step
from ingest.mapping.steps import FALLIBLE, STEPS
from ingest.mapping.times import ISO, TimeFormat, time_format
from ingest.mapping.toml_locations import Path, line_of, path_text
from ingest.times import ZoneTimes
from schemas.errors import ConfigurationError
from schemas.fields import BY_NAME, INPUT_ALIASES, STORE_FIELDS
from schemas.fields import Kind as FieldKind

MAPPING_BYTES_MAX: Final = 256 << 10
_HELP: Final = "docs/sources/mapping.md tells what a mapping says"
_TABLES: Final = ("layout", "fields", "key", "header_line", "trailer_line", "lookups")
_RULE_WORDS: Final = ("from", "join", "first_of", "value", "when", "steps", "format", "zone")


@lru_cache(maxsize=64)
def read_mapping(text: str) -> MappingFile:
    """Return the mapping that a file says.

    Raises:
        ConfigurationError: it is not TOML, or says what cannot work; the message names the place and its line.
    """
    if len(text.encode()) > MAPPING_BYTES_MAX:
        raise ConfigurationError(f"a mapping has at most {MAPPING_BYTES_MAX} bytes")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line [0-9]+, column [0-9]+|at end of document", str(error))
        where = f" ({place[0]})" if place else ""
        raise ConfigurationError(f"the mapping is not TOML{where}", hint=_HELP) from None
    return _Reader(text).read(tables)


class Place:
    """One table of the file and where it stands; asks for values by type and refuses what it does not know."""

    def __init__(self, reader: _Reader, path: Path, values: Any) -> None:
        self._reader, self.path = reader, path
        if not isinstance(values, Mapping):
            self.fail("is a table")
        self.values: Mapping[str, Any] = values

    def fail(self, message: str, key: str | None = None) -> NoReturn:
        """Refuse the table, or one key of it."""
        self._reader.fail((*self.path, key) if key is not None else self.path, message)

    def only(self, words: tuple[str, ...]) -> None:
        """Refuse keys that are not among `words`."""
        for key in self.values:
            if key not in words:
                self.fail(f"is not known here; known are {', '.join(words)}", key)

    def has(self, key: str) -> bool:
        """Tell whether a key is given."""
        return key in self.values

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text."""
        value = self.values.get(key, default)
        if value is None:
            self.fail(f"lacks {key}")
        if not isinstance(value, str):
            self.fail("is a text", key)
        return value

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            self.fail("is true or false", key)
        return value

    def number(self, key: str, default: int, lowest: int = 0, highest: int = 1_000_000) -> int:
        """Return a whole number."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            self.fail(f"is a whole number from {lowest} to {highest}", key)
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts; one text is a list of one."""
        value = self.values.get(key, list(default))
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            self.fail("is a text or a list of texts", key)
        return tuple(value)


class _Reader:
    """Reads one file."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lookups: Mapping[str, Any] = {}

    def fail(self, path: Path, message: str) -> NoReturn:
        line = line_of(self._text, path)
        where = f" (line {line})" if line is not None else ""
        raise ConfigurationError(f"mapping: {path_text(path)}{where} {message}", hint=_HELP)

    def read(self, tables: Mapping[str, Any]) -> MappingFile:
        whole = Place(self, (), tables)
        for name in tables:
            if name not in _TABLES:
                self.fail((name,), f"is not known; the tables are {', '.join(_TABLES)}")
        for name in ("layout", "fields", "key"):
            if name not in tables:
                raise ConfigurationError(f"mapping: there is no table [{name}]", hint=_HELP)
        self._lookups = Place(self, ("lookups",), whole.values.get("lookups", {})).values
        layout = read_layout(Place(self, ("layout",), tables["layout"]))
        fields = self._fields(tables["fields"])
        mapping = MappingFile(
            layout,
            fields,
            self._key(Place(self, ("key",), tables["key"]), fields),
            self._control("header_line", tables, layout.kind),
            self._control("trailer_line", tables, layout.kind),
        )
        self._check_columns(mapping)
        return mapping

    def _fields(self, table: Any) -> tuple[FieldMap, ...]:
        place = Place(self, ("fields",), table)
        made: dict[str, FieldMap] = {}
        for name, body in place.values.items():
            field_name, factor = INPUT_ALIASES.get(name, (name, 1))
            if field_name == "record_key":
                place.fail("is set under [key]", name)
            if field_name not in BY_NAME:
                place.fail("is no field of the record; docs/FIELDS.md lists them", name)
            if field_name in STORE_FIELDS:
                place.fail("is set by the store and cannot be mapped", name)
            if field_name in made:
                place.fail("is mapped a second time under its other name", name)
            many = isinstance(body, list)
            bodies = body if many else [body]
            paths: list[Path] = [("fields", name, *([number] if many else [])) for number in range(len(bodies))]
            rules = [self._rule(Place(self, path, one), name) for path, one in zip(paths, bodies, strict=True)]
            if not rules:
                place.fail("is an empty list", name)
            for number, rule in enumerate(rules[:-1]):
                if not rule.when:
                    self.fail(("fields", name, number), "has no `when`, so the ones after it would never be used")
            made[field_name] = FieldMap(name, BY_NAME[field_name], factor, tuple(rules))
        if "start_time" not in made:
            place.fail("lacks start_time, without which there is no record")
        return tuple(made.values())

    def _rule(self, place: Place, name: str) -> Rule:
        place.only(_RULE_WORDS)
        if sum(place.has(word) for word in ("from", "first_of", "value")) != 1:
            place.fail("has one of `from`, `first_of` and `value`")
        steps = place.values.get("steps", [])
        if not isinstance(steps, list):
            place.fail("is a list of tables", "steps")
        when = place.values.get("when", {})
        conditions = Place(self, (*place.path, "when"), when)
        rule = Rule(
            when=tuple((column, frozenset(conditions.texts(column))) for column in conditions.values),
            columns=place.texts("first_of") or place.texts("from"),
            join=place.text("join", ""),
            first_of=place.has("first_of"),
            constant=place.text("value") if place.has("value") else None,
            steps=tuple(self._step((*place.path, "steps", number), one) for number, one in enumerate(steps)),
        )
        if rule.constant is None and not rule.columns:
            place.fail("names no column")
        field_name = INPUT_ALIASES.get(name, (name, 1))[0]
        if BY_NAME[field_name].kind is FieldKind.TIME:
            return replace(rule, formats=self._formats(place), zone=self._zone(place))
        for word in ("format", "zone"):
            if place.has(word):
                place.fail("is for times, and this field is none", word)
        return rule

    def _formats(self, place: Place) -> tuple[TimeFormat, ...]:
        formats = []
        for text in place.texts("format", (ISO,)):
            try:
                formats.append(time_format(text))
            except ValueError as error:
                place.fail(f"cannot be used: {error}", "format")
        shapes = [form.shape for form in formats]
        if not formats or len(set(shapes)) != len(shapes):
            place.fail("has two formats between which nothing in the text decides: name one of them", "format")
        return tuple(formats)

    def _zone(self, place: Place) -> str:
        zone = place.text("zone", SOURCE_ZONE)
        if zone != SOURCE_ZONE:
            try:
                ZoneTimes(zone)
            except ConfigurationError:
                place.fail("is no IANA time zone; write it like Europe/Stockholm", "zone")
        return zone

    def _step(self, path: Path, body: Any) -> Step:
        place = Place(self, path, body)
        words = [word for word in place.values if word != "otherwise"]
        if len(words) != 1:
            place.fail("is one step: a table of one word, and perhaps `otherwise`")
        word = words[0]
        if word not in STEPS:
            place.fail(f"has no step {word!r}; the steps are {', '.join(STEPS)}")
        argument = place.values[word]
        if word == "lookup" and isinstance(argument, str):
            if argument not in self._lookups:
                place.fail(f"looks up {argument!r}, which is not under [lookups]")
            argument = self._lookups[argument]
        if word in ("remove_prefix", "remove_suffix", "null_if") and isinstance(argument, str):
            argument = [argument]
        if (wrong := STEPS[word][0](argument)) is not None:
            place.fail(f"is wrong: {word} {wrong}")
        if place.has("otherwise") and word not in FALLIBLE:
            place.fail(f"has `otherwise`, which {word} does not need")
        return Step(word, argument, place.text("otherwise", "refuse"))

    def _key(self, place: Place, fields: tuple[FieldMap, ...]) -> Key:
        place.only(("from", "join", "digest"))
        if place.has("from") == place.has("digest"):
            place.fail("has one of `from` (columns) and `digest` (true, or a list of fields)")
        if place.has("from"):
            columns = place.texts("from")
            if not columns:
                place.fail("names no column", "from")
            return Key(columns=columns, join=place.text("join", "/"))
        if place.values["digest"] is True:
            return Key(digest=True)
        names = place.texts("digest")
        mapped = {item.field.name for item in fields}
        for name in names:
            if name not in mapped:
                place.fail(f"names {name!r}, which is not under [fields]", "digest")
        if not names:
            place.fail("is true, or a list of fields", "digest")
        return Key(digest=True, fields=names)

    def _control(self, name: str, tables: Mapping[str, Any], kind: Kind) -> Control | None:
        if name not in tables:
            return None
        place = Place(self, (name,), tables[name])
        place.only(("starts_with", "count", "excess", "required"))
        if kind is Kind.JSON:
            place.fail("is for layouts of lines")
        prefix = place.text("starts_with")
        if not prefix or "\n" in prefix:
            place.fail("is a text within a line", "starts_with")
        pattern = None
        if place.has("count"):
            try:
                pattern = re.compile(place.text("count"))
            except re.error:
                place.fail("is no regular expression", "count")
            if "count" not in pattern.groupindex:
                place.fail("has no group (?P<count>[0-9]+)", "count")
        excess = place.number("excess", 0, -1000, 1000)
        return Control(prefix, pattern, excess, place.flag("required", default=True))

    def _check_columns(self, mapping: MappingFile) -> None:
        """Refuse columns that the layout does not have, as far as it tells them."""
        layout = mapping.layout
        known = set(layout.slices) if layout.kind is Kind.FIXED_WIDTH else set(layout.columns)
        if not known:
            return
        for item in mapping.fields:
            for rule in item.rules:
                for column in (*rule.columns, *(name for name, _ in rule.when)):
                    if column not in known and column != FILE_COLUMN:
                        self.fail(("fields", item.name), f"reads {column!r}, which [layout] does not name")
        for column in mapping.key.columns:
            if column not in known and column != FILE_COLUMN:
                self.fail(("key", "from"), f"reads {column!r}, which [layout] does not name")
