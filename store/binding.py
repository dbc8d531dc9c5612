"""What binds an encrypted data file to its place: its key and its associated data are made of it."""

from __future__ import annotations

from dataclasses import dataclass

from store.keys import derive
from store.partitions import PartitionKey


@dataclass(frozen=True, slots=True)
class FileBinding:
    """What a file's key and associated data are made of."""

    store_id: str
    partition: PartitionKey
    file_id: str
    role: str
    """`records`, `identities` or `index`."""

    @property
    def aad(self) -> bytes:
        """The associated data of everything in the file."""
        return f"lagrum/1|{self.store_id}|{self.partition}|{self.file_id}|{self.role}".encode()

    def key(self, partition_key: bytes, purpose: str) -> bytes:
        """Return the file's own key; one key encrypts one file."""
        return derive(partition_key, purpose, self.aad)

    def __str__(self) -> str:
        return f"{self.role} file {self.file_id} of partition {self.partition}"
