"""Small deliveries that are read as one hold what each holds by itself."""

from __future__ import annotations

import io
from typing import Any

import pytest

from bench.format_inputs import TEXTS, Call
from ingest.decoders import decoder
from ingest.decoders.base import Decoded
from ingest.source_config import SourceConfig

MIDNIGHT = 1_795_305_600
FORMATS = ("kamailio-json", "kamailio-acc", "opensips-acc", "radius-detail")
SOURCE = SourceConfig("east", country="SE")
HEAD = b"Sun Nov 22 10:00:00 2026\n"


def bodies_of(name: str) -> list[bytes]:
    """Return bodies of one call, of one record each, and of nothing but a call's first record."""
    calls = [TEXTS[name].write(Call(number, MIDNIGHT)).encode() for number in range(6)]
    end = b"\n\n" if name == "radius-detail" else b"\n"
    singles = [piece + end for piece in calls[0].split(end) if piece]
    return [*calls[1:], *singles]


def alone(name: str, body: bytes) -> list[dict[str, Any]]:
    parts: list[Decoded] = list(decoder(name).decode(io.BytesIO(body), SOURCE))
    return [row for part in parts for row in part.table.to_pylist()]


def together(name: str, bodies: list[bytes]) -> Any:
    chosen: Any = decoder(name)
    return chosen.decode_bodies(bodies, SOURCE)


@pytest.mark.parametrize("name", FORMATS)
def test_bodies_hold_the_same_together_and_alone(name: str) -> None:
    bodies = bodies_of(name)
    found = together(name, bodies)
    assert found is not None
    decoded, ends = found
    rows = decoded.table.to_pylist()
    for body, begin, end in zip(bodies, [0, *ends], ends, strict=False):
        own = alone(name, body)
        assert [row | {"position": row["position"] - begin} for row in rows[begin:end]] == own
    assert ends[-1] == len(rows) and not decoded.rejects


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("kamailio-json", b"[]"),
        ("kamailio-json", b'{"method":'),
        ("kamailio-json", b'[{"method":"INVITE"},{"method":"BYE"}]'),
        ("kamailio-json", b"\xff\xfe{\x00"),
        ("kamailio-acc", bodies_of("kamailio-acc")[0][:-1]),
        ("kamailio-acc", b"INVITE|a|b\n"),
        ("opensips-acc", b"INVITE|a|b\n"),
        ("radius-detail", bodies_of("radius-detail")[0][:-2]),
        ("radius-detail", HEAD + b"\tAcct-Status-Type = Start\n"),
        ("radius-detail", b"\tAcct-Status-Type = Start\n\n" + HEAD + b'\tUser-Name = "u"\n\n'),
        ("radius-detail", b""),
    ],
)
def test_what_is_not_plain_is_read_alone_with_its_neighbours(name: str, body: bytes) -> None:
    sound = bodies_of(name)
    assert together(name, [sound[0], body, sound[1]]) is None
