"""The keyed hash of postings, once for a value and once for a column: both give the same 64 bits.

Words are mixed into a seed one after the other with the finaliser of SplitMix64, which is a bijection, so values of one
word never collide. Seeds are derived from the file's salt, which lies in the file itself: under the partition's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from store.keys import derive

Words = npt.NDArray[np.uint64]

PACKED: Final = 0
"""A whole number: packed digits, a MAC address, an IPv4 address."""
TEXT: Final = 1
PREFIX: Final = 2
"""An address or network: version, upper and lower half of the network's address, length."""
PORTS: Final = 3
"""An address as in PREFIX, and a block of its ports."""

_FIRST: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 0x94D049BB133111EB
_MASK: Final = 2**64 - 1


def seed(salt: bytes, field_id: int, domain: int) -> int:
    """Return the seed of one field's values of one domain."""
    return int.from_bytes(derive(salt, "postings", bytes([field_id, domain]), 8), "little")


def mix(word: int) -> int:
    """Return a word's image; the finaliser of SplitMix64."""
    word = ((word ^ (word >> 30)) * _FIRST) & _MASK
    word = ((word ^ (word >> 27)) * _SECOND) & _MASK
    return word ^ (word >> 31)


def mix_words(words: Words) -> Words:
    """Return every word's image."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
    return np.asarray(words ^ (words >> np.uint64(31)))


def hash_value(start: int, words: Sequence[int]) -> int:
    """Return the hash of one value of some words."""
    for word in words:
        start = mix(start ^ word)
    return start


def hash_columns(start: int, words: Sequence[Words]) -> Words:
    """Return the hashes of values whose words lie in columns."""
    found = mix_words(words[0] ^ np.uint64(start))
    for column in words[1:]:
        found = mix_words(found ^ column)
    return found


def text_words(text: bytes) -> list[int]:
    """Return the words of a text: its length, then eight bytes each."""
    return [len(text), *(int.from_bytes(text[at : at + 8], "little") for at in range(0, len(text), 8))]
