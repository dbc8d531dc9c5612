"""Directories in which nobody else may put files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from schemas.errors import PermissionsError


def refuse_shared_dir(path: Path) -> None:
    """Return if nobody else can put files into the directory `path`.

    Raises:
        PermissionsError: It belongs to another user, or group or others may write to it.
    """
    status = path.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
        raise PermissionsError(
            f"others may put files into the directory {path.name}", hint="set its owner and its mode to 0700"
        )
