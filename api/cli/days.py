"""Days on the command line."""

from __future__ import annotations

from datetime import datetime

import click


class Day(click.DateTime):
    """A UTC date, `YYYY-MM-DD`."""

    def __init__(self) -> None:
        super().__init__(["%Y-%m-%d"])

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return midnight of the day."""
        try:
            day: datetime = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail("this is no date; dates are written YYYY-MM-DD, such as 2026-11-22.", param, ctx)
        return day
