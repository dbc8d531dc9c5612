"""`lagrum listen`: RADIUS accounting and flows by UDP into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import click

from api.cli.context import Context
from api.cli.daemon import log_warnings, stop_on_signals
from api.cli.output import emit, note, show_facts, show_table

if TYPE_CHECKING:
    from ingest.listeners.flow import FlowCollector
    from ingest.listeners.radius import RadiusListener

_PORT = click.IntRange(0, 65_535)


@click.group("listen")
def listen() -> None:
    """Take in what devices send by UDP: RADIUS accounting, IPFIX and NetFlow v9.

    Only registered peers are heard, each for its source. Restart a listener after a change of its peers.

    \b
    Example:
      openssl rand -hex 24 | lagrum listen peer bras1 --role radius --address 192.0.2.7 --source bras1 --secret-file -
      lagrum listen radius --host 192.0.2.1
      lagrum listen peer cgn1 --role flow --address 192.0.2.64/28 --source cgn1
      lagrum listen flow --host 192.0.2.1 --port 4739
    """


@listen.command("radius")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", default=1813, show_default=True, type=_PORT, help="UDP port; 0 takes a free one.")
@click.pass_obj
def radius(context: Context, host: str, port: int) -> int:
    """Take in RADIUS accounting (RFC 2866); a packet is answered when it is durable.

    Packets of strangers, and those that were not made with the peer's secret, get no answer. They are counted, and are
    an event in the audit log. It may be stopped and killed at any time: what was not answered is sent again.

    \b
    Example:
      lagrum listen radius --host 192.0.2.1
    """
    from ingest.listeners.radius import RadiusListener

    return _run(context, host, port, RadiusListener)


@listen.command("flow")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", default=4739, show_default=True, type=_PORT, help="UDP port; 0 takes a free one.")
@click.pass_obj
def flow(context: Context, host: str, port: int) -> int:
    """Take in NAT events of IPFIX (RFC 8158) and NetFlow v9.

    Exporters are known by their address alone: let only them reach the port. What the network or the kernel dropped is
    counted, and is an event in the audit log.

    \b
    Example:
      lagrum listen flow --host 192.0.2.1
    """
    from ingest.listeners.flow import FlowCollector

    return _run(context, host, port, FlowCollector)


@listen.command("peer")
@click.argument("name")
@click.option("--role", required=True, type=click.Choice(["radius", "flow"]), help="What it sends.")
@click.option("--address", required=True, metavar="ADDRESS", help="Its address, or its network (192.0.2.0/28).")
@click.option("--source", "source_name", required=True, metavar="NAME", help="The source that its records belong to.")
@click.option(
    "--secret-file", type=click.File("rb"), metavar="FILE", help="RADIUS: the shared secret, one line; '-' reads stdin."
)
@click.pass_obj
def peer(context: Context, name: str, role: str, address: str, source_name: str, secret_file: BinaryIO | None) -> None:
    """Register a device that may send, or change it. Its secret is sealed, and shown nowhere.

    \b
    Examples:
      lagrum listen peer bras1 --role radius --address 192.0.2.7 --source bras1 --secret-file bras1.secret
      lagrum listen peer cgn1 --role flow --address 192.0.2.16/28 --source cgn1
    """
    from ingest.listeners import peers

    if (role == peers.RADIUS) != (secret_file is not None):
        raise click.UsageError("--secret-file goes with --role radius, and only with it")
    secret = b"" if secret_file is None else secret_file.read(peers.SECRET_OCTETS_MAX + 3).rstrip(b"\r\n")
    with context.open_store() as store:
        peers.register(store, name, role, address, source_name, secret, actor="command-line")
    document = {"peer": name, "role": role, "source": source_name}
    emit(context, document, lambda: show_facts(document))


@listen.command("status")
@click.pass_obj
def status(context: Context) -> None:
    """Show who may send, and what every listener has counted since it started.

    \b
    Example:
      lagrum listen status
    """
    from ingest.listeners import peers, tallies

    with context.open_store() as store:
        known = [
            {"peer": one.name, "role": one.role, "address": str(one.network), "source": one.source}
            for one in peers.registered(store)
        ]
        counted = tallies.all_of(store)
    document = {"peers": known, "listeners": counted}

    def show() -> None:
        show_table(known, [(name, name) for name in ("peer", "role", "address", "source")])
        for name, counts in counted.items():
            show_facts({"listener": name, **counts})

    emit(context, document, show)


def register(group: click.Group) -> None:
    """Add `listen`."""
    group.add_command(listen)


def _run(context: Context, host: str, port: int, make: type[RadiusListener | FlowCollector]) -> int:
    from ingest.listeners.udp import UdpPort

    log_warnings()
    with context.open_store(takes_in=True) as store, UdpPort(host, port) as bound:
        listener = make(store, bound)
        stop_on_signals(listener.stop)
        note(f"listening on UDP port {bound.number}")
        listener.run()
        document = dict(listener.counts)
    emit(context, document, lambda: show_facts(document))
    return 0
