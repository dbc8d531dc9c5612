"""Layouts of many parts as one: a few records of each are restored together, at little more than the cost of one part.

Layouts are *alike* when they have the same columns and the same rules. What differs (forms, batches, tables of places,
types of equipment, labels) is laid end to end, and each record knows where that of its part begins; columns come from
`store.encoding.mixed_layouts`. All arithmetic is that of `store.encoding.restoring`. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np

from store.encoding import derivations, texts
from store.encoding.figures import Ints
from store.encoding.mixed_layouts import Concatenated, Mixed
from store.encoding.record_positions import TABLES, Batches, Timetable
from store.encoding.restoring import WORD, Layout, Recoding

Likeness: TypeAlias = object
"""The same for layouts that are alike."""
_LIKENESSES_MAX: Final = 1_024
_PLACES_BITS = 32
"""No part has a place beyond."""


def likeness(layout: Layout) -> Likeness:
    """Return what layouts have in common that can be restored together."""
    if layout.likeness is None:
        rules = tuple((name, _likeness_of(rule)) for name, rule in layout.rules.items())
        absent = (layout.batches is None, layout.timetable is None)
        layout.likeness = _token((layout.names, tuple(layout.forms), rules, absent, tuple(layout.labels)))
    return layout.likeness


@lru_cache(maxsize=_LIKENESSES_MAX)
def _token(_told: tuple[Any, ...]) -> Likeness:
    """Return the same for the same, to be compared at once; if it was forgotten, what is alike is restored apart."""
    return object()


def _likeness_of(rule: Mapping[str, Any]) -> Likeness:
    if rule["rule"] == texts.RULE:
        return texts.RULE, rule["column"], *(tuple(map(tuple, rule[name])) for name in ("pieces", "slots"))
    return rule["rule"], rule.get("ahead")


def joined(
    layouts: Sequence[Layout], rows: Sequence[int], columns: Sequence[Mapping[str, Any]], concatenated: Concatenated
) -> Layout:
    """Return a layout of so many records of each of some layouts that are alike, one after the other.

    It holds what the files have of them in `columns`, but for columns that no form tells of.
    """
    first = layouts[0]
    part_of = np.repeat(np.arange(len(layouts)), rows)
    found = copy.copy(first)
    found.mixed = Mixed(
        [item.forms for item in layouts], [item.slots for item in layouts], columns, rows, WORD, concatenated
    )
    found.rules = {name: _rule(name, layouts, part_of) for name in first.rules}
    found.batches = _batches([item.batches for item in layouts if item.batches is not None], part_of)
    found.timetable = _timetable([item.timetable for item in layouts if item.timetable is not None], part_of)
    recoded: dict[str, Recoding] = {}
    labels: dict[str, list[str]] = {}
    for name in first.labels:
        lists = [layout.labels[name] for layout in layouts]
        labels[name] = lists[0]
        if any(item != lists[0] for item in lists):
            labels[name], recoded[name] = _labels(lists, part_of)
    found.labels, found.recoded = labels, recoded
    return found


def _rule(name: str, layouts: Sequence[Layout], part_of: Ints) -> dict[str, Any]:
    rules: list[dict[str, Any]] = [layout.rules[name] for layout in layouts]
    if rules[0]["rule"] == texts.RULE:
        if all(rule["bases"] == rules[0]["bases"] for rule in rules):
            return rules[0]
        return {**rules[0], "bases": np.array([rule["bases"] for rule in rules], np.int64)[part_of]}
    if rules[0]["rule"] != "equipment":
        return rules[0]
    known = [derivations.known_types(rule) for rule in rules]
    if all(np.array_equal(known[0], other) for other in known[1:]):
        return rules[0]
    counts, begins = _laid(known)
    return {
        **rules[0],
        "known": np.concatenate(known),
        "count": counts[part_of],
        "begin": begins[part_of],
    }


def _batches(parts: Sequence[Batches], part_of: Ints) -> Batches | None:
    if not parts:
        return None
    ahead = np.arange(len(parts)) << _PLACES_BITS
    tables = {name: np.concatenate([getattr(part, name) for part in parts]) for name in TABLES}
    tables["places"] = tables["places"] + np.repeat(ahead, [len(part.places) for part in parts])
    return Batches(**tables, ahead=ahead[part_of])


def _timetable(parts: Sequence[Timetable], part_of: Ints) -> Timetable | None:
    if not parts:
        return None
    origins, shifts = (np.array([getattr(part, name) for part in parts], np.int64) for name in ("origin_us", "shift"))
    counts, begins = _laid([part.table for part in parts])
    table = np.concatenate([part.table for part in parts])
    return Timetable(origins[part_of], shifts[part_of], table, (counts - 2)[part_of], begins[part_of])


def _labels(lists: Sequence[list[str]], part_of: Ints) -> tuple[list[str], Recoding]:
    """Return the labels of all, and how the codes of each part become theirs."""
    codes: dict[str, int] = {}
    anew = np.array([codes.setdefault(label, len(codes)) for labels in lists for label in labels], np.int64)
    return list(codes), (anew, _laid(lists)[1][part_of])


def _laid(tables: Sequence[Any]) -> tuple[Ints, Ints]:
    """Return the lengths of tables, and where each begins when they are laid end to end."""
    counts = np.array([len(table) for table in tables], np.int64)
    return counts, np.cumsum(counts) - counts
