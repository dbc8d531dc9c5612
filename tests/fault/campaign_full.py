"""A file system that is really full: a tmpfs of limited size, filled to a random rest before each operation.

After each: the command says clearly what happened (a push: 503) or succeeds, nothing acknowledged is lost, and once
there is room again the same command succeeds.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fault.nursery import Nursery, Template
from tests.fault.operations import OPERATIONS, Operation
from tests.fault.report import Report, complaint

SIZE_BYTES = 64 << 20
REST_BYTES_MAX = 400 << 10
BLOCK_BYTES = 4096


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a tmpfs of `SIZE_BYTES` at `path`.

    Raises:
        PermissionError: this user may not mount.
    """
    path.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "lagrum-torture", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        raise PermissionError("a size-limited file system needs the right to mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


class Campaign:
    """Operations on a store that lies on `disk`; what the processes say lies elsewhere."""

    def __init__(self, disk: Path, nursery: Nursery, template: Template) -> None:
        self._disk, self._nursery, self._template = disk, nursery, template

    def fill(self, report: Report, count: int, seed: int) -> None:
        """Fill the disk `count` times, the operations taking turns."""
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            work = OPERATIONS[number % len(OPERATIONS)]
            rest_bytes = int(REST_BYTES_MAX * chance.random() ** 2) // BLOCK_BYTES * BLOCK_BYTES
            report.note(
                f"fill {number} of seed {seed}: {work} with {rest_bytes} bytes left", *self._once(work, rest_bytes)
            )

    def _once(self, work: str, rest_bytes: int) -> tuple[str, list[str]]:
        operation = Operation.ready(work, self._template, self._disk / "home")
        filler = self._disk / "filler"
        self._leave(filler, rest_bytes)
        child = self._nursery.run(work, operation.clock, operation.root, *operation.arguments)
        assert child.code is not None
        problems = [] if child.code == 0 else complaint(child.code, child.complained)
        filler.unlink()
        problems += operation.judge(self._nursery, child, mute=True)
        shutil.rmtree(self._disk / "home")
        return f"{work}: {'succeeded' if child.code == 0 else 'said no'}", problems

    def _leave(self, filler: Path, rest_bytes: int) -> None:
        """Write a file so large that `rest_bytes` are free."""
        fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
        try:
            state = os.statvfs(self._disk)
            os.posix_fallocate(fd, 0, max(BLOCK_BYTES, state.f_bavail * state.f_frsize - rest_bytes))
        finally:
            os.close(fd)
