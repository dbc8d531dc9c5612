"""What the demo stands on: it runs the real command line, shows each command, and tells the story in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

LAGRUM: Final = str(Path(sys.executable).with_name("lagrum"))
WIDTH: Final = 110
START_SECONDS_MAX: Final = 60


class DemoError(Exception):
    """A step did not end as it should."""


class Stage:
    """Runs `lagrum` on one store and shows what happens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "store"
        tty = sys.stdout.isatty()
        self.console = Console(highlight=False, width=None if tty else WIDTH)
        self._chapter = 0

    def chapter(self, title: str, text: str = "") -> None:
        """Begin a part of the story."""
        self._chapter += 1
        self.console.print(f"\n[bold cyan]{self._chapter}. {escape(title)}[/]")
        if text:
            self.console.print(f"[dim]{escape(text)}[/]")

    def say(self, text: str) -> None:
        """Tell a result."""
        self.console.print(f"  [green]✓[/] {escape(text)}")

    def refused(self, text: str) -> None:
        """Tell a refusal that had to come."""
        self.console.print(f"  [yellow]✗ refused:[/] {escape(text)}")

    def lagrum(
        self, *words: str | Path, feed: bytes | None = None, fails: bool = False, quiet: bool = False
    ) -> dict[str, Any]:
        """Run one command and return its JSON answer; with `fails`, its refusal as {"error": text}.

        Raises:
            DemoError: it ended otherwise.
        """
        arguments = [str(word) for word in words]
        if not quiet:
            self._show(arguments)
        done = subprocess.run(
            [LAGRUM, "--root", str(self.root), "--json", *arguments],
            input=feed,
            stdin=subprocess.DEVNULL if feed is None else None,
            capture_output=True,
            check=False,
        )
        return self._answer(arguments, done.returncode, done.stdout, done.stderr.decode(), fails=fails)

    def _answer(self, arguments: Sequence[str], code: int, out: bytes, told: str, *, fails: bool) -> dict[str, Any]:
        if fails != (code != 0):
            raise DemoError(f"lagrum {' '.join(arguments[:2])} ended with {code}: {told.strip()}")
        if fails:
            lines = [line for line in told.splitlines() if line.startswith("error: ")]
            return {"error": lines[0].removeprefix("error: ") if lines else told.strip()}
        answer: dict[str, Any] = json.loads(out) if out.strip() else {}
        return answer

    def pour(
        self, words: Sequence[str], write: Callable[[BinaryIO], int], *, title: str, size_bytes: int
    ) -> dict[str, Any]:
        """Run a command that reads standard input, let `write` fill it, and show a bar."""
        arguments = list(words)
        self._show(arguments)
        command = [LAGRUM, "--root", str(self.root), "--json", *arguments]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
            with self._bar(title, size_bytes) as advance:
                try:
                    write(_Counted(process.stdin, advance))  # type: ignore[arg-type]
                    process.stdin.close()
                except BrokenPipeError:
                    pass
            out, told = process.stdout.read(), process.stderr.read()
        return self._answer(arguments, process.returncode, out, told.decode(), fails=False)

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        if not self.console.is_terminal:
            yield lambda _: None
            return
        columns = (TextColumn("  {task.description}"), BarColumn(40), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda amount: progress.update(task, advance=amount)

    def table(self, rows: Sequence[Sequence[object]], headings: Sequence[str]) -> None:
        """Show rows; numbers stand to the right."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for index, heading in enumerate(headings):
            numeric = all(isinstance(row[index], int | float) for row in rows)
            table.add_column(heading, justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*(f"{cell:,}" if isinstance(cell, int) else escape(str(cell)) for cell in row))
        self.console.print(table)

    @contextmanager
    def service(self) -> Iterator[str]:
        """Run `lagrum serve` on a free port and its unix socket; yield its address."""
        self._show(["serve", "--port", "0", "&"])
        with (self.folder / "service.log").open("wb") as log:
            process = subprocess.Popen(
                [LAGRUM, "--root", str(self.root), "--json", "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=log
            )
        try:
            assert process.stdout is not None
            yield str(_first_line(process.stdout, process)["url"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _show(self, arguments: Sequence[str]) -> None:
        words = [_short(word, self.folder) for word in arguments]
        self.console.print(f"  [dim]$ lagrum {escape(' '.join(words))}[/]")


def _first_line(stream: IO[bytes], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS_MAX
    line = stream.readline()
    if not line or time.monotonic() > deadline:
        raise DemoError(f"the service did not start (exit {process.poll()})")
    announced: dict[str, Any] = json.loads(line)
    return announced


def _short(word: str, folder: Path) -> str:
    text = word.replace(str(folder) + os.sep, "")
    return f"'{text}'" if " " in text else text


class _Counted:
    """A binary stream that tells how much went through."""

    def __init__(self, stream: IO[bytes], advance: Callable[[int], None]) -> None:
        self._stream = stream
        self._advance = advance

    def write(self, data: bytes | memoryview) -> int:
        written = self._stream.write(data)
        self._advance(written)
        return written
