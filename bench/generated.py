"""Files that are made from other files: write them anew, or check that they are fresh.

python -m bench.generated [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from api.app import create_app
from api.cli.manual import manual
from api.cli.program import lagrum
from api.settings import Settings
from api.settings_reference import settings_reference
from bench import report
from schemas.documents import field_reference, json_schema
from store import Store, SystemClock

ROOT: Final = Path(__file__).parents[1]
DECISIONS: Final = """\
# Decisions

One page each: context, decision, consequences, the bad ones included. A newer page replaces a decision or changes it;
the older one then says so in its status. Numbers that are missing were never used.

"""


def _readme() -> str:
    return report.readme(report.load())


def _openapi() -> str:
    """Return the service's OpenAPI document; it is the same for every store."""
    with tempfile.TemporaryDirectory() as folder, Store.create(Path(folder) / "store", clock=SystemClock()) as store:
        return _json(create_app(store, settings=Settings()).openapi())


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=False, ensure_ascii=False) + "\n"


def _decisions() -> str:
    """Return the list of decisions, by their titles, with what their status says beside being accepted."""
    lines = []
    for page in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        title, _, text = page.read_text(encoding="utf-8").removeprefix("# ").partition("\n\nStatus: ")
        status, ended, _ = text.partition(".\n")
        if not ended:
            raise ValueError(f"{page.name} has no status behind its title")
        note = " ".join(status.removeprefix("accepted").lstrip("; ").split())
        lines.append(f"- [{title}]({page.name})" + (f": {note}" if note else ""))
    return DECISIONS + "\n".join(lines) + "\n"


FILES: Final[dict[str, Callable[[], str]]] = {
    "docs/CLI.md": lambda: manual(lagrum),
    "docs/FIELDS.md": field_reference,
    "docs/SETTINGS.md": settings_reference,
    "docs/adr/README.md": _decisions,
    "docs/record.schema.json": lambda: _json(json_schema()),
    "docs/openapi.json": _openapi,
    "docs/PERFORMANCE.md": lambda: report.performance_page(report.load()),
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
