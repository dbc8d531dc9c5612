"""What commands share that stand and wait for work: a watched folder, what is logged, how they are told to end."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from api.cli.output import note

if TYPE_CHECKING:
    from ingest.findings import Findings

Command = TypeVar("Command", bound=Callable[..., Any])


def watched(function: Command) -> Command:
    """Give a command DIR and the options of `ingest.drop_rules.WatchRules`, and `--every`."""
    decorators = (
        click.option(
            "--settle",
            "settle_s",
            default=5.0,
            show_default=True,
            type=click.FloatRange(0, 3600),
            metavar="SECONDS",
            help="A file is whole when its size and time have not changed for so long.",
        ),
        click.option(
            "--every",
            "poll_s",
            default=2.0,
            show_default=True,
            type=click.FloatRange(0.05, 3600),
            metavar="SECONDS",
            help="Look so often.",
        ),
        click.option(
            "--require",
            type=click.Choice(["done", "md5", "sha256"]),
            help="Take a file only when this companion lies beside it.",
        ),
        click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)),
    )
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def log_warnings() -> None:
    """Log to stderr what an operator should see, without the requests of the HTTP client and the broker's chatter."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("nats").setLevel(logging.CRITICAL)


def tell_findings(findings: Findings, format_name: str) -> None:
    """Say which files were found wrong, and what to do about it."""
    for line in findings.lines():
        note(line)
    if findings.count:
        note(f"hint: are they of format {format_name}? `lagrum quarantine list` shows rejected records")


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` when the process is asked to end; what is under way ends first."""

    def ask_to_stop(_number: int, _frame: Any) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
