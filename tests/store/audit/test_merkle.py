"""The tree of RFC 6962, against known answers, its own definition, and forgers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import IntegrityError
from store.audit.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    node_position,
    nodes_in,
    verify_consistency,
    verify_inclusion,
)

# The sample tree that implementations of RFC 6962 share.
LEAVES = [
    bytes.fromhex(h)
    for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


class Nodes:
    """Stored nodes in memory, in the order in which the tree completes them."""

    def __init__(self, count: int) -> None:
        self.leaves = [leaf_hash(n.to_bytes(4, "big")) for n in range(count)]
        self.frontier = Frontier()
        self.stored = [node for leaf in self.leaves for node in self.frontier.add(leaf)]

    def __call__(self, level: int, index: int) -> bytes:
        return self.stored[node_position(level, index)]

    def root(self, size: int) -> bytes:
        return definition(self.leaves[:size])


def definition(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 section 2.1 writes it down."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(definition(leaves[:k]), definition(leaves[k:]))


def sample() -> Nodes:
    nodes = Nodes(0)
    nodes.leaves = [leaf_hash(leaf) for leaf in LEAVES]
    nodes.stored = [node for leaf in nodes.leaves for node in nodes.frontier.add(leaf)]
    return nodes


@pytest.mark.parametrize("size", range(9))
def test_the_sample_tree_has_the_known_heads(size: int) -> None:
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.add(leaf_hash(leaf))
    assert frontier.root().hex() == ROOTS[size]


@pytest.mark.parametrize("where", INCLUSION)
def test_the_sample_tree_has_the_known_inclusion_proofs(where: tuple[int, int]) -> None:
    index, size = where
    proof = inclusion_proof(sample(), index, size)
    assert [step.hex() for step in proof] == INCLUSION[where]
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize("where", CONSISTENCY)
def test_the_sample_tree_has_the_known_consistency_proofs(where: tuple[int, int]) -> None:
    first, second = where
    proof = consistency_proof(sample(), first, second)
    assert [step.hex() for step in proof] == CONSISTENCY[where]
    verify_consistency(first, second, bytes.fromhex(ROOTS[first]), bytes.fromhex(ROOTS[second]), proof)


def test_a_leaf_and_a_node_of_the_same_octets_hash_differently() -> None:
    assert leaf_hash(bytes(64)) != node_hash(bytes(32), bytes(32))


@given(st.integers(0, 300))
def test_nodes_lie_in_the_order_of_completion_without_gap_or_overlap(size: int) -> None:
    places = sorted(node_position(level, index) for level in range(size.bit_length()) for index in range(size >> level))
    assert places == list(range(nodes_in(size)))


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_frontier_read_from_nodes_continues_as_the_one_that_grew(size: int, more: int) -> None:
    nodes = Nodes(size + more)
    frontier = Frontier.read(size, nodes)
    assert frontier.root() == nodes.root(size)
    for leaf in nodes.leaves[size:]:
        frontier.add(leaf)
    assert frontier.root() == nodes.root(size + more) == nodes.frontier.root()


@given(st.data())
def test_every_inclusion_proof_verifies_and_no_altered_one_does(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 130))
    index = data.draw(st.integers(0, size - 1))
    nodes = Nodes(size)
    proof = inclusion_proof(nodes, index, size)
    root, leaf = nodes.root(size), nodes.leaves[index]
    verify_inclusion(leaf, index, size, proof, root)
    for forged in forgeries(proof, data):
        with pytest.raises(IntegrityError):
            verify_inclusion(leaf, index, size, forged, root)
    with pytest.raises(IntegrityError):
        verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
    with pytest.raises(IntegrityError):
        verify_inclusion(leaf, index, size, proof, leaf_hash(b"other"))
    other = data.draw(st.integers(0, size).filter(lambda n: n != index))
    with pytest.raises(IntegrityError):
        verify_inclusion(leaf, other, size, proof, root)


@given(st.data())
def test_every_consistency_proof_verifies_and_no_altered_one_does(data: st.DataObject) -> None:
    second = data.draw(st.integers(2, 130))
    first = data.draw(st.integers(1, second - 1))
    nodes = Nodes(second)
    proof = consistency_proof(nodes, first, second)
    old, new = nodes.root(first), nodes.root(second)
    verify_consistency(first, second, old, new, proof)
    for forged in forgeries(proof, data):
        with pytest.raises(IntegrityError):
            verify_consistency(first, second, old, new, forged)
    for heads in ((leaf_hash(b"other"), new), (old, leaf_hash(b"other"))):
        with pytest.raises(IntegrityError):
            verify_consistency(first, second, *heads, proof)


def forgeries(proof: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    """The proof cut, lengthened, and with one octet changed."""
    forged = [[*proof, leaf_hash(b"more")]]
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        octet = data.draw(st.integers(0, HASH_BYTES - 1))
        changed = bytearray(proof[place])
        changed[octet] ^= 1
        forged += [proof[:-1], proof[1:], [*proof[:place], bytes(changed), *proof[place + 1 :]]]
    return forged


@pytest.mark.parametrize(("first", "second"), [(-1, 3), (4, 3), (9, 8)])
def test_a_consistency_proof_backwards_is_refused(first: int, second: int) -> None:
    with pytest.raises(IntegrityError):
        consistency_proof(sample(), first, second)
    with pytest.raises(IntegrityError):
        verify_consistency(first, second, EMPTY_ROOT, EMPTY_ROOT, [])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_a_proof_of_a_leaf_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(IntegrityError):
        inclusion_proof(sample(), index, size)
    with pytest.raises(IntegrityError):
        verify_inclusion(EMPTY_ROOT, index, size, [], EMPTY_ROOT)


def test_equal_and_empty_trees_are_consistent_only_with_the_right_heads() -> None:
    root = bytes.fromhex(ROOTS[8])
    verify_consistency(0, 8, EMPTY_ROOT, root, [])
    verify_consistency(8, 8, root, root, [])
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    for first, second, old, new, proof in (
        (0, 8, root, root, []),
        (8, 8, EMPTY_ROOT, root, []),
        (8, 8, root, root, [root]),
        (0, 0, root, root, []),
        (0, 0, EMPTY_ROOT, root, []),
        (3, 8, root, root, []),
    ):
        with pytest.raises(IntegrityError):
            verify_consistency(first, second, old, new, proof)


def test_a_frontier_with_the_wrong_number_of_peaks_is_refused() -> None:
    with pytest.raises(IntegrityError):
        Frontier(3, [EMPTY_ROOT])
