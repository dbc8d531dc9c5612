"""`lagrum ingest`: files of call records into the store."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import click

from api.cli.context import Context
from api.cli.memory import keep_freed_memory, loading, undisturbed
from api.cli.output import Bar, counted, emit, note, progress, show_table
from schemas.errors import InputError, LagrumError

if TYPE_CHECKING:
    from ingest.pipeline import Delivery
    from ingest.source_config import SourceConfig
    from store import Store

COUNTS: Final = ("records", "accepted", "duplicates", "conflicts", "rejected", "rows", "bytes")
STDIN: Final = "-"
COMMITS: Final = 2
"""Deliveries that are being committed at once: one is written while the one before it is published."""
_READ: Final = {
    "expired": "older than the source's records are kept, or of a day that is erased",
    "future": "they end in the future; check the source's zone and the clock of the switch",
    "unsupported": "the format has them, and they are not stored",
    "unknown-service": "their service is not known",
    "encoding": "they are not UTF-8; a mapping names another encoding (docs/sources/mapping.md)",
}
"""Reasons of records that were read: their format is the one that was named."""


@click.command("ingest")
@click.option("--source", "source_name", required=True, metavar="NAME", help="What delivers the records.")
@click.option("--format", "format_name", required=True, metavar="FORMAT", help="One of `lagrum formats`.")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path, allow_dash=True))
@click.pass_obj
def ingest(context: Context, source_name: str, format_name: str, paths: tuple[Path, ...]) -> int:
    """Take in files of call records.

    Each PATH is one batch: it is stored as a whole or not at all, and it is durable, encrypted and queryable when its
    line appears. `-` reads standard input. Files compressed with gzip or zstd are recognised by their content. The same
    record delivered again counts as a duplicate and changes nothing, so a delivery may always be repeated.

    Every input record ends as accepted, duplicate, conflict or rejected. Rejected records are kept encrypted, with
    their position and the reason: see `lagrum quarantine`. A source that is not known yet is registered with the
    defaults: times in UTC, numbers in E.164; see `lagrum sources`.

    \b
    Examples:
      lagrum ingest --source pbx1 --format csv calls.csv calls.csv.gz
      zcat old/*.gz | lagrum ingest --source pbx1 --format csv -
      lagrum --json ingest --source radius1 --format radius-detail detail-20261122

    \b
    Exit codes:
      0  every delivery is durable; rejected records are in the quarantine
      1  a delivery could not be read, or every record of one was rejected;
         the others are durable
      2  unknown format, missing file, wrong configuration
    """
    check_paths(paths)
    with loading():
        check_format(format_name)
        keep_freed_memory()
    with context.open_store(takes_in=True) as store, undisturbed():
        source = _source(store, source_name, format_name)
        began = time.monotonic()
        outcomes = _ingest_all(store, source, format_name, paths)
        document = summarise(outcomes, time.monotonic() - began)
    emit(context, document, lambda: _show(document))
    return 1 if any("error" in outcome or _took_nothing(outcome) for outcome in outcomes) else 0


def register(group: click.Group) -> None:
    """Add `ingest`."""
    group.add_command(ingest)


def check_paths(paths: tuple[Path, ...]) -> None:
    """Return when every path can be read.

    Raises:
        click.UsageError: a path is missing, a folder, unreadable, or standard input is named twice.
    """
    for path in paths:
        if str(path) == STDIN:
            continue
        if path.is_dir():
            raise click.UsageError(f"{path} is a folder; name the files in it")
        if not path.exists():
            raise click.UsageError(f"{path} does not exist")
        if not os.access(path, os.R_OK):
            raise click.UsageError(f"{path} cannot be read by this user")
    if [str(path) for path in paths].count(STDIN) > 1:
        raise click.UsageError("standard input can be read once")


def check_format(name: str) -> None:
    """Return when the format is known.

    Raises:
        click.UsageError: it is not.
    """
    from difflib import get_close_matches

    from ingest.decoders import FORMATS

    if name in FORMATS:
        return
    near = get_close_matches(name, FORMATS, n=1)
    advice = f"did you mean {near[0]}?" if near else "`lagrum formats` lists them"
    raise click.UsageError(f"unknown format {name}; {advice}")


def summarise(outcomes: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the receipt of all deliveries: the sums, and each delivery's own under `files`.

    `seconds` is what all of them took: one begins before the one before it is committed.
    """
    total: dict[str, Any] = {name: sum(outcome[name] for outcome in outcomes) for name in COUNTS}
    total["seconds"] = round(seconds, 6)
    total["files"] = outcomes
    return total


def _source(store: Store, name: str, format_name: str) -> SourceConfig:
    """Return the source; a new one is told beside others, for its name may be misspelt, and where its zone matters."""
    from difflib import get_close_matches

    from ingest.decoders import decoder
    from ingest.sources import get_or_create, registered

    others = [known.name for known in registered(store)]
    source = get_or_create(store, name)
    if name not in others and not decoder(format_name).zoned:
        note(f"{name} is new, and {format_name} tells local times: read as UTC; `lagrum sources add` names a zone")
    if others and name not in others:
        near = get_close_matches(name, others, n=1)
        meant = (
            f"did you mean {near[0]}? `lagrum withdraw` takes a batch back"
            if near
            else "`lagrum sources add` changes it"
        )
        note(f"{name} is a new source, with times in UTC and numbers in E.164; {meant}")
    return source


def _ingest_all(store: Store, source: SourceConfig, format_name: str, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Take in deliveries one after the other; while one is committed, the next is decoded and looked up already."""
    with ExitStack() as stack:
        pool = None
        if len(paths) > 1:
            pool = stack.enter_context(ThreadPoolExecutor(COMMITS, thread_name_prefix="lagrum-commit"))
        coming = [_Coming(store, source, format_name, path, stack) for path in paths]
        outcomes: list[dict[str, Any]] = []
        for each in coming[:2]:  # nothing else is there to do yet
            if each.is_file:
                each.begin_early()
        for place, each in enumerate(coming):
            after = coming[place + 1].begin_early if place + 1 < len(coming) else _nothing
            each.hand_over(pool, coming[place - 1] if place else None, when_decoded=after)
            if place:
                outcomes.append(coming[place - 1].outcome())
        return [*outcomes, coming[-1].outcome()]


def _nothing() -> None:
    """Nothing comes after the last delivery."""


class _Coming:
    """One delivery of the command. What cannot be read is an outcome with an `error`, not the end of the others."""

    def __init__(self, store: Store, source: SourceConfig, format_name: str, path: Path, stack: ExitStack) -> None:
        self._store, self._format, self._path = store, format_name, path
        self._source = source if str(path) == STDIN else source.delivering(path.name)
        self._own = stack.enter_context(ExitStack())
        self._delivery: Delivery | None = None
        self._size_bytes: int | None = None
        self._done_bytes = 0
        self._bar: Bar | None = None
        self._error: InputError | None = None

    @property
    def is_file(self) -> bool:
        """Whether it can be opened at any time; a pipe waits for who writes into it."""
        return self._path.is_file()

    def begin(self) -> None:
        """Open the file and start decoding."""
        from ingest.pipeline import Delivery

        if self._delivery is None:
            stream, self._size_bytes = _open(self._own, self._path)
            made = Delivery(self._store, self._source, self._format, stream, progress=self._reach)
            self._delivery = self._own.enter_context(made)
            self._delivery.begin()

    def begin_early(self) -> None:
        """Begin before its turn; what stands in the way is told in its turn."""
        with suppress(OSError, LagrumError):
            self.begin()

    def hand_over(self, pool: Executor | None, before: _Coming | None, *, when_decoded: Callable[[], None]) -> None:
        """Give its records to the store; a thread of the pool commits them, without one `outcome` does."""
        after = before._delivery if before is not None and before._error is None else None
        try:
            self.begin()
            assert self._delivery is not None
            with self._own, progress(self._path.name, self._size_bytes) as self._bar:
                self._reach(self._done_bytes)
                self._delivery.hand_over(pool, after=after, when_decoded=when_decoded)
        except OSError as error:
            if self._delivery is not None:
                raise
            self._error = InputError(error.strerror or "it cannot be opened")
        except InputError as error:
            self._error = error

    def outcome(self) -> dict[str, Any]:
        """Return its receipt, or what is wrong with it; when it returns, the delivery is durable, and let go."""
        delivery, self._delivery = self._delivery, None
        if self._error is not None:
            return self._unread(self._error)
        assert delivery is not None
        try:
            receipt = delivery.receipt()
        except InputError as error:
            return self._unread(error)
        if not receipt.bytes:
            note(f"{self._path}: it is empty; nothing was there to store")
        if receipt.rejected:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(receipt.reject_reasons.items()))
            rejected = counted(receipt.rejected, "record")
            note(f"{self._path}: {rejected} rejected ({reasons}); `lagrum quarantine list` shows them")
            if receipt.rejected == receipt.records:
                note(f"{self._path}: every record was rejected{_why_all(receipt.reject_reasons, self._format)}")
        return {"path": str(self._path), **receipt.as_dict()}

    def _unread(self, error: InputError) -> dict[str, Any]:
        message = _message(error)
        note(f"{self._path}: error: {message}")
        if error.hint:
            note(f"{self._path}: hint: {error.hint}")
        return {"path": str(self._path), **dict.fromkeys(COUNTS, 0), "seconds": 0.0, "error": message}

    def _reach(self, done_bytes: int) -> None:
        self._done_bytes = done_bytes
        if self._bar is not None:
            self._bar.reach(done_bytes, self._size_bytes)


def _open(stack: ExitStack, path: Path) -> tuple[BinaryIO, int | None]:
    if str(path) == STDIN:
        return sys.stdin.buffer, None
    file = stack.enter_context(path.open("rb", buffering=0))
    return cast(BinaryIO, file), path.stat().st_size


def _took_nothing(outcome: Mapping[str, Any]) -> bool:
    from ingest.findings import took_nothing

    return took_nothing(outcome["records"], outcome["rejected"], outcome.get("reject_reasons", {}))


def _message(error: LagrumError) -> str:
    position = getattr(error, "position", None)
    return error.message if position is None else f"{error.message} (record {position})"


def _why_all(reasons: Mapping[str, int], format_name: str) -> str:
    """Return what to think of when every record of a file was rejected: by the reason of most of them."""
    most = max(reasons, key=lambda reason: reasons[reason], default="")
    return f": {_READ[most]}" if most in _READ else f"; is it of format {format_name}?"


def _show(document: dict[str, Any]) -> None:
    columns = [("path", "file"), *((name, name) for name in COUNTS), ("rate", "records/s")]
    rows = [{**outcome, "rate": _rate(outcome)} for outcome in document["files"]]
    if len(rows) > 1:
        rows.append({**document, "path": "all", "rate": _rate(document)})
    show_table(rows, columns)


def _rate(outcome: dict[str, Any]) -> int | None:
    return round(outcome["records"] / outcome["seconds"]) if outcome["seconds"] else None
