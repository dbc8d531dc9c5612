"""`lagrum subscriptions`: which account an identifier belonged to, and when, where sources tell no account."""

from __future__ import annotations

from pathlib import Path

import click

from api.cli.context import Context
from api.cli.output import emit, show_table
from schemas.errors import ConfigurationError


@click.group("subscriptions")
def subscriptions() -> None:
    """Import and list subscriptions, for usage of records without an account.

    \b
    Example:
      lagrum subscriptions import --country SE subscriptions.csv
    """


@subscriptions.command("import")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--country", metavar="CC", help="Country of numbers that are written nationally.")
@click.pass_obj
def import_file(context: Context, path: Path, country: str | None) -> None:
    """Import a CSV with the header kind,value,account,valid_from,valid_to.

    kind is number, imsi, mac or ip; dates are UTC and half-open, an empty valid_to is open. A row with the same kind,
    value and valid_from replaces the earlier one. All rows are imported, or none.

    \b
    Example:
      lagrum subscriptions import --country SE subscriptions.csv
    """
    from api.billing.subscriptions import import_rows, parse

    try:
        with path.open(encoding="utf-8-sig", newline="") as stream, context.open_store() as store:
            counts = import_rows(store, parse(stream, country=country))
    except UnicodeDecodeError:
        raise ConfigurationError("the file is not UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    emit(context, counts, lambda: show_table([counts], [(name, name) for name in counts]))


@subscriptions.command("list")
@click.option("--account", metavar="ACCOUNT", help="One account; without it every account.")
@click.pass_obj
def list_rows(context: Context, account: str | None) -> None:
    """List subscriptions.

    \b
    Example:
      lagrum subscriptions list --account 10017
    """
    from api.billing.subscriptions import COLUMNS, load

    with context.read_store(account=account) as store:
        items = [item for item in load(store) if account in (None, item.account)]
    rows = [{name: getattr(item, name) for name in COLUMNS} for item in items]
    emit(context, {"subscriptions": rows}, lambda: show_table(rows, [(name, name) for name in COLUMNS]))


def register(group: click.Group) -> None:
    """Put the command into the group."""
    group.add_command(subscriptions)
