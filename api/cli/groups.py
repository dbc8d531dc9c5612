"""The command group: commands are loaded when they are called, and every one takes `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import click


@dataclass(frozen=True, slots=True)
class Entry:
    """One command at the top: its name, the module in `api.cli` that registers it, its line in `lagrum --help`."""

    name: str
    module: str
    summary: str


SECTIONS: Final[tuple[tuple[str, tuple[Entry, ...]], ...]] = (
    (
        "Set up",
        (
            Entry("init", "init", "Make a new store and its first two custodians."),
            Entry("serve", "serve", "Serve the store over HTTP and on its unix socket."),
            Entry("sources", "sources", "Register and list what delivers records."),
            Entry("person", "persons", "Enrol, revoke and list persons; two custodians act together."),
            Entry("authority", "authorities", "Register, revoke and list authorities; two custodians act together."),
            Entry("keys", "keys", "Show, rotate and replicate the keyring, and forget a replica."),
        ),
    ),
    (
        "Take in",
        (
            Entry("ingest", "ingest", "Take in files of call records."),
            Entry("watch", "watch", "Take in the files of a drop folder as they become ready."),
            Entry("consume", "consume", "Take in the messages of a queue (NATS JetStream)."),
            Entry("listen", "listen", "Take in RADIUS accounting and flows (IPFIX, NetFlow v9) by UDP."),
            Entry("forward", "forward", "Push a folder's files to a store elsewhere; the agent of a switch's host."),
            Entry("formats", "formats", "List the formats that can be read, try a mapping file."),
            Entry("quarantine", "quarantine", "List, show and replay rejected records."),
            Entry("reconcile", "reconcile", "Compare what was delivered with what is stored, per source and hour."),
            Entry("withdraw", "withdraw", "Withdraw a batch that was read wrongly."),
            Entry("correct", "correct", "Restrict, supersede or rectify single records."),
        ),
    ),
    (
        "Give out",
        (
            Entry("usage", "usage", "Show an account's usage of a period."),
            Entry("subscriptions", "subscriptions", "Import and list which account an identifier belonged to."),
            Entry("disclosure", "disclosure", "Register, approve, run and deliver an authority's order."),
            Entry("subject", "subjects", "Answer a person who asks for their own records; two persons act together."),
            Entry("delivery", "delivery", "Open and verify a delivery, on the authority's side."),
        ),
    ),
    (
        "Keep and prove",
        (
            Entry("status", "status", "Show the store and its partitions."),
            Entry("retention", "retention", "Explain, show and enforce how long records are kept."),
            Entry("hold", "hold", "Hold single records beyond their partition's end; two custodians act together."),
            Entry("compact", "compact", "Merge small parts of the partitions into few."),
            Entry("verify", "verify", "Derive everything anew and say what is wrong."),
            Entry("backup", "backup", "Copy the store without its keys into a folder."),
            Entry("restore", "backup", "Join a backup with the current keyring in a new root."),
            Entry("audit", "audit", "Checkpoint, verify and export the audit log."),
            Entry("doctor", "doctor", "Check the machine, the root and the clock."),
        ),
    ),
)

ENTRIES: Final[dict[str, Entry]] = {entry.name: entry for _, entries in SECTIONS for entry in entries}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, imported when they are called.

    `lagrum --help` imports none of them: it answers from the table above.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order of the table."""
        return list(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command, importing its module on first use."""
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        if cmd_name not in self.commands:
            before = set(self.commands)
            import_module(f"api.cli.{entry.module}").register(self)
            for name in set(self.commands) - before:  # a module may bring more than one
                take_json(self.commands[name])
        return self.commands[cmd_name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; an unknown one is told with its neighbours, which are not imported yet."""
        try:
            return super().resolve_command(ctx, args)
        except click.exceptions.NoSuchCommand as error:
            raise click.exceptions.NoSuchCommand(error.command_name, possibilities=ENTRIES, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands under their sections."""
        for title, entries in SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(entry.name, entry.summary) for entry in entries])


def take_json(command: click.Command) -> None:
    """Give the command and all below it the option `--json`, unless it has one."""
    if isinstance(command, click.Group):
        for child in command.commands.values():
            take_json(child)
            if child.help and not child.short_help:  # the whole first sentence, where click would cut it
                first = " ".join(child.help.partition("\n\n")[0].split())
                child.short_help = first.partition(". ")[0].rstrip(".") + "."
    elif not any("--json" in parameter.opts for parameter in command.params):
        command.params.append(
            click.Option(
                ["--json"],
                is_flag=True,
                expose_value=False,
                callback=_set_json,
                help="Print one JSON object on stdout.",
            )
        )


def _set_json(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
    if value and ctx.obj is not None:
        ctx.obj.json = True
