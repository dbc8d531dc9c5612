"""FreeSWITCH bodies: three encodings, one or many, mixed, torn, beyond the bound; and what is none."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from urllib.parse import quote, quote_plus

import pytest

from ingest.decoders.freeswitch.json_cdr import FreeswitchJson
from schemas.errors import InputError
from schemas.rejects import RejectReason
from tests.ingest.test_decode_freeswitch import (
    FIXTURES,
    LEGS,
    SOURCE,
    decode,
    leg,
    only,
    text,
)

# bodies


@pytest.mark.parametrize(
    "name",
    [
        "legs_encoded_values.ndjson",
        "legs_form.txt",
        "legs_form_encoded_values.txt",
        "legs_base64.txt",
        "legs_indented.json",
    ],
)
def test_every_encoding_of_the_body_gives_the_same_legs(name: str) -> None:
    records, rejects = decode((FIXTURES / name).read_bytes())
    assert not rejects
    assert records == decode(LEGS)[0]
    assert len(records) == 5


@pytest.mark.parametrize("sip", [False, True])
def test_one_posted_body_is_told_by_its_first_bytes(sip: bool) -> None:
    plain = text(leg(accountcode="a&b=c+d/e%2B"))
    expected = only(decode(plain))
    assert expected["account"] == "a&b=c+d/e%2B"
    base = base64.b64encode(plain.encode()).decode()
    wrapped = "\n".join(base[at : at + 72] for at in range(0, len(base), 72))
    bodies = [
        "cdr=" + quote(plain, safe=""),
        "cdr=" + quote_plus(plain),
        quote(plain, safe=""),  # the error directory has no cdr=
        "uuid=0f6a1b2c&cdr=" + quote(plain, safe=""),
        "cdr=" + plain,
        "cdr=" + base,
        base,
        "cdr=" + quote(base, safe=""),
        base.rstrip("="),
        wrapped,
        "cdr=" + wrapped,
        "\ufeff" + plain,
        "\r\n" + plain + "\r\n",
        json.dumps(json.loads(plain), indent=4),
    ]
    for body in bodies:
        assert only(decode(body)) == expected
        assert only(decode(body + "\n")) == expected


def test_bodies_may_follow_each_other_without_anything_between() -> None:
    bodies = [line.decode() for line in LEGS.splitlines()]
    expected, _ = decode(LEGS)
    for between in ("", " ", "\n\n", "\r\n"):
        assert decode(between.join(bodies)) == (expected, [])


def test_kinds_of_bodies_may_be_mixed() -> None:
    bodies = [text(leg(uuid=f"u{number}")) for number in range(5)]
    data = "\n".join(
        [
            bodies[0],
            "cdr=" + quote(bodies[1], safe=""),
            json.dumps(json.loads(bodies[2]), indent=2),
            base64.b64encode(bodies[3].encode()).decode(),
            bodies[4],
        ]
    )
    assert [record["record_key"] for record in decode(data)[0]] == ["u0", "u1", "u2", "u3", "u4"]


def test_many_wrapped_base64_bodies_stay_apart() -> None:
    bodies = [base64.encodebytes(line).decode() for line in LEGS.splitlines()]
    assert decode("".join(bodies)) == (decode(LEGS)[0], [])


def test_a_dial_string_with_braces_does_not_end_a_body() -> None:
    document = leg(last_arg="{a=b}{c=d}[e]}\n{sofia/gateway/x}{")
    assert len(decode(text(document) + text(document))[0]) == 2


def test_a_truncated_body_costs_no_other() -> None:
    lines = LEGS.splitlines()
    for cut in (10, len(lines[1]) // 2, len(lines[1]) - 2):
        for end in (b"\n", b""):
            records, rejects = decode(b"\n".join([lines[0], lines[1][:cut] + end + lines[2], lines[3]]))
            assert [record["position"] for record in records] == [1, 3, 4]
            assert [(one.position, one.reason, one.raw) for one in rejects] == [(2, RejectReason.MALFORMED, None)]
            assert rejects[0].offset == len(lines[0]) + 1
            assert rejects[0].length_bytes is not None and cut <= rejects[0].length_bytes <= cut + 1


@pytest.mark.parametrize(
    "body", ["garbage", "[]", "12", "null", "cdr=", "cdr=%7B", "eyJhIjo", "{}}", "{", "}", "<cdr/>"]
)
def test_what_is_no_body_is_rejected_in_its_line(body: str) -> None:
    records, rejects = decode(f"{body}\n{text(leg())}\n")
    assert (len(records), len(rejects)) == (1, 1)
    assert (rejects[0].reason, rejects[0].raw) == (RejectReason.MALFORMED, None)


def test_a_body_beyond_the_bound_is_read_past() -> None:
    good = text(leg())
    for long in ("x" * (3 << 20), '{"variables":{"a":"' + "y" * (5 << 20) + '"}}', "{" * (2 << 20)):
        records, rejects = decode(f"{good}\n{long}\n{good}")
        assert [record["position"] for record in records] == [1, 3]
        assert [(one.reason, one.length_bytes, one.raw) for one in rejects] == [
            (RejectReason.TOO_LONG, len(long), None)
        ]


def test_a_long_stream_is_never_held() -> None:
    class Endless(io.RawIOBase):
        left = 100 << 20

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            given = min(size, 1 << 20, self.left)
            self.left -= given
            return b"z" * given

    tracemalloc.start()
    parts = list(FreeswitchJson().decode(Endless(), SOURCE))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [reject.length_bytes for part in parts for reject in part.rejects] == [100 << 20]
    assert peak < 64 << 20


def test_many_bodies_on_one_line_are_read_in_stretches() -> None:
    assert len(decode(text(leg()) * 2000)[0]) == 2000


def test_utf16_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError):
        decode(text(leg()).encode("utf-16"))
