"""What somebody may do to the files of a log: every kind of edit that verification must find."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import orjson

from store.audit.checkpoint import Checkpoint, Signer
from store.audit.merkle import Frontier, leaf_hash
from store.audit.segments import encode_record, read_records
from tests.store.audit.conftest import NAME


def evidence(audit: Path) -> list[Path]:
    return [audit / "origin.pub", audit / "checkpoints", audit / "nodes", *segments(audit)]


def segments(audit: Path) -> list[Path]:
    return sorted((audit / "segments").iterdir())


def lines(audit: Path) -> list[bytes]:
    return [line for path in segments(audit) for line in path.read_bytes().splitlines(keepends=True)]


def write_lines(audit: Path, edited: list[bytes]) -> None:
    """Spread the lines over the segments as they were, the last one taking the rest."""
    paths = segments(audit)
    for path in paths:
        count = len(path.read_bytes().splitlines())
        chunk, edited = (edited[:count], edited[count:]) if path != paths[-1] else (edited, [])
        path.write_bytes(b"".join(chunk))


def records(audit: Path) -> list[bytes]:
    return [note + b"\n" for note, _ in read_records(audit / "checkpoints")]


def edit_list(items: list[bytes], rng: random.Random, how: str) -> list[bytes]:
    items = list(items)
    at = rng.randrange(len(items))
    other = rng.choice([n for n in range(len(items)) if items[n] != items[at]])
    if how == "drop":
        del items[at]
    elif how == "reorder":
        items[at], items[other] = items[other], items[at]
    elif how == "replay":
        items.insert(rng.randint(0, len(items)), items[at])
    elif how == "replace":
        items[at] = items[other]
    elif how == "cut":
        items = items[:at]
    return items


def alter(audit: Path, rng: random.Random) -> None:
    path = rng.choice(evidence(audit))
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def add_octets(audit: Path, rng: random.Random) -> None:
    path = rng.choice(evidence(audit))
    content = path.read_bytes()
    at = rng.randint(0, len(content))
    path.write_bytes(content[:at] + rng.choice([b"\n", b"\0", b" ", b"\n\n", b"x" * 40]) + content[at:])


def add_at_the_end(audit: Path, rng: random.Random) -> None:
    path = rng.choice(evidence(audit))
    path.write_bytes(path.read_bytes() + rng.choice([b"\n", b"\0", b"x", b"{}\n", b"\n\n", bytes(32), b"\n" * 9]))


def add_an_empty_segment(audit: Path, rng: random.Random) -> None:
    month = rng.choice(["2026-11", "2026-12"])
    (audit / "segments" / f"{len(lines(audit)):012d}.{month}.leaves").write_bytes(b"")


def add_a_signature(audit: Path, rng: random.Random) -> None:
    notes = records(audit)
    at = rng.randrange(len(notes))
    text = notes[at].decode().partition("\n\n")[0] + "\n"
    more = Signer(rng.choice([NAME, "witness"]), rng.randbytes(32)).sign(text).removeprefix(text + "\n")
    notes[at] = notes[at][:-1] + more.encode() + b"\n"
    (audit / "checkpoints").write_bytes(b"".join(notes))


def remove_octets(audit: Path, rng: random.Random) -> None:
    path = rng.choice(evidence(audit))
    content = path.read_bytes()
    at = rng.randrange(len(content))
    path.write_bytes(content[:at] + content[at + rng.randint(1, 200) :])


def truncate(audit: Path, rng: random.Random) -> None:
    path = rng.choice(evidence(audit))
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def delete_or_rename(audit: Path, rng: random.Random) -> None:
    path = rng.choice(evidence(audit))
    if path.parent.name == "segments" and rng.random() < 0.5:
        first, month, suffix = path.name.split(".")
        changed = rng.choice([f"{int(first) + 1:012d}.{month}.{suffix}", f"{first}.2026-10.{suffix}"])
        path.rename(path.with_name(changed))
    else:
        path.unlink()


def leaves(how: str) -> Callable[[Path, random.Random], None]:
    def edit(audit: Path, rng: random.Random) -> None:
        write_lines(audit, edit_list(lines(audit), rng, how))

    edit.__name__ = f"{how}_leaves"
    return edit


def checkpoints(how: str) -> Callable[[Path, random.Random], None]:
    def edit(audit: Path, rng: random.Random) -> None:
        (audit / "checkpoints").write_bytes(b"".join(edit_list(records(audit), rng, how)))

    edit.__name__ = f"{how}_checkpoints"
    return edit


def cut_everything_at_a_group(audit: Path, rng: random.Random) -> None:
    """What is left is in itself without fault: only the kept checkpoint tells."""
    keep = rng.randrange(1, len(records(audit)))
    kept = records(audit)[:keep]
    size = Checkpoint.parse_text(kept[-1].decode()[:-1].rpartition("\n\n")[0] + "\n").size
    (audit / "checkpoints").write_bytes(b"".join(kept))
    rest = size
    for path in segments(audit):
        content = path.read_bytes().splitlines(keepends=True)[:rest]
        rest -= len(content)
        path.write_bytes(b"".join(content)) if content else path.unlink()
    (audit / "nodes").write_bytes((audit / "nodes").read_bytes()[: (2 * size - size.bit_count()) * 32])


def rewrite_without_the_key(audit: Path, rng: random.Random) -> None:
    """Change one entry and everything that follows from it, signed with a key of one's own."""
    content = lines(audit)
    at = rng.randrange(1, len(content))
    leaf = orjson.loads(content[at])
    leaf["public"]["forged"] = True
    content[at] = orjson.dumps(leaf, option=orjson.OPT_SORT_KEYS) + b"\n"
    write_lines(audit, content)
    rewrite_heads(audit, Signer(NAME, bytes(32)))


def rewrite_heads(audit: Path, signer: Signer, *, since: int = 0) -> None:
    """Make nodes and checkpoints of the leaves that are there; checkpoints over more than `since` are signed anew."""
    old = {Checkpoint.parse_text(note.decode()[:-1].rpartition("\n\n")[0] + "\n").size: note for note in records(audit)}
    frontier, nodes, notes = Frontier(), b"", b""
    for line in lines(audit):
        nodes += b"".join(frontier.add(leaf_hash(line[:-1])))
        if frontier.size in old:
            text = Checkpoint(NAME, frontier.size, frontier.root()).text()
            notes += encode_record(signer.sign(text)) if frontier.size > since else old[frontier.size]
    (audit / "nodes").write_bytes(nodes)
    (audit / "checkpoints").write_bytes(notes)


EDITS = [
    alter,
    add_octets,
    add_at_the_end,
    add_an_empty_segment,
    add_a_signature,
    remove_octets,
    truncate,
    delete_or_rename,
    *(leaves(how) for how in ("drop", "reorder", "replay", "replace", "cut")),
    *(checkpoints(how) for how in ("drop", "reorder", "replay", "replace", "cut")),
    cut_everything_at_a_group,
    rewrite_without_the_key,
]
