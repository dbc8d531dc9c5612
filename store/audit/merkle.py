"""The Merkle tree of RFC 6962: hashing, tree heads, proofs and their verification. Pure.

A *node* is addressed by (level, index): it is the hash over the leaves [index · 2^level, (index + 1) · 2^level).
Only complete nodes are ever stored, each once, in the order in which they become complete; `node_position` says
where. A tree of any size, and every proof in it, is computed from at most 2 · log2(size) stored nodes.

Source: RFC 6962 section 2.1 (the tree, both proofs); RFC 9162 sections 2.1.3.2 and 2.1.4.2 (their verification).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from schemas.errors import IntegrityError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The head of the tree without leaves."""

NodeReader = Callable[[int, int], bytes]
"""Gives the hash of the complete node (level, index)."""


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of one leaf.

    Source: RFC 6962 section 2.1, SHA-256(0x00 || leaf).
    """
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash over two children.

    Source: RFC 6962 section 2.1, SHA-256(0x01 || left || right).
    """
    return hashlib.sha256(b"\x01" + left + right).digest()


def nodes_in(size: int) -> int:
    """Return how many complete nodes a tree of `size` leaves has."""
    return 2 * size - size.bit_count()


def node_position(level: int, index: int) -> int:
    """Return the place of a complete node in the order of completion, counted from 0."""
    last_leaf = ((index + 1) << level) - 1
    return nodes_in(last_leaf) + level


class Frontier:
    """The right edge of a growing tree: enough to add leaves and to name the head, in log2(size) memory.

    `peaks` are the heads of the complete subtrees that the size's binary digits name, the largest first.
    """

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise IntegrityError("the number of peaks does not fit the tree's size")

    @classmethod
    def read(cls, size: int, read: NodeReader) -> Frontier:
        """Return the frontier of the first `size` leaves, out of stored nodes of 32 bytes.

        Raises:
            LagrumError: What `read` raises of a node that is not there.

        Source: RFC 6962 §2.1.
        """
        peaks: list[bytes] = []
        start = 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                peaks.append(read(level, start >> level))
                start += 1 << level
        return cls(size, peaks)

    def copy(self) -> Frontier:
        """Return an independent copy."""
        return Frontier(self.size, self.peaks)

    def add(self, leaf: bytes) -> list[bytes]:
        """Add one leaf hash; return the nodes that it completes, the leaf's own first."""
        completed = [leaf]
        node = leaf
        size = self.size
        while size & 1:
            node = node_hash(self.peaks.pop(), node)
            completed.append(node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1
        return completed

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes, a level of the tree at a time; nobody is told of the nodes that they complete."""
        nodes, start = list(leaves), self.size
        self.size += len(nodes)
        peaks, left = [], self.peaks[::-1]
        place = 0
        while nodes or place < len(left):
            if start & 1:
                nodes.insert(0, left[place])
                place += 1
            if len(nodes) & 1:
                peaks.append(nodes.pop())
            start >>= 1
            pairs = iter(nodes)
            nodes = list(map(node_hash, pairs, pairs))
        self.peaks = peaks[::-1]

    def root(self) -> bytes:
        """Return the tree head."""
        if not self.peaks:
            return EMPTY_ROOT
        head = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            head = node_hash(peak, head)
        return head


def _split(count: int) -> int:
    """Return the largest power of two below `count` (`count` > 1)."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_hash(read: NodeReader, start: int, stop: int) -> bytes:
    """Return MTH(D[start:stop]); `start` is a multiple of the range's leading power of two."""
    count = stop - start
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return read(level, start >> level)
    middle = start + _split(count)
    return node_hash(_range_hash(read, start, middle), _range_hash(read, middle, stop))


def inclusion_proof(read: NodeReader, index: int, size: int) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of the first `size` leaves, from the leaf upwards.

    Raises:
        IntegrityError: there is no such leaf in that tree.

    Source: RFC 6962 section 2.1.1.
    """
    if not 0 <= index < size:
        raise IntegrityError("no such leaf in a tree of that size")
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_range_hash(read, middle, stop))
            stop = middle
        else:
            path.append(_range_hash(read, start, middle))
            start = middle
    return path[::-1]


def consistency_proof(read: NodeReader, first: int, second: int) -> list[bytes]:
    """Return the proof that the tree of `first` leaves is the beginning of the tree of `second`.

    Raises:
        IntegrityError: not 0 <= first <= second.

    Source: RFC 6962 section 2.1.2. The proof from the empty tree is empty.
    """
    if not 0 <= first <= second:
        raise IntegrityError("a consistency proof runs from a smaller tree to a larger one")
    if first in (0, second):
        return []
    path: list[bytes] = []
    start, stop = 0, second
    while first != stop:
        middle = start + _split(stop - start)
        if first <= middle:
            path.append(_range_hash(read, middle, stop))
            stop = middle
        else:
            path.append(_range_hash(read, start, middle))
            start = middle
    # the subtree that ends at `first` is the old root itself when nothing was left of it
    if start:
        path.append(_range_hash(read, start, stop))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash is at `index` in the tree of `size` leaves with that head.

    Raises:
        IntegrityError: the proof does not lead to the head.

    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise IntegrityError("inclusion proof: no such leaf in a tree of that size")
    fn, sn = index, size - 1
    node = leaf
    for step in proof:
        if sn == 0:
            break
        if fn & 1 or fn == sn:
            node = node_hash(step, node)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            node = node_hash(node, step)
        fn >>= 1
        sn >>= 1
    else:
        if sn == 0 and node == root:
            return
    raise IntegrityError("inclusion proof does not lead to the tree head")


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `first` leaves is the beginning of the tree of `second` leaves.

    Raises:
        IntegrityError: the proof does not connect the two heads.

    Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 <= first <= second:
        raise IntegrityError("a consistency proof runs from a smaller tree to a larger one")
    if first in (0, second):
        expected = EMPTY_ROOT if first == 0 else second_root
        if proof or first_root != expected or (second == 0 and second_root != EMPTY_ROOT):
            raise IntegrityError("consistency proof does not connect the tree heads")
        return
    if not _walk_consistency(first, second, first_root, second_root, proof):
        raise IntegrityError("consistency proof does not connect the tree heads")


def _walk_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    old = new = path[0]
    for step in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old, new = node_hash(step, old), node_hash(step, new)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            new = node_hash(new, step)
        fn >>= 1
        sn >>= 1
    return sn == 0 and old == first_root and new == second_root
