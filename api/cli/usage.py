"""`lagrum usage`: what billing counts. It opens the store itself, as the billing job of the service's user."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from api.cli.context import Context
from api.cli.days import Day
from api.cli.output import emit, show_table
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

    from api.billing.usage import Period

_COLUMNS: Final = (
    ("service_type", "service"),
    ("destination", "destination"),
    ("records", "records"),
    ("duration_ms", "duration ms"),
    ("billable_duration_ms", "billable ms"),
    ("volume_up_bytes", "bytes up"),
    ("volume_down_bytes", "bytes down"),
)
_FORMATS: Final = click.Choice(["table", "csv", "arrow"])
_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_DATE: Final = Day()


def _period_options(function: Any) -> Any:
    function = click.option("--to", "end", type=_DATE, metavar="DATE", help="First day after it.")(function)
    return click.option("--from", "start", type=_DATE, metavar="DATE", help="First day of the period, UTC.")(function)


def _output_options(function: Any) -> Any:
    function = click.option("--output", type=_FILE, metavar="FILE", help="Write it there; csv and arrow.")(function)
    return click.option(
        "--format", "form", type=_FORMATS, default="table", show_default=True, help="How it is written."
    )(function)


def _set_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and ctx.obj is not None:
        ctx.obj.json = True


@click.group("usage", invoke_without_command=True)
@click.option("--account", metavar="ACCOUNT", help="One account; without it every account.")
@_period_options
@_output_options
@click.option("--json", is_flag=True, expose_value=False, callback=_set_json, help="Print one JSON object on stdout.")
@click.pass_context
def usage(ctx: click.Context, account: str | None, form: str, output: Path | None, start: Any, end: Any) -> None:
    """Show an account's usage of a period: counts, durations and volumes.

    Dates are UTC and half-open; a record belongs to the period in which it ended. The figures of a closed period stay
    as they were when it was closed; what came later is in `usage adjustments`. Conflicts are never billed.

    \b
    Examples:
      lagrum usage --account 10017 --from 2026-10-01 --to 2026-11-01
      lagrum usage --from 2026-10-01 --to 2026-11-01 --format arrow --output october.arrow
      lagrum usage close --from 2026-10-01 --to 2026-11-01
      lagrum usage adjustments --from 2026-10-01 --to 2026-11-01 --format csv
    """
    if ctx.invoked_subcommand is not None:
        return
    from api.billing.periods import figures

    context: Context = ctx.obj
    period = _period(start, end)
    with context.read_store(account=account) as store:
        lines, closed = figures(store, period, account=account)
    head = {"from": period.start.isoformat(), "to": period.end.isoformat(), "closed": closed}
    if account is not None:
        head = {"account": account, **head}
    _answer(context, head, lines, form, output)


@usage.command("close")
@_period_options
@click.pass_obj
def close(context: Context, start: Any, end: Any) -> None:
    """Close a period that is over: its figures stay from now on.

    \b
    Example:
      lagrum usage close --from 2026-10-01 --to 2026-11-01
    """
    from api.billing.periods import close as close_period

    with context.open_store() as store:
        closed = close_period(store, _period(start, end)).as_dict()
    emit(context, closed, lambda: show_table([closed], [(name, name) for name in closed]))


@usage.command("periods")
@click.pass_obj
def periods(context: Context) -> None:
    """List the closed periods.

    \b
    Example:
      lagrum usage periods
    """
    from api.billing.periods import closed_periods

    with context.read_store() as store:
        rows = [item.as_dict() for item in closed_periods(store)]
    columns = [("from", "from"), ("to", "to"), ("closed_at", "closed"), ("lines", "lines")]
    emit(context, {"periods": rows}, lambda: show_table(rows, columns))


@usage.command("adjustments")
@click.option("--account", metavar="ACCOUNT", help="One account; without it every account.")
@_period_options
@_output_options
@click.pass_obj
def adjustments(context: Context, account: str | None, form: str, output: Path | None, start: Any, end: Any) -> None:
    """Show what changed in a closed period after its closing.

    Late records, withdrawn batches, and single records that were corrected or erased; what is taken back is negative.
    A line goes onto the bill of the period in which its day of change lies, and never changes.

    \b
    Examples:
      lagrum usage adjustments --from 2026-10-01 --to 2026-11-01
      lagrum usage adjustments --account 10017 --from 2026-10-01 --to 2026-11-01 --format csv --output october.csv
    """
    from api.billing.adjustments import adjustments as adjustment_lines

    period = _period(start, end)
    with context.read_store(account=account) as store:
        lines = adjustment_lines(store, period, account=account)
    head = {"from": period.start.isoformat(), "to": period.end.isoformat()}
    _answer(context, head, lines, form, output)


def register(group: click.Group) -> None:
    """Put the command into the group."""
    group.add_command(usage)


def _period(start: Any, end: Any) -> Period:
    from api.billing.usage import Period

    if start is None or end is None:
        raise ConfigurationError("a period needs --from DATE and --to DATE", hint="--to is the day after the last")
    first: date = start.date()
    return Period(first, end.date())


def _answer(context: Context, head: dict[str, Any], lines: pa.Table, form: str, output: Path | None) -> None:
    if form != "table":
        _write(lines, form, output)
        return
    if output is not None:
        raise ConfigurationError("--output needs --format csv or arrow")
    from api.billing.periods import totals

    rows = lines.to_pylist()
    document = {**head, "lines": rows, "totals": totals(lines)}
    extra = [
        name
        for name in ("kind", "batch_id", "correction", "changed_on", "account")
        if name in lines.column_names and name not in head
    ]
    emit(context, document, lambda: show_table(rows, [*((name, name) for name in extra), *_COLUMNS]))


def _write(lines: pa.Table, form: str, output: Path | None) -> None:
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    from store.files import write_atomic

    sink = pa.BufferOutputStream()
    if form == "csv":
        pa_csv.write_csv(lines, sink)
    else:
        with pa.ipc.new_stream(sink, lines.schema) as writer:
            writer.write_table(lines)
    content = sink.getvalue().to_pybytes()
    if output is not None:
        write_atomic(output, content)
    else:
        sys.stdout.buffer.write(content)
