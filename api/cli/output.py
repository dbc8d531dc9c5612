"""How the command line speaks: tables to people, one JSON object to machines, progress to stderr."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, TaskID

    from api.cli.context import Context

WIDTH_DEFAULT = 120
"""Columns where there is no terminal to ask."""

GAPS = (3, 2, 1)
"""Spaces between the columns of a table: as many as fit."""

WORD_CHARACTERS_MAX = 27
"""A longer word, such as a digest, may be cut; an instant with microseconds is this long."""

NOTHING = "-"
"""What a cell without a value shows."""

PATIENCE_S = 1.0
"""So long nobody asks what a command does."""

Row = Mapping[str, Any]


def emit(context: Context, document: Mapping[str, Any], render: Callable[[], None] | None = None) -> None:
    """Answer: `document` as one JSON object on stdout with `--json`, else what `render` shows people."""
    if context.json or render is None:
        import orjson

        option = orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0
        click.echo(orjson.dumps(document, option=option, default=str).decode())
    else:
        render()


def refuse_existing(path: Path) -> None:
    """Nothing that a command writes overwrites a file; asked before the service does anything.

    Raises:
        ConfigurationError: there is a file of this name.
    """
    if path.exists():
        raise ConfigurationError("the file exists already", hint="name a new one; nothing is overwritten")


def console(*, stderr: bool = False) -> Console:
    """Return a console that fits the terminal; without one it writes plain text `WIDTH_DEFAULT` wide."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else shutil.get_terminal_size((WIDTH_DEFAULT, 40)).columns
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def show_table(
    rows: Iterable[Row],
    columns: Sequence[tuple[str, str]],
    *,
    title: str | None = None,
    empty: str = "none",
    whole: Collection[str] = (),
) -> None:
    """Show rows as a table; `columns` are (key, heading) pairs; numbers stand to the right.

    `whole` are the keys of columns in which no word is cut, however long it is: names.

    A terminal too narrow for the table is shown each row by itself, names and values under each other.
    """
    collected = list(rows)
    if not collected:
        click.echo(f"{title}: {empty}" if title else empty)
        return
    out = console()
    if (table := make_table(collected, columns, out.width, title=title, whole=whole)) is not None:
        out.print(table)
        return
    if title:
        click.echo(title)
    for index, row in enumerate(collected):
        if index:
            click.echo()
        show_facts({heading: row.get(key) for key, heading in columns})


def make_table(
    rows: Sequence[Row],
    columns: Sequence[tuple[str, str]],
    width: int,
    *,
    title: str | None = None,
    whole: Collection[str] = (),
) -> RenderableType | None:
    """Return the table that `show_table` shows, or None where `width` columns would cut words in two."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    texts = [[heading, *(cell(row.get(key)) for row in rows)] for key, heading in columns]
    extents = [_extent(column, cut=key not in whole) for (key, _), column in zip(columns, texts, strict=True)]
    for gap in GAPS:
        widths = fitted(extents, width - gap * (len(columns) - 1))
        if widths is not None:
            break
    else:
        return None
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    # The box puts one space between columns; the rest of the gap stands beside them.
    table.padding = (0, gap // 2, 0, gap - 1 - gap // 2)
    for (key, heading), column_width in zip(columns, widths, strict=True):
        numeric = all(_is_number(row.get(key)) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold", width=column_width)
    for row in zip(*(column[1:] for column in texts), strict=True):
        table.add_row(*map(Text, row))
    return table


def fitted(extents: Sequence[tuple[int, int]], room: int) -> list[int] | None:
    """Return column widths that add up to `room` at most; `extents` are (longest word, longest line) of each column.

    The widest column that can still break between words gives way first. None where words do not fit.
    """
    widths = [line for _, line in extents]
    while (excess := sum(widths) - room) > 0:
        givers = [at for at, (word, _) in enumerate(extents) if widths[at] > word]
        if not givers:
            return None
        at = max(givers, key=lambda index: widths[index])
        others = [widths[index] for index in givers if widths[index] < widths[at]]
        step = widths[at] - max([extents[at][0], *others])
        widths[at] -= max(1, min(step, excess))
    return widths


def _extent(texts: Sequence[str], *, cut: bool) -> tuple[int, int]:
    """Return the length of the longest word, with `cut` at most `WORD_CHARACTERS_MAX`, and of the longest line."""
    from rich.cells import cell_len

    line = max(cell_len(text) for text in texts)
    word = max((cell_len(word) for text in texts for word in text.split()), default=1)
    return min(word, WORD_CHARACTERS_MAX) if cut else word, max(line, 1)


def show_facts(
    facts: Mapping[str, Any], *, title: str | None = None, stderr: bool = False, literal: bool = False
) -> None:
    """Show names and values under each other; `literal` names, such as fields of a record, keep their underscores.

    A value breaks between words. A longer word, such as a path, is on a line of its own, for the terminal to break:
    who copies it gets it whole.
    """
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    out = console(stderr=stderr)
    if title:
        out.print(Text(title, style="italic"))
    names = [name if literal else name.replace("_", " ") for name in facts]
    indent = max(map(cell_len, names), default=0) + 2
    for name, value in zip(names, facts.values(), strict=True):
        for number, line in enumerate(_broken(cell(value), out.width - indent)):
            head = Text(set_cell_size("" if number else name, indent), style="bold")
            out.print(Text.assemble(head, line), soft_wrap=True)


def _broken(text: str, width: int) -> list[str]:
    """Return lines of at most `width` columns, broken between words; a longer word is a line."""
    from rich.cells import cell_len

    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split(" "):
            if line and cell_len(line) + 1 + cell_len(word) > width:
                lines.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        lines.append(line)
    return lines


def cell(value: object) -> str:
    """Return a value as people read it."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {cell(item)}" for name, item in value.items()) or NOTHING
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value) or NOTHING
    return str(value) or NOTHING


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def note(text: str) -> None:
    """Say something to people only; it goes to stderr."""
    click.echo(text, err=True)


@contextmanager
def patience(text: str) -> Iterator[None]:
    """Say on a terminal what the body does, once it has taken `PATIENCE_S`."""
    if not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(PATIENCE_S, note, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: 1 replica, 2 replicas."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def bytes_text(size_bytes: int) -> str:
    """Return a size as people read it: 1.5 GB."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class Bar(Protocol):
    """A progress bar that the work moves."""

    def advance(self, amount: int) -> None:
        """Move by `amount`."""
        ...

    def reach(self, done: int, total: int | None) -> None:
        """Move to `done` of `total`."""
        ...


class _Silence:
    """The bar of those who cannot see."""

    def advance(self, amount: int) -> None:
        pass

    def reach(self, done: int, total: int | None) -> None:
        pass


class _Shown:
    """A bar on the terminal."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown, self._task = shown, task

    def advance(self, amount: int) -> None:
        self._shown.update(self._task, advance=amount)

    def reach(self, done: int, total: int | None) -> None:
        self._shown.update(self._task, completed=done, total=total)


@contextmanager
def progress(title: str, total: int | None, *, unit: str = "bytes") -> Iterator[Bar]:
    """Show a bar on stderr while the body runs; nothing where stderr is no terminal. `total` None has no end yet."""
    if not sys.stderr.isatty():
        yield _Silence()
        return
    from rich import progress as bars

    amount: list[bars.ProgressColumn] = (
        [bars.DownloadColumn(), bars.TransferSpeedColumn()] if unit == "bytes" else [bars.MofNCompleteColumn()]
    )
    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        *amount,
        bars.TimeRemainingColumn(compact=True),
        console=console(stderr=True),
        transient=True,
    ) as shown:
        yield _Shown(shown, shown.add_task(title, total=total))
