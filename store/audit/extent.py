"""How far a log's files reach at one moment: what is verified, or copied, while others go on appending behind it."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import BusyError
from store import files
from store.audit import paths
from store.audit.paths import SegmentName
from store.audit.segments import list_segments


@dataclass(frozen=True, slots=True)
class Reach:
    """One file's size in bytes, and when it was written last (nanoseconds)."""

    size_bytes: int
    written_ns: int

    @classmethod
    def of(cls, path: Path) -> Reach:
        """Return a file's.

        Raises:
            OSError: there is none.
        """
        found = path.stat()
        return cls(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Extent:
    """Every segment in order, the checkpoints and the nodes, between two groups of entries."""

    segments: tuple[tuple[SegmentName, Reach], ...]
    checkpoints: Reach
    nodes: Reach

    @classmethod
    def of(cls, directory: Path) -> Extent:
        """Look at a log; who appends is kept out for the look alone.

        Raises:
            IntegrityError: a foreign file lies among the segments.
            OSError: a file is missing.
        """
        with ExitStack() as stack:
            if paths.lock_path(directory).exists():
                # a copy on read-only media has no writers to keep out
                with suppress(OSError):
                    stack.enter_context(files.lock(paths.lock_path(directory), exclusive=False))
            return cls(
                tuple((name, Reach.of(name.path(directory))) for name in list_segments(directory)),
                Reach.of(paths.checkpoints_path(directory)),
                Reach.of(paths.nodes_path(directory)),
            )


def export(directory: Path, target: Path) -> None:
    """Copy what proves a log, as it is at one moment, into a new folder; no key is among it.

    Raises:
        BusyError: a segment expired meanwhile; the folder is there in part.
        IntegrityError: a foreign file lies among the segments.
    """
    extent = Extent.of(directory)
    files.make_dir(paths.segments_path(target))
    checkpoints, nodes = extent.checkpoints.size_bytes, extent.nodes.size_bytes
    plan = [(paths.origin_path, None), (paths.checkpoints_path, checkpoints), (paths.nodes_path, nodes)]
    plan += [(name.path, reach.size_bytes) for name, reach in extent.segments]
    with suppress(FileNotFoundError):
        for path, size_bytes in plan:
            files.copy_durable(path(directory), path(target), bytes_max=size_bytes)
        if list_segments(directory)[: len(extent.segments)] == [name for name, _ in extent.segments]:
            files.fsync_dir(paths.segments_path(target))
            files.fsync_dir(target)
            return
    raise BusyError("a segment of the log expired while it was copied", hint="copy it again, into another folder")
