"""Documents made from the newest measurements: the README's table, the tables of docs/PERFORMANCE.md, the figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from bench import tables, tables_formats, tables_growth

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "bench" / "results" / "latest.json"
GROWTH: Final = ROOT / "bench" / "results" / "growth.json"
FORMATS: Final = ROOT / "bench" / "results" / "formats.json"
README: Final = ROOT / "README.md"
PERFORMANCE: Final = ROOT / "docs" / "PERFORMANCE.md"
FIGURES: Final = ROOT / "docs" / "figures"
BEGIN: Final = "<!-- {}: made by bench/report.py, do not edit -->"
END: Final = "<!-- end of {} -->"

Results = dict[str, Any]
BLOCKS: Final[dict[str, Callable[[Results], str]]] = {
    "measurements": tables.overview,
    "rates": tables.rates,
    "formats": tables_formats.formats,
    "lookups": tables.lookups,
    "growth": tables_growth.growth,
    "systems": tables.systems,
}
"""The generated blocks of documents, by the name in their markers."""


def rendered(text: str, results: Results, names: Sequence[str] = ("measurements",)) -> str:
    """Return a document with the named blocks between their markers.

    Raises:
        ValueError: markers are missing.
    """
    for name in names:
        begin, end = BEGIN.format(name), END.format(name)
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the document has no place for {name}")
        text = f"{head}{begin}\n{BLOCKS[name](results)}\n{end}{tail}"
    return text


def load() -> Results:
    """Return the newest measurements, with the growth curves under `growth` when they were measured."""
    results: Results = json.loads(RESULTS.read_text(encoding="utf-8"))
    if GROWTH.exists():
        results["growth"] = json.loads(GROWTH.read_text(encoding="utf-8"))
    return results


def readme(results: Results) -> str:
    """Return the README with its table."""
    return rendered(README.read_text(encoding="utf-8"), results)


def performance_page(results: Results) -> str:
    """Return docs/PERFORMANCE.md with its tables."""
    found = json.loads(FORMATS.read_text(encoding="utf-8")) if FORMATS.exists() else None
    names = ("rates", "formats", "lookups", "growth", "systems")
    return rendered(PERFORMANCE.read_text(encoding="utf-8"), {**results, "formats": found}, names)


def performance(results: Results) -> str:
    """Return all tables of a run that keeps no documents."""
    return "\n\n".join(block(results) for block in BLOCKS.values())


def write_documents(results: Results) -> None:
    """Write README table, performance page and figures from what lies in bench/results."""
    results = load() if RESULTS.exists() else results
    README.write_text(readme(results), encoding="utf-8")
    PERFORMANCE.write_text(performance_page(results), encoding="utf-8")
    write_figures(results, FIGURES)


def write_figures(results: Results, folder: Path) -> None:
    """Write the figures; old ones that are not made any more go."""
    from bench import figures

    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.svg"):
        path.unlink()
    for name, text in figures.draw(results):
        (folder / f"{name}.svg").write_text(text, encoding="utf-8")


def stale_figures() -> Iterator[str]:
    """Yield the figures that were made from other measurements than the newest; each names its own by digest."""
    mark = tables.digest(load())
    for path in sorted(FIGURES.glob("*.svg")):
        if mark not in path.read_text(encoding="utf-8"):
            yield path.name


if __name__ == "__main__":
    write_documents(load())
