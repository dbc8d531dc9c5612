"""A thousand edits of a log and of deliveries, by whoever may write the files: each one is found.

What the auditor has elsewhere: the origin's public key, a witness's newest checkpoint, the public key of deliveries.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.disclosure import package
from api.disclosure.printing import ndjson, printable
from schemas.errors import IntegrityError
from schemas.packing import unpack_table
from store.audit import verify_directory
from store.audit.checkpoint import Signer
from tests.store.audit.conftest import NAME, Root, entry
from tests.store.audit.edits import EDITS, evidence, lines, records, rewrite_heads, segments
from tests.store.audit.test_verify import history  # noqa: F401
from tests.store.records import records as traffic

FEW, MANY = 100, 500


# The log


def fork(audit: Path, rng: random.Random, root: Root, steal: Signer) -> None:
    """The newest epoch's key is stolen, and another end is written: sound in itself, only the witness knows better."""
    content = lines(audit)
    last = segments(audit)[-1]
    own = last.read_bytes().splitlines(keepends=True)
    place = rng.randrange(len(own))
    own[place] = own[place].replace(b'"time_us":17', b'"time_us":18', 1)
    last.write_bytes(b"".join(own))
    rewrite_heads(audit, steal, since=len(content) - len(own) + place)


def replay_an_older_log(audit: Path, rng: random.Random, root: Root, steal: Signer) -> None:
    """Put back a copy of the log as it was."""
    keep = rng.randrange(2, len(records(audit)) - 1)
    notes = records(audit)[:keep]
    size = int(notes[-1].split(b"\n")[1])
    (audit / "checkpoints").write_bytes(b"".join(notes))
    (audit / "nodes").write_bytes((audit / "nodes").read_bytes()[: (2 * size - size.bit_count()) * 32])
    rest = size
    for path in segments(audit):
        kept = path.read_bytes().splitlines(keepends=True)[:rest]
        rest -= len(kept)
        path.write_bytes(b"".join(kept)) if kept else path.unlink()


def edit_the_log(root: Root, origin: str, kept: str, work: Path, count: int) -> Counter[str]:
    """Edit a copy of the log `count` times; return what was found, by kind of edit."""
    from store.audit.epochs import load_epoch

    steal = load_epoch(root.audit, root.open().epoch, root.keyring()).signer
    kinds: list[Callable[..., None]] = [*EDITS, fork, replay_an_older_log]
    found: Counter[str] = Counter()
    for number in range(count):
        kind = kinds[number % len(kinds)]
        audit = work / "audit"
        shutil.copytree(root.audit, audit, ignore=shutil.ignore_patterns("epochs"))
        before = {path.name: path.read_bytes() for path in evidence(audit)}
        rng = random.Random(f"edit {number}")
        kind(audit, rng, root, steal) if kind in (fork, replay_an_older_log) else kind(audit, rng)
        after = {path.name: path.read_bytes() for path in evidence(audit) if path.exists()}
        assert after != before, f"{kind.__name__} {number} changed nothing"
        assert verify_directory(audit, origin, kept), f"{kind.__name__} {number} was not found"
        found[kind.__name__] += 1
        shutil.rmtree(audit)
    return found


# Deliveries


def whole(sequence: int, key: Ed25519PrivateKey) -> tuple[bytes, bytes]:
    """Return the cover and the one part of a delivery of 30 records, as its reader has them."""
    names = ("calling_number", "called_number", "start_time", "end_time")
    lines = ndjson(printable(unpack_table(traffic(30, seed=sequence)), names))
    part = package.inner_part(1, 1, 30, {"records.ndjson": lines})
    about = {"delivery": {"id": f"SE-D-{sequence:016x}"}, "counts": {"records": 30}}
    text = package.manifest(about, names, [part.as_dict()])
    return package.cover(text, {"delivery": sequence}, b"<html></html>", key)[0], part.data


def check(cover: bytes, part: bytes, public: bytes) -> None:
    members = package.unpack(cover, package.COVER, package.COVER_BYTES_MAX)
    manifest, _ = package.verify_cover(members, public)
    package.open_part(manifest["parts"][0], part)


def edit_a_delivery(data: bytes, others: list[bytes], rng: random.Random, how: str) -> bytes:
    if how == "alter":
        at = rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
    if how == "truncate":
        return data[: rng.randrange(len(data))]
    if how == "append":
        return data + rng.randbytes(rng.randint(1, 40))
    if how == "insert":
        at = rng.randrange(len(data))
        return data[:at] + rng.randbytes(rng.randint(1, 9)) + data[at:]
    body = data.split(b"\n")
    rows = [n for n, line in enumerate(body) if line.startswith(b'{"call')]
    one, other = rng.sample(rows, 2)
    if how == "drop":
        del body[one]
    elif how == "reorder":
        body[one], body[other] = body[other], body[one]
    elif how == "replay":
        body.insert(other, body[one])
    else:  # a line of another delivery
        body[one] = rng.choice([line for line in rng.choice(others).split(b"\n") if line.startswith(b'{"call')])
    return b"\n".join(body)


def edit_deliveries(count: int) -> Counter[str]:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = key.public_key().public_bytes_raw()
    deliveries = [whole(sequence, key) for sequence in range(1, 5)]
    for cover, part in deliveries:
        check(cover, part, public)
    found: Counter[str] = Counter()
    kinds = ("alter", "truncate", "append", "insert", "drop", "reorder", "replay", "exchange", "cover", "swap")
    for number in range(count):
        how = kinds[number % len(kinds)]
        rng = random.Random(f"delivery {number}")
        cover, part = deliveries[number % 4]
        others = [other for place, other in enumerate(deliveries) if place != number % 4]
        if how == "cover":
            edited = edit_a_delivery(cover, [], rng, rng.choice(("alter", "truncate", "append", "insert"))), part
        elif how == "swap":
            edited = cover, rng.choice(others)[1]
        else:
            edited = cover, edit_a_delivery(part, [other[1] for other in others], rng, how)
        assert edited != (cover, part)
        with pytest.raises(IntegrityError):
            check(*edited, public)
        found[how] += 1
    return found


def test_edits_of_the_log_are_found(history: tuple[Root, str, str], tmp_path: Path) -> None:  # noqa: F811
    assert edit_the_log(*history, tmp_path, FEW).total() == FEW


def test_edits_of_deliveries_are_found() -> None:
    assert edit_deliveries(FEW).total() == FEW


@pytest.mark.torture
def test_a_thousand_edits_of_log_and_deliveries_are_found(
    history: tuple[Root, str, str],  # noqa: F811
    tmp_path: Path,
) -> None:
    assert edit_the_log(*history, tmp_path, MANY).total() + edit_deliveries(MANY).total() == 2 * MANY


def test_a_log_that_was_not_edited_is_not_complained_of(history: tuple[Root, str, str], tmp_path: Path) -> None:  # noqa: F811
    root, origin, kept = history
    copy = root.copy(tmp_path / "root")
    log = copy.open()
    log.append([entry(1)])
    assert verify_directory(copy.audit, origin, kept) == []
    assert NAME in kept
