"""Files that are made from other files: write them anew, or check that they are fresh.

python -m bench.generated [--check]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from api.cli import lagrum
from api.cli.manual import manual
from bench import report

ROOT: Final = Path(__file__).parents[1]


def _readme() -> str:
    text = report.README.read_text(encoding="utf-8")
    return report.rendered(text, report.load())


FILES: Final[dict[str, Callable[[], str]]] = {
    "docs/CLI.md": lambda: manual(lagrum),
    "README.md": _readme,
}


def stale() -> list[str]:
    """Return the files that are not what their sources make."""
    return [name for name, make in FILES.items() if not _is_fresh(ROOT / name, make())]


def _is_fresh(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the generated files anew.")
    parser.add_argument("--check", action="store_true", help="only say which are stale; exit 1 if any")
    if not parser.parse_args().check:
        for name, make in FILES.items():
            (ROOT / name).write_text(make(), encoding="utf-8")
        return 0
    found = stale()
    for name in found:
        sys.stderr.write(f"{name} is stale; run `make generate`\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
