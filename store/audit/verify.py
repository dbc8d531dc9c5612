"""Verify a log offline: with the origin's public key, and a checkpoint that somebody else kept. No secret is needed.

    (1) the origin key in the log is the one that we were given
    (2) every leaf is in canonical form, at its place, in a segment of its month
    (3) the chain of epoch certificates begins at the origin key and fits the tree at each link
    (4) behind every group there is exactly one checkpoint, of the right size and head, signed by the epoch in force
    (5) the stored tree nodes are those of the leaves
        (of a segment that expired: every checkpoint that there is fits, and they are as many as the log tells)
    (6) the log contains the kept checkpoint: nothing before it was cut, changed or made anew

    (7) of every segment that expired the log tells, no earlier than its period, and what outlives it is what it says

Without (6), a log that was cut at the end of a group, or written anew by whoever holds the current epoch's key, looks
well: only a witness outside sees that.

Source: RFC 6962 section 2.1; c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from schemas.audit_terms import ends_on
from schemas.errors import IntegrityError, LagrumError
from store.audit import paths
from store.audit.checkpoint import Checkpoint, VerifierKey, open_checkpoint, parse_note
from store.audit.entries import EPOCH_KIND, SEGMENT_EXPIRED, Leaf, decode_leaf, month_of
from store.audit.epochs import certificate_of, check_succession
from store.audit.extent import Extent
from store.audit.merkle import Frontier, leaf_hash
from store.audit.paths import SegmentName
from store.audit.segments import indexed_leaves, nodes_reader, read_leaves, read_records
from store.clock import to_date

_NODES_BUFFER_BYTES: Final = 1 << 20
_LOOKS_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Expired:
    """What is left of a segment that expired."""

    first: int
    stop: int
    month: date
    leaves: dict[int, bytes]
    digest: str
    checkpoints: int = 0

    @classmethod
    def read(cls, directory: Path, name: SegmentName, stop: int) -> Expired:
        """Return what the file holds, for the entries up to, not including, `stop`.

        Raises:
            IntegrityError: The file is not in its form.
        """
        content = name.path(directory).read_bytes()
        leaves = dict(indexed_leaves(directory, name))
        if sum(len(octets) + 1 for octets in leaves.values()) != len(content):
            raise IntegrityError(f"what is left of the segment from entry {name.first} on is not in its form")
        return cls(name.first, stop, name.month, leaves, hashlib.sha256(content).hexdigest())

    def told(self) -> dict[str, Any]:
        """Return what the log's entry says of it."""
        return {
            "first": self.first,
            "stop": self.stop,
            "month": self.month.isoformat(),
            "kept_sha256": self.digest,
            "checkpoints": self.checkpoints,
        }


class LogVerifier:
    """Every trust decision about a log, without files: feed it the leaves in order, then `finish`.

    Each method raises IntegrityError at the first thing that is wrong; what follows it proves nothing any more.
    """

    def __init__(self, origin: VerifierKey, checkpoints: Iterator[bytes], kept: str | None = None) -> None:
        self._origin = origin
        self._checkpoints = checkpoints
        self._keys = [origin]
        self._store_id: str | None = None
        self._group = 0
        self._kept = None if kept is None else self._parse_kept(kept)
        self._kept_note = kept
        self._kept_found = False
        self._peeked: bytes | None = None
        self._expired: dict[int, Expired] = {}
        self._told: dict[int, tuple[dict[str, Any], int]] = {}
        self.frontier = Frontier()
        self.month: date | None = None
        """The calendar month of the last leaf."""

    def _parse_kept(self, note: str) -> Checkpoint:
        checkpoint = Checkpoint.parse_text(parse_note(note).text)
        if checkpoint.origin != self._origin.name:
            raise IntegrityError("the kept checkpoint is another log's")
        return checkpoint

    def add(self, octets: bytes) -> list[bytes]:
        """Take the next leaf; return the tree nodes of 32 bytes that it completes.

        Raises:
            IntegrityError: It is not the leaf that belongs here, or its epoch is not certified; the message says which.

        Source: RFC 6962 §2.1.
        """
        index = self.frontier.size
        try:
            leaf = decode_leaf(octets)
        except IntegrityError as e:
            raise IntegrityError(f"entry {index}: {e.message}") from e
        if leaf.index != index:
            raise IntegrityError(f"entry {index} is missing or out of order: entry {leaf.index} is in its place")
        # (4)
        if leaf.group == index and index:
            self._check_group()
        if leaf.group not in {index, self._group}:
            raise IntegrityError(f"entry {index} belongs to a group that did not begin there")
        self._group = leaf.group
        # (3)
        if index == 0 and leaf.kind != EPOCH_KIND:
            raise IntegrityError("entry 0 is not the certificate of the first epoch")
        if leaf.kind == EPOCH_KIND:
            self._begin_epoch(leaf)
        self._note_told(leaf)
        self.month = month_of(leaf.time_us)
        return self.frontier.add(leaf_hash(octets))

    def add_expired(self, segment: Expired, hashes: Iterator[bytes]) -> Iterator[bytes]:
        """Take the leaf hashes of a segment that expired; yield the tree nodes of 32 bytes that they complete.

        Raises:
            IntegrityError: A kept entry, its hash, or the count of hashes is not what was signed.
        """
        if self.frontier.size:
            self._check_group()  # of the segment before: a segment begins with a group
        elif 0 not in segment.leaves:
            raise IntegrityError("entry 0 is not the certificate of the first epoch")
        found = 0
        for node in hashes:
            index = self.frontier.size
            octets = segment.leaves.get(index)
            if octets is not None:
                leaf = decode_leaf(octets)
                if leaf_hash(octets) != node or month_of(leaf.time_us) != segment.month:
                    raise IntegrityError(f"entry {index}: it, or its stored tree node, was changed")
                if leaf.kind == EPOCH_KIND:
                    self._begin_epoch(leaf)
                self._note_told(leaf)
            yield from self.frontier.add(node)
            if index + 1 < segment.stop and self._next_size() == index + 1:
                self._group = index
                self._check_group()
                found += 1
        if self.frontier.size != segment.stop:
            raise IntegrityError(f"the tree nodes of the expired segment from entry {segment.first} on are missing")
        self._group, self.month = segment.stop - 1, segment.month  # its last checkpoint is the next group's business
        self._expired[segment.first] = replace(segment, checkpoints=found + 1)

    def _note_told(self, leaf: Leaf) -> None:
        if leaf.kind == SEGMENT_EXPIRED and isinstance(first := leaf.public.get("first"), int):
            self._told[first] = leaf.public, leaf.time_us

    def _next_note(self) -> bytes | None:
        note, self._peeked = self._peeked, None
        return next(self._checkpoints, None) if note is None else note

    def _next_size(self) -> int:
        self._peeked = self._next_note()
        try:
            return -1 if self._peeked is None else Checkpoint.parse_text(parse_note(self._peeked.decode()).text).size
        except (UnicodeDecodeError, LagrumError):
            return -1

    def _check_expired(self) -> None:
        # (7)
        for first, segment in self._expired.items():
            if first not in self._told:
                raise IntegrityError(f"the segment from entry {first} on lost entries, and the log does not say so")
            public, time_us = self._told[first]
            if public != {**public, **segment.told()}:
                raise IntegrityError(f"the segment from entry {first} on is not what the log says is left of it")
            if to_date(time_us) < ends_on(segment.month):
                raise IntegrityError(f"the segment from entry {first} on expired before its period was over")

    def _begin_epoch(self, leaf: Leaf) -> None:
        try:
            certificate = certificate_of(leaf.public, self._keys[-1])
            check_succession(
                certificate,
                origin=self._origin.name,
                store_id=self._store_id,
                epoch=len(self._keys),
                size=leaf.index,
                root=self.frontier.root(),
            )
        except IntegrityError as e:
            raise IntegrityError(f"entry {leaf.index}: {e.message}") from e
        self._keys.append(certificate.key)
        self._store_id = certificate.store_id

    def _check_group(self) -> None:
        size, root = self.frontier.size, self.frontier.root()
        group = f"entries {self._group} to {size - 1}" if size - self._group > 1 else f"entry {self._group}"
        try:
            note = self._next_note()
            if note is None:
                raise IntegrityError(f"the checkpoint over {size} entries is missing")
            checkpoint = self._open(note.decode())
        except UnicodeDecodeError as e:
            raise IntegrityError(f"the checkpoint over {size} entries is damaged") from e
        except LagrumError as e:
            raise IntegrityError(f"the checkpoint behind {group}: {e.message}") from e
        if checkpoint.size != size:
            raise IntegrityError(
                f"behind {group} the checkpoint over {size} entries is missing or out of order: "
                f"one over {checkpoint.size} entries is in its place"
            )
        if checkpoint.root != root:
            raise IntegrityError(f"{group}: changed, or not those that the checkpoint over {size} entries signs")
        self._compare_kept(size, root)

    def _open(self, note: str) -> Checkpoint:
        """Return a stored checkpoint: signed by the epoch in force and by nobody else, to the last octet."""
        parsed = parse_note(note)
        if len(parsed.signatures) != 1:
            raise IntegrityError("it does not carry exactly one signature")
        checkpoint = open_checkpoint(note, self._keys[-1:])
        if checkpoint.text() != parsed.text:
            raise IntegrityError("it is not in canonical form")
        return checkpoint

    def _compare_kept(self, size: int, root: bytes) -> None:
        # (6)
        if self._kept is None or self._kept_note is None or self._kept.size != size:
            return
        try:
            open_checkpoint(self._kept_note, self._keys[-1:])
        except IntegrityError as e:
            raise IntegrityError(
                f"the kept checkpoint over {size} entries is not signed by the epoch in force there: "
                "it is forged, or the log was made anew (a fork)"
            ) from e
        if self._kept.root != root:
            raise IntegrityError(
                f"the log was made anew: over {size} entries the kept checkpoint signs another tree (a fork)"
            )
        self._kept_found = True

    def finish(self) -> None:
        """Say that there are no more leaves.

        Raises:
            IntegrityError: The log is empty, was cut, or a kept checkpoint is not one of it.
        """
        size = self.frontier.size
        if not size:
            raise IntegrityError("the log has no entries")
        self._check_group()
        if self._next_note() is not None:
            raise IntegrityError(f"the log was cut: it ends with {size} entries, and a later checkpoint is there")
        self._check_expired()
        if self._kept is None or self._kept_found:
            return
        if self._kept.size > size:
            raise IntegrityError(
                f"the log was cut: the kept checkpoint covers {self._kept.size} entries, the log has {size}"
            )
        raise IntegrityError(
            f"the log was made anew: it never signed {self._kept.size} entries as the kept checkpoint does (a fork)"
        )


def verify_directory(directory: Path, origin_public_key: str, checkpoint: str | None = None) -> list[str]:
    """Verify the log in a directory, or a copy of it, and return what is wrong, in words; empty is good.

    `origin_public_key` is the pinned vkey, `checkpoint` a signed checkpoint that was kept elsewhere. Verification
    stops at the first break of the tree: what stands behind it proves nothing.

    Others append meanwhile: what is verified ends where the log ended at the beginning. Something wrong in files that
    were written to since is looked at again: another process may have cut a torn end, or let a segment expire.
    """
    try:
        origin = VerifierKey.parse(origin_public_key.strip())
    except IntegrityError as e:
        return [f"the given origin key: {e.message}"]
    problems: list[str] = []
    for _ in range(_LOOKS_MAX):
        problems, extent = [], None
        try:
            extent = Extent.of(directory)
            problems += _check_origin(directory, origin)
            _verify_files(directory, origin, checkpoint, problems, extent)
        except LagrumError as e:
            problems.append(e.message)
        except OSError as e:
            problems.append(f"a file of the log cannot be read ({os.strerror(e.errno or 0)})")
        if not problems or not _is_changed(directory, extent):
            break
    return problems


def _is_changed(directory: Path, before: Extent | None) -> bool:
    try:
        return Extent.of(directory) != before
    except (LagrumError, OSError):
        return False  # so it stays, and was told


def _check_origin(directory: Path, origin: VerifierKey) -> list[str]:
    # (1)
    path = paths.origin_path(directory)
    if not path.is_file() or path.read_bytes() != f"{origin}\n".encode():
        return ["the origin key in the log is missing, or not the given one"]
    return []


def _verify_files(directory: Path, origin: VerifierKey, kept: str | None, problems: list[str], extent: Extent) -> None:
    """Raise at the first break of the tree; add to `problems` what does not break it."""
    records = _records(paths.checkpoints_path(directory), extent.checkpoints.size_bytes)
    verifier = LogVerifier(origin, records, kept)
    with paths.nodes_path(directory).open("rb", buffering=_NODES_BUFFER_BYTES) as stored:
        for nodes in _nodes(directory, verifier, extent):
            # (5) said once, and not the end: the checkpoint decides who is wrong, the leaf or the node
            if not problems and stored.read(len(nodes)) != nodes:
                problems.append(f"entry {verifier.frontier.size - 1}: it, or its stored tree node, was changed")
        verifier.finish()
        if not problems and stored.tell() != extent.nodes.size_bytes:
            problems.append("behind the stored tree nodes there is something else")


def _records(path: Path, length: int) -> Iterator[bytes]:
    end = 0
    for note, behind in read_records(path):
        if behind > length:
            break
        end = behind
        yield note
    if end != length:
        raise IntegrityError("behind the last checkpoint there is something else")


def _nodes(directory: Path, verifier: LogVerifier, extent: Extent) -> Iterator[bytes]:
    """Feed all segments to the verifier, and give the nodes that each leaf completes."""
    names = [name for name, _ in extent.segments]
    for (name, reach), following in zip_longest(extent.segments, names[1:]):
        if name.first != verifier.frontier.size:
            raise IntegrityError(f"the segment that begins with entry {verifier.frontier.size} is missing or misnamed")
        if name.expired:
            if following is None:
                raise IntegrityError("the newest segment of the log is missing")
            with nodes_reader(directory) as read:
                hashes = (read(0, index) for index in range(name.first, following.first))
                yield from verifier.add_expired(Expired.read(directory, name, following.first), hashes)
            continue
        for octets in _leaves(directory, name, verifier, reach.size_bytes):
            yield b"".join(verifier.add(octets))


def _leaves(directory: Path, name: SegmentName, verifier: LogVerifier, length: int) -> Iterator[bytes]:
    """Give the leaves in the first `length` bytes of a segment, each checked against the segment's name."""
    end = 0
    for octets, behind in read_leaves(name.path(directory)):
        if behind > length:
            break
        end = behind
        yield octets
        # (2) the verifier has taken the leaf by now
        if verifier.month != name.month:
            raise IntegrityError(f"entry {verifier.frontier.size - 1} lies in the segment of another month")
    if end != length or not end:
        raise IntegrityError(f"the segment from entry {name.first} on does not end with a complete entry")
