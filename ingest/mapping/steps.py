"""The steps of a mapping: small changes of a column of texts, one after the other.

Each step takes a string column and returns one, with the rows that it refuses. Nulls stay null, except with `default`.
Where a step can meet a text that it does not fit (`lookup`, `extract`, `scale`, `hex`, `clock`), `otherwise` decides:
`refuse` the record (the default), make it `null`, `keep` the text, or, for a lookup, any other word is the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.mapping.model import Step
from schemas.buffers import Column, Mask, flags, map_unique, pc, valid_mask

REFUSE: Final = "refuse"
NULL: Final = "null"
KEEP: Final = "keep"

_DECIMAL: Final = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,9})?")
_CLOCK: Final = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-5][0-9](?:\.[0-9]{1,6})?)")
_HEX: Final = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,15})")
_WORDS_MAX: Final = 4096

Check = Callable[[Any], str | None]
"""Returns what is wrong with a step's argument, or None."""


def apply_steps(column: Column, steps: tuple[Step, ...]) -> tuple[Column, Mask]:
    """Return the changed column, and which rows a step refuses."""
    bad = flags(len(column))
    for step in steps:
        changed = STEPS[step.word][1](column, step.argument)
        if step.word not in FALLIBLE:
            column = changed
            continue
        unfit = valid_mask(column) & ~valid_mask(changed)
        if unfit.any():
            if step.otherwise == REFUSE:
                bad |= unfit
            elif step.otherwise != NULL:
                other = column if step.otherwise == KEEP else pa.scalar(step.otherwise, pa.string())
                changed = pc.if_else(pa.array(unfit), other, changed)
        column = changed
    return column, bad


def _strip(column: Column, argument: Any) -> Column:
    return pc.utf8_trim_whitespace(column) if argument is True else pc.utf8_trim(column, characters=argument)


def _remove_prefix(column: Column, prefixes: Any) -> Column:
    """Remove the first of the prefixes that the text has."""
    done = np.zeros(len(column), np.bool_)
    for prefix in prefixes:
        has = np.asarray(pc.fill_null(pc.starts_with(column, prefix), False)) & ~done
        if has.any():
            column = pc.if_else(pa.array(has), pc.utf8_slice_codeunits(column, len(prefix)), column)
            done |= has
    return column


def _remove_suffix(column: Column, suffixes: Any) -> Column:
    done = np.zeros(len(column), np.bool_)
    for suffix in suffixes:
        has = np.asarray(pc.fill_null(pc.ends_with(column, suffix), False)) & ~done
        if has.any():
            column = pc.if_else(pa.array(has), pc.utf8_slice_codeunits(column, 0, -len(suffix)), column)
            done |= has
    return column


def _before(column: Column, mark: Any) -> Column:
    return pc.list_element(pc.split_pattern(column, mark, max_splits=1), 0)


def _after(column: Column, mark: Any) -> Column:
    pieces = pc.split_pattern(column, mark, max_splits=1)
    found = pc.greater(pc.list_value_length(pieces), 1)
    # Appending the text itself makes sure that there is a second element to take.
    both = pc.binary_join_element_wise(column, pa.scalar(mark), column, "")
    padded = pc.split_pattern(pc.if_else(found, column, both), mark, max_splits=1)
    return pc.list_element(padded, 1)


def _join(column: Column, first: str, last: str) -> Column:
    return pc.binary_join_element_wise(pa.scalar(first), column, pa.scalar(last), "")


def _replace(column: Column, pair: Any) -> Column:
    return pc.replace_substring(column, pair[0], pair[1])


def _extract(column: Column, pattern: Any) -> Column:
    found = pc.extract_regex(column, pattern)
    return pc.struct_field(found, "value")


def _lookup(column: Column, table: Any) -> Column:
    words = pa.array(list(table), pa.string())
    values = pa.array(list(table.values()), pa.string())
    return values.take(pc.index_in(column, words))


def _scale(column: Column, factor: Any) -> Column:
    by = Decimal(str(factor))

    def scaled(text: str) -> str | None:
        if not _DECIMAL.fullmatch(text):
            return None
        value = format((Decimal(text) * by).normalize(), "f")
        return "0" if value == "-0" else value

    return map_unique(column, scaled, pa.string())


def _hex(column: Column, _argument: Any) -> Column:
    def read(text: str) -> str | None:
        match = _HEX.fullmatch(text)
        return None if match is None else str(int(match[1], 16))

    return map_unique(column, read, pa.string())


def _clock(column: Column, _argument: Any) -> Column:
    """Return the seconds of `H:MM:SS` or `M:SS`."""

    def seconds(text: str) -> str | None:
        match = _CLOCK.fullmatch(text)
        if match is None or (match[1] is not None and int(match[2]) > 59):
            return None
        total = Decimal(match[3]) + int(match[2]) * 60 + int(match[1] or 0) * 3600
        return format(total, "f")

    return map_unique(column, seconds, pa.string())


def _null_if(column: Column, words: Any) -> Column:
    return pc.if_else(pc.is_in(column, pa.array(words, pa.string())), pa.scalar(None, pa.string()), column)


def _default(column: Column, word: Any) -> Column:
    return pc.fill_null(column, word)


def _is_word(argument: Any) -> str | None:
    return None if isinstance(argument, str) and argument else "takes a text"


def _is_words(argument: Any) -> str | None:
    fine = isinstance(argument, list) and argument and all(isinstance(one, str) for one in argument)
    return None if fine and len(argument) <= _WORDS_MAX else "takes a list of texts"


def _is_true(argument: Any) -> str | None:
    return None if argument is True else "takes true"


def _is_pair(argument: Any) -> str | None:
    fine = isinstance(argument, list) and len(argument) == 2 and all(isinstance(one, str) for one in argument)
    return None if fine and argument[0] else "takes a list of two texts: what is replaced, and by what"


def _is_table(argument: Any) -> str | None:
    fine = isinstance(argument, Mapping) and argument and all(isinstance(one, str) for one in argument.values())
    return None if fine else "takes a table of texts, or the name of one under [lookups]"


def _is_factor(argument: Any) -> str | None:
    if isinstance(argument, bool) or not isinstance(argument, int | float):
        return "takes a number"
    try:
        return None if Decimal(str(argument)).is_finite() else "takes a number"
    except InvalidOperation:
        return "takes a number"


def _is_pattern(argument: Any) -> str | None:
    if not isinstance(argument, str) or "(?P<value>" not in argument:
        return "takes a regular expression with the group (?P<value>…)"
    try:
        pc.extract_regex(pa.array([""], pa.string()), argument)
    except pa.ArrowInvalid:
        return "has a regular expression that cannot be read, or a group without a name"
    return None


def _is_strip(argument: Any) -> str | None:
    return None if argument is True or (isinstance(argument, str) and argument) else "takes true, or the characters"


STEPS: Final[dict[str, tuple[Check, Callable[[Column, Any], Column]]]] = {
    "strip": (_is_strip, _strip),
    "remove_prefix": (_is_words, _remove_prefix),
    "remove_suffix": (_is_words, _remove_suffix),
    "add_prefix": (_is_word, lambda column, word: _join(column, word, "")),
    "add_suffix": (_is_word, lambda column, word: _join(column, "", word)),
    "before": (_is_word, _before),
    "after": (_is_word, _after),
    "replace": (_is_pair, _replace),
    "extract": (_is_pattern, _extract),
    "lookup": (_is_table, _lookup),
    "scale": (_is_factor, _scale),
    "hex": (_is_true, _hex),
    "clock": (_is_true, _clock),
    "lower": (_is_true, lambda column, _: pc.utf8_lower(column)),
    "upper": (_is_true, lambda column, _: pc.utf8_upper(column)),
    "null_if": (_is_words, _null_if),
    "default": (_is_word, _default),
}
"""Word of a step -> the check of its argument, and what it does."""

FALLIBLE: Final = frozenset({"lookup", "extract", "scale", "hex", "clock"})
