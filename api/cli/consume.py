"""`lagrum consume`: a message queue into the store."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from api.cli.context import Context
from api.cli.daemon import log_warnings, stop_on_signals
from api.cli.ingest import check_format
from api.cli.output import counted, emit, note, show_facts

if TYPE_CHECKING:
    from ingest.consumer import Consumed

_FILE: Final = click.Path(path_type=Path, dir_okay=False)
_KIB: Final = 1 << 10


@click.command("consume")
@click.option("--source", "source_name", required=True, metavar="NAME", help="What delivers the records.")
@click.option("--format", "format_name", required=True, metavar="FORMAT", help="One of `lagrum formats`.")
@click.option("--server", required=True, metavar="URL", help="nats://HOST:PORT, or tls://HOST:PORT beyond loopback.")
@click.option("--stream", required=True, metavar="NAME", help="The JetStream stream; it must exist.")
@click.option("--durable", default="lagrum", show_default=True, metavar="NAME", help="The consumer; made if missing.")
@click.option("--subject", metavar="SUBJECT", help="Take this part of the stream only.")
@click.option("--token-file", metavar="FILE", type=_FILE, help="A token; mode 0600.")
@click.option("--login-file", metavar="FILE", type=_FILE, help="A user and a password in two lines; mode 0600.")
@click.option("--credentials-file", metavar="FILE", type=_FILE, help="NATS .creds, or an nkey's seed; mode 0600.")
@click.option("--ca", metavar="FILE", type=_FILE, help="CA of the broker's certificate; default: the system's.")
@click.option("--certificate", metavar="FILE", type=_FILE, help="Our certificate, where the broker asks for one.")
@click.option("--key", metavar="FILE", type=_FILE, help="Its key.")
@click.option(
    "--batch",
    "messages_max",
    default=2_000,
    show_default=True,
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Messages of a batch at most.",
)
@click.option(
    "--batch-size",
    "batch_kib",
    default=16_384,
    show_default=True,
    type=click.IntRange(1, 262_144),
    metavar="KIB",
    help="A batch is full at so many messages, or so large.",
)
@click.option(
    "--wait",
    "wait_s",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.05, 60),
    metavar="SECONDS",
    help="A batch that is not full waits so long for more.",
)
@click.option("--once", is_flag=True, help="Take in what the queue has, and end.")
@click.pass_obj
def consume(
    context: Context,
    /,
    source_name: str,
    format_name: str,
    messages_max: int,
    batch_kib: int,
    wait_s: float,
    once: bool,
    **where: Any,
) -> int:
    """Take in the messages of a NATS JetStream queue.

    Every message is a delivery: one record, or several. A message is acknowledged when the batch that holds it is
    committed, and not before. One that comes again is recognised by its number in the stream. One that cannot be read
    goes to the quarantine, and is an event in the audit log. While the store is busy or its disk is full, messages go
    back to the broker, which gives them again later.

    It may be stopped and killed at any time, and so may the broker: nothing is lost, nothing is stored twice. Several
    may share one consumer.

    \b
    Examples:
      lagrum consume --source sbc1 --format kamailio-json --server nats://127.0.0.1:4222 --stream CDR
      lagrum consume --source pbx1 --format freeswitch-json --server tls://nats.example.net:4222 \\
        --ca ca.pem --login-file nats.login --stream CDR --subject cdr.pbx1 --durable lagrum-pbx1

    \b
    Exit codes:
      0  done, or stopped by a signal
      1  with --once: a message could not be read, every record was rejected,
         or the broker is away
      2  usage or configuration, credentials that the broker does not take
    """
    check_format(format_name)
    from ingest.consumer import Consumer, ConsumeRules
    from ingest.jetstream import JetStream, JetStreamSettings

    settings = JetStreamSettings(**where)
    log_warnings()
    with context.open_store(takes_in=True) as store:
        queue = JetStream(settings)
        try:
            rules = ConsumeRules(messages_max, batch_kib * _KIB, wait_s)
            consumer = Consumer(store, source_name, format_name, queue, rules)
            stop_on_signals(consumer.stop)
            if not once:
                note(f"consuming stream {settings.stream} for source {source_name}")
            totals = consumer.run(once=once)
        finally:
            queue.close()
    document = asdict(totals)
    emit(context, document, lambda: show_facts(document))
    return _verdict(totals, format_name) if once else 0


def _verdict(totals: Consumed, format_name: str) -> int:
    """Say what was found wrong, and return the exit code that goes with it."""
    from ingest.findings import took_nothing

    if totals.refused:
        note(f"{counted(totals.refused, 'message')} could not be read; `lagrum quarantine list` shows why")
    elif took_nothing(totals.records, totals.rejected, totals.reject_reasons):
        note(f"every record was rejected; is it of format {format_name}? `lagrum quarantine list` shows why")
    else:
        return 0
    return 1


def register(group: click.Group) -> None:
    """Add `consume`."""
    group.add_command(consume)
