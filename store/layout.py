"""Where everything lies under the root: pure path functions, each with its parser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from store.partitions import PartitionKey

PART_SUFFIX = ".parquet"
IDENTITY_SUFFIX = ".ids"
INDEX_SUFFIX = ".idx"
LOCATION_SUFFIX = ".loc"
SUFFIXES = (PART_SUFFIX, IDENTITY_SUFFIX, INDEX_SUFFIX, LOCATION_SUFFIX)
SEGMENT_SUFFIX = ".segment"
READER_LOCKS = 2
_FILE_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_GENERATION = re.compile(r"\.[1-9][0-9]{0,5}$")  # of a partition that was written anew


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one store."""

    root: Path

    @property
    def marker(self) -> Path:
        """The store's id, format version and creation time."""
        return self.root / "lagrum.json"

    @property
    def catalog(self) -> Path:
        """The SQLite catalog."""
        return self.root / "catalog.sqlite"

    @property
    def parts(self) -> Path:
        """Directory of all partitions."""
        return self.root / "parts"

    @property
    def audit(self) -> Path:
        """Directory of the audit log."""
        return self.root / "audit"

    @property
    def run(self) -> Path:
        """Directory of sockets and locks; nothing in it outlives a process."""
        return self.root / "run"

    @property
    def writers_lock(self) -> Path:
        """Held shared by every process with an unfinished batch; recovery takes it exclusively."""
        return self.run / "writers.lock"

    def readers_lock(self, number: int) -> Path:
        """Held shared by scans, by turns (`store.reading.turns`); who unlinks merged parts takes it exclusively."""
        return self.run / f"readers-{number + 1}.lock"

    @property
    def compaction_lock(self) -> Path:
        """Held by the one process that compacts."""
        return self.run / "compaction.lock"

    @property
    def erasure_lock(self) -> Path:
        """Held by the one process that erases partitions."""
        return self.run / "erasure.lock"

    @property
    def spool(self) -> Path:
        """Directory of acknowledged pushes that are not in a batch yet."""
        return self.root / "spool"

    def segment(self, file_id: str) -> Path:
        """Return the path of a segment of the spool."""
        return self.spool / (file_id + SEGMENT_SUFFIX)

    @property
    def drain_lock(self) -> Path:
        """Held by the one process that drains the spool."""
        return self.run / "drain.lock"

    @property
    def held(self) -> Path:
        """Directory of what holds keep beyond their partitions' ends."""
        return self.root / "held"

    def held_file(self, hold_id: str, file_id: str) -> Path:
        """Return the path of what one hold keeps of one partition."""
        return self.held / hold_id / (file_id + PART_SUFFIX)

    def partition(self, key: PartitionKey) -> Path:
        """Return the directory of a partition, which is its sibling's too."""
        return self.root.joinpath("parts", key.end_date.isoformat(), key.retention_class, key.key_domain)

    def part(self, key: PartitionKey, file_id: str) -> Path:
        """Return the path of a part's records."""
        return self._file(key, file_id + PART_SUFFIX)

    def identities(self, key: PartitionKey, file_id: str) -> Path:
        """Return the path of a part's identity run."""
        return self._file(key, file_id + IDENTITY_SUFFIX)

    def identities_text(self, key: PartitionKey, file_id: str) -> str:
        """Return the same as text: who opens thousands of runs saves half of the opening."""
        directory = f"{self.root}/parts/{key.end_date.isoformat()}/{key.retention_class}/{key.key_domain}"
        return f"{directory}/{file_id}{IDENTITY_SUFFIX}"

    def index(self, key: PartitionKey, file_id: str) -> Path:
        """Return the path of a part's postings."""
        return self._file(key, file_id + INDEX_SUFFIX)

    def location(self, key: PartitionKey, file_id: str) -> Path:
        """Return the path of a part's location: of its partition's sibling, beside the part."""
        return self._file(key, file_id + LOCATION_SUFFIX)

    def _file(self, key: PartitionKey, name: str) -> Path:
        # Joined at once: a store has many parts, and joining piece by piece takes far longer.
        return self.root.joinpath("parts", key.end_date.isoformat(), key.retention_class, key.key_domain, name)

    def parse(self, path: Path) -> tuple[PartitionKey, str, str] | None:
        """Return (partition, file id, suffix) of a data file, or None when the path is not one."""
        try:
            day, retention_class, domain, name = path.relative_to(self.parts).parts
            key = PartitionKey(date.fromisoformat(day), retention_class, domain)
        except ValueError:
            return None
        stem, dot, suffix = name.partition(".")
        if not _FILE_ID.fullmatch(stem) or dot + suffix not in SUFFIXES:
            return None
        return (key, stem, dot + suffix) if is_name(retention_class) and is_name(_GENERATION.sub("", domain)) else None


def is_name(text: str) -> bool:
    """Tell whether a class or domain name may be a folder's name."""
    return _NAME.fullmatch(text) is not None
