"""From targets to the row groups that may hold them, by a part's postings. Pure but for the index that is asked.

Postings only save work: what they cannot answer is every row group, and `store.reading.targets.matches` decides on the
rows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.addresses import pack_address_value, pack_mac_value
from schemas.fields import BY_NAME, Kind
from schemas.imei import imei_match_ranges
from schemas.packing import pack_identifier_value
from store.index import Key, PartIndex, find_in
from store.index.entries import ANY_BLOCK, V6_BITS, V6_LEVELS, Traits, network_words
from store.index.hashing import PACKED, PORTS, PREFIX, TEXT, text_words
from store.model import TargetIdentifier
from store.part_reader import Bounds
from store.reading.page_layout import Window
from store.reading.targets import FIELDS_OF_KIND

TARGETS_MAX: Final = 256
"""Beyond so many targets every row group is read: asking for each costs more than it saves."""

GroupBounds = Callable[[str], Sequence[Bounds | None]]


@dataclass(slots=True)
class Found:
    """Where a part may hold the targets: fields by row group, and what the bounds of row groups have to tell."""

    by_group: dict[int, set[str]] = field(default_factory=dict)
    bounded: list[tuple[str, int, int]] = field(default_factory=list)
    """(field, lowest, highest packed value): any row group whose bounds do not exclude it."""
    everywhere: set[str] = field(default_factory=set)
    pieces: dict[tuple[int, str], set[Window]] = field(default_factory=dict)
    """Of a group and a field that is posted by piece: the rows [first, last) of the group to look at."""
    named_rows: int = 0
    """Of the groups and pieces that postings named, field by field."""

    @property
    def is_empty(self) -> bool:
        """Tell whether no row can match."""
        return not (self.by_group or self.bounded or self.everywhere)

    @property
    def rows_max(self) -> int | None:
        """No more rows are to be looked at; None where only the bounds of row groups tell."""
        return None if self.bounded or self.everywhere else self.named_rows

    def groups(self, count: int, bounds: GroupBounds) -> dict[int, set[str]]:
        """Return the fields to compare in each of the part's `count` row groups that are to be read, in their order."""
        found = {group: set(names) for group, names in self.by_group.items()}
        for name, low, high in self.bounded:
            for group, item in enumerate(bounds(name)):
                if item is None or (item[0] <= high and item[1] >= low):
                    found.setdefault(group, set()).add(name)
        if self.everywhere:
            for group in range(count):
                found.setdefault(group, set()).update(self.everywhere)
        return dict(sorted(found.items()))

    def windows(self, groups: Mapping[int, set[str]], group_rows: int, rows: int) -> list[Window]:
        """Return the rows of a part to read in groups that `groups` returned."""
        known = self.everywhere | {name for name, _, _ in self.bounded}
        found: list[Window] = []
        for group, names in groups.items():
            base = group * group_rows
            pieces = [self.pieces.get((group, name)) for name in names]
            if not known.isdisjoint(names) or not all(pieces):
                found.append((base, min(base + group_rows, rows)))
                continue
            every = {piece for some in pieces if some is not None for piece in some}
            found.extend((base + first, min(base + last, rows)) for first, last in sorted(every) if base + first < rows)
        return found


class Question:
    """Targets, asked of one part after the other; the keys that they are posted under are kept."""

    def __init__(self, targets: Sequence[TargetIdentifier]) -> None:
        self._asked = [(name, target) for target in targets for name in FIELDS_OF_KIND[target.kind]]
        self._keys: dict[Traits, list[list[Key] | None]] = {}

    def find(self, index: PartIndex) -> Found:
        """Ask a part's postings.

        Raises:
            IntegrityError: a block of the index does not authenticate.
        """
        return self.find_in([index])[0]

    def find_in(self, indexes: Sequence[PartIndex]) -> list[Found]:
        """Ask the postings of some parts, all at once: a part then costs little more than its blocks.

        Raises:
            IntegrityError: a block of an index does not authenticate.
        """
        answers = [Found() for _ in indexes]
        asked = [self._questions(index, found) for index, found in zip(indexes, answers, strict=True)]
        told = find_in(indexes, asked)
        for index, found, questions, groups_of_each in zip(indexes, answers, asked, told, strict=True):
            for (name, keys), groups in zip(questions, groups_of_each, strict=True):
                if groups:
                    _add_groups(index, name, keys, groups, found)
        return answers

    def _questions(self, index: PartIndex, found: Found) -> list[tuple[str, list[Key]]]:
        """Return what postings can tell of a part; add to what is found of it what they cannot."""
        keys_of_all = self._keys.get(index.traits)
        if keys_of_all is None:
            keys_of_all = [keys_of(name, target, index.traits) for name, target in self._asked]
            self._keys[index.traits] = keys_of_all
        asked: list[tuple[str, list[Key]]] = []
        for (name, target), keys in zip(self._asked, keys_of_all, strict=True):
            if not index.has(name):
                continue
            if keys is None:
                _add_network(name, target, found)
            else:
                asked.append((name, keys))
        return asked


def _add_groups(index: PartIndex, name: str, keys: list[Key], groups: set[int], found: Found) -> None:
    if index.is_bounded(name):
        found.bounded.extend((name, words[0], words[0]) for domain, words in keys if domain == PACKED)
        return
    pieces = index.pieces(name)
    size = index.group_rows // pieces
    found.named_rows += len(groups) * size
    for number in groups:
        group, piece = divmod(number, pieces)
        found.by_group.setdefault(group, set()).add(name)
        if pieces > 1:
            found.pieces.setdefault((group, name), set()).add((piece * size, (piece + 1) * size))


def _add_network(name: str, target: TargetIdentifier, found: Found) -> None:
    network = ipaddress.ip_network(target.value, strict=False)
    if network.version == 4 and BY_NAME[name].kind is Kind.ADDRESS:
        found.bounded.append((name, int(network.network_address), int(network.broadcast_address)))
    else:
        found.everywhere.add(name)


def keys_of(name: str, target: TargetIdentifier, traits: Traits) -> list[Key] | None:
    """Return under which keys a field's postings have a target; None when they cannot tell."""
    kind = BY_NAME[name].kind
    if target.kind == "imei":
        low, _ = imei_match_ranges(target.value)[0]
        return [(PACKED, (low,))]
    if kind is Kind.IDENTIFIER:
        packed, text = pack_identifier_value(target.value)
        return [(PACKED, (packed,))] if packed is not None else [(TEXT, tuple(text_words((text or "").encode())))]
    if kind is Kind.MAC:
        return [(PACKED, (pack_mac_value(target.value) or 0,))]
    if kind is Kind.ADDRESS:
        return _address_keys(name, target, traits)
    return _prefix_keys(target, traits)


def _address_keys(name: str, target: TargetIdentifier, traits: Traits) -> list[Key] | None:
    if "/" in target.value:
        network = ipaddress.ip_network(target.value, strict=False)
        if network.prefixlen == network.max_prefixlen:
            v4, v6 = _halves(network.network_address)
        elif network.version == 4:
            return None
        else:
            level = next((level for level in V6_LEVELS if level <= network.prefixlen), None)
            return None if level is None else [_key(network.supernet(new_prefix=level))]
    else:
        v4, v6 = pack_address_value(target.value)
    if v6 is not None:
        high, low = int.from_bytes(v6[:8], "big"), int.from_bytes(v6[8:], "big")
        words: tuple[int, ...] = (6, high, low)
        exact: Key = (PREFIX, (*words, V6_BITS))
    else:
        words = (4, 0, v4 or 0)
        exact = (PACKED, (v4 or 0,))
    if name != "nat_ip" or target.port is None:
        return [exact]
    return [(PORTS, (*words, block)) for block in (target.port >> traits.port_bits, ANY_BLOCK)]


def _halves(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[int | None, bytes | None]:
    """Return an address as a column of its version has it; a network's address is not brought to the other version."""
    return (int(address), None) if address.version == 4 else (None, address.packed)


def _prefix_keys(target: TargetIdentifier, traits: Traits) -> list[Key] | None:
    """Return the keys of the stored prefixes that contain the target, or lie in it."""
    wanted = _network(target.value)
    lengths = [length for version, length in traits.prefix_lengths if version == wanted.version]
    keys = [_key(wanted.supernet(new_prefix=length)) for length in lengths if length <= wanted.prefixlen]
    if any(length > wanted.prefixlen for length in lengths):
        level = next((level for level in V6_LEVELS if level <= wanted.prefixlen and wanted.version == 6), None)
        if level is None:
            return None
        keys.append(_key(wanted.supernet(new_prefix=level)))
    return keys


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    if "/" in text:
        return ipaddress.ip_network(text, strict=False)
    v4, v6 = pack_address_value(text)
    return ipaddress.ip_network(v4 if v4 is not None else v6 or text)


def _key(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Key:
    return PREFIX, network_words(network)


def account_targets(accounts: Iterable[str]) -> list[TargetIdentifier]:
    """Return accounts as targets."""
    return [TargetIdentifier("account", account) for account in accounts]
