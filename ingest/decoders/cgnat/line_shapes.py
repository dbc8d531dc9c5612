"""What usual lines of translations look like, message by message (ADR 38).

Each shape takes only lines that `ingest.decoders.cgnat.messages` reads the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from ingest.decoders import shapes as of
from ingest.decoders.base import Event
from ingest.decoders.cgnat.messages import BINDING, BLOCK, SESSION
from ingest.decoders.shapes import Shapes, Steps, shape

_NAMES: Final = (
    "source", "source_port", "public", "first", "last", "destination", "destination_port", "protocol", "identifier",
    "identifier_32", "epoch", "stamp", "letter", "elapsed", "up", "down", "cause",
)  # fmt: skip
(
    SOURCE, SOURCE_PORT, PUBLIC, FIRST, LAST, DESTINATION, DESTINATION_PORT, PROTOCOL, IDENTIFIER,
    IDENTIFIER_32, EPOCH, STAMP, LETTER, ELAPSED, UP, DOWN, CAUSE,
) = range(len(_NAMES))  # fmt: skip


class Kind(NamedTuple):
    """What a shape's message is; `event` is None where a letter tells it."""

    kind: str
    event: Event | None
    steps: Steps


def _ends(slots: tuple[int, int], between: str = ":") -> Steps:
    return shape(of.quad(slots[0]), between, of.figures(5, slots[1]))


OWN: Final = (SOURCE, SOURCE_PORT)
NAT: Final = (PUBLIC, FIRST)
FAR: Final = (DESTINATION, DESTINATION_PORT)
_REST: Final = of.option(" ", of.span(of.ANY, least=0))
_STRUCTURED: Final = shape(" [junos@", of.span(of.NAME))
_TAIL: Final = shape("]", of.span(of.PLAIN, least=0), of.END)
_PORTS: Final = shape(of.figures(5, FIRST), "-", of.figures(5, LAST))


def _tag(name: str) -> Steps:
    """Return the program's name before a message, as text or as a structured line has it."""
    return shape(of.option(f"{name}: "), of.option(f"{name} - "), of.upto("_", 2))


def _pba(word: str, event: Event) -> list[Kind]:
    head = shape(_tag("RT_NAT"), f"RT_SRC_NAT_PBA_{word}")
    text = shape(
        *(": Subscriber ", of.address(SOURCE), " used/maximum [", of.figures(9), "/", of.figures(9), "] blocks, "),
        *(of.span(of.SMALL), " port block [", _PORTS, "] from ", of.address(PUBLIC)),
        of.option(" in source pool ", of.span(of.SOLID)),
        of.option(" lsys_id: ", of.figures(9)),
        of.option(" epoch ", of.option("0x"), of.hexadecimal(8, 15, EPOCH)),
    )
    structured = of.pairs(
        ("internal-ip", of.ADDRESS, SOURCE),
        ("reflexive-ip", of.ADDRESS, PUBLIC),
        ("block-port-low", of.FIGURES, FIRST),
        ("block-port-high", of.FIGURES, LAST),
        ("epoch-time-64", of.HEXADECIMAL, EPOCH),
    )
    return [
        Kind(BLOCK, event, shape(head, text, of.END)),
        Kind(BLOCK, event, shape(head, _STRUCTURED, structured, _TAIL)),
    ]


def _port_blocks(word: str, event: Event) -> list[Kind]:
    text = shape(f"_NAT_PORT_BLOCK_{word}: ", of.address(SOURCE), " -> ", of.quad(PUBLIC), ":", _PORTS, _REST, of.END)
    heads = (shape(of.upto("_", len(name)), name) for name in ("JSERVICES", "ASP"))
    return [Kind(BLOCK, event, shape(head, text)) for head in heads]


def _flows(word: str, event: Event) -> list[Kind]:
    ends: list[tuple[str, int, int]] = []
    for name, (address, port) in (("source", OWN), ("nat-source", NAT), ("destination", FAR)):
        ends += [(f"{name}-address", of.ADDRESS, address), (f"{name}-port", of.FIGURES, port)]
    told = [("protocol-id", of.SLICE, PROTOCOL), ("session-id", of.SLICE, IDENTIFIER)]
    told += [("session-id-32", of.SLICE, IDENTIFIER_32)]
    if event is Event.CLOSE:
        told += [("elapsed-time", of.FIGURES, ELAPSED), ("bytes-from-client", of.FIGURES, UP)]
        told += [("bytes-from-server", of.FIGURES, DOWN), ("reason", of.SLICE, CAUSE)]
    heads = (shape(_tag("RT_FLOW"), f"RT_FLOW_SESSION_{word}{edition}") for edition in ("", "_USF", "_LS"))
    return [Kind(SESSION, event, shape(head, _STRUCTURED, of.pairs(*ends, *told), _TAIL)) for head in heads]


def _services(word: str, event: Event) -> list[Kind]:
    text = shape(
        *(f"_SESSION_{word}: application:", of.span(of.NAME), " ", of.span(of.SMALL), of.span(of.NAME), " "),
        *(_ends(OWN), " [", _ends(NAT), "] -> ", _ends(FAR), " (", of.span(of.WORD, PROTOCOL), ")", of.END),
    )
    heads = (shape(of.upto("_", back), name) for name, back in (("JSERVICES", 9), ("MSVCS_LOG", 5)))
    return [Kind(SESSION, event, shape(head, text)) for head in heads]


def _batches(word: str, event: Event) -> list[Kind]:
    text = shape(
        *("NAT:", of.span(of.FIGURE, STAMP, least=14, most=14), " ", of.hexadecimal(1, 15), " PortBatch"),
        *(of.option("V2"), f"{word}: [", of.address(SOURCE), " ", of.address(PUBLIC), " "),
        *(of.figures(5, FIRST), " ", of.figures(5, LAST), "]", of.END),
    )
    return [Kind(BLOCK, event, text)]


def _ports(ends: Callable[[tuple[int, int]], Steps]) -> list[Kind]:
    head = shape("NAT-", of.span(of.UPPER, PROTOCOL), "-", of.span(of.UPPER, LETTER, most=1), ": ", ends(OWN))
    far, nat, beyond = ends(FAR), ends(NAT), ends((of.NOWHERE, of.NOWHERE))
    return [
        Kind(BINDING, None, shape(head, "<-->", nat, of.option(" to ", far), of.END)),
        Kind(SESSION, None, shape(head, "<->", far, ", ", nat, "<-->", beyond, of.END)),
    ]


def _hexadecimal_ends(slots: tuple[int, int]) -> Steps:
    return shape(of.hexadecimal(8, 8, slots[0]), ":", of.hexadecimal(1, 4, slots[1]))


_VERSION: Final = (
    *(of.span(of.FIGURE), of.option(".", of.span(of.LETTER)), of.option(".", of.span(of.LETTER))),
    *(of.option("-", of.span(of.LETTER)), of.option("-", of.span(of.LETTER))),
)


def _cef(word: str, event: Event) -> list[Kind]:
    head = shape(
        *("CEF:", of.figures(9), "|A10|", of.span(of.LETTER), "|", *_VERSION, "|", of.span(of.LETTER)),
        *(" ", of.figures(9), "|Nat Port "),
    )
    source = shape("|", of.figures(9), "|proto=", of.span(of.LETTER, PROTOCOL), " src=", of.address(SOURCE))
    public = shape(" sourceTranslatedAddress=", of.address(PUBLIC), " sourceTranslatedPort=", of.figures(5, FIRST))
    last = shape(" cn3=", of.figures(5, LAST), " cn3Label=Last Nat Port")
    far = of.option(" dst=", of.address(DESTINATION), " dpt=", of.figures(5, DESTINATION_PORT))
    batch = shape(head, "Batch ", of.option("Pool "), word, source, public, last, of.END)
    return [
        Kind(BLOCK, event, batch),
        Kind(BINDING, event, shape(head, word, source, " spt=", of.figures(5, SOURCE_PORT), public, far, of.END)),
    ]


def _kinds() -> list[Kind]:
    """Return all kinds of messages, the events of one kind side by side."""
    of_events = [
        [*_pba(block, event), *_port_blocks(active, event), *_batches(batch, event), *_cef(batch, event)]
        for event, block, active, batch in (
            (Event.OPEN, "ALLOC", "ALLOC", "Allocated"),
            (Event.CLOSE, "RELEASE", "RELEASE", "Freed"),
            (Event.UPDATE, "INTERIM", "ACTIVE", "InterimUpdate"),
        )
    ]
    of_sessions = [
        [*_flows(flow, event), *_services(word, event)]
        for event, flow, word in ((Event.OPEN, "CREATE", "OPEN"), (Event.CLOSE, "CLOSE", "CLOSE"))
    ]
    families = (*zip(*of_events, strict=True), *zip(*of_sessions, strict=True))
    return [one for family in families for one in family] + _ports(_ends) + _ports(_hexadecimal_ends)


KINDS: Final = _kinds()
MESSAGES: Final = Shapes(len(_NAMES), *(one.steps for one in KINDS))
IS_HEXADECIMAL: Final = np.arange(len(KINDS)) >= len(KINDS) - len(_ports(_hexadecimal_ends))
