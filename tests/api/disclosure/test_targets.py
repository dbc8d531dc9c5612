"""Targets, however an order writes them."""

from __future__ import annotations

import io

import pytest

from api.disclosure.orders import WrittenTarget
from api.disclosure.targets import normalise_target
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import ProcedureError
from store.clock import to_text
from tests.api.disclosure.conftest import WINDOW, Court
from tests.store.records import DAY_US


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        *[
            ("number", written, "46701740007")
            for written in (
                "46701740007",
                "+46701740007",
                "0046701740007",
                "0701740007",
                "070-174 00 07",
                " +46 70 174 00 07 ",
                "+46 (0)70 174 00 07",
                "0046 (0)70 174 00 07",
                "46(0)70 174 00 07",
                "(0)70 174 00 07",
            )
        ],
        ("number", "112", "112"),
        ("number", "sip:bob@example.net", "sip:bob@example.net"),
        ("imsi", "24001 0000000001", "240010000000001"),
        ("imei", "35-693803-564380-9", "35693803564380"),
        ("imei", "3569380356438012", "35693803564380"),
        ("mac", "02-00-5E-10-00-0A", "02:00:5e:10:00:0a"),
        ("mac", "0200.5e10.000a", "02:00:5e:10:00:0a"),
        ("ip", "2001:DB8:0:0::5", "2001:db8::5"),
        ("ip", "203.0.113.5", "203.0.113.5"),
        ("ip", "::ffff:203.0.113.5", "203.0.113.5"),
        ("account", " 10077 ", "10077"),
    ],
)
def test_every_way_of_writing_gives_the_value_that_is_searched_for(kind: str, written: str, value: str) -> None:
    target = normalise_target(kind, written, country="SE")
    assert (target.kind, target.value, target.as_written) == (kind, value, written.strip())


@pytest.mark.parametrize(
    ("kind", "written", "port"),
    [
        ("number", "", None),
        ("number", "call bob", None),
        ("number", "\u0664\u0666\u0667", None),
        ("number", "4.67017E+10", None),
        ("number", "46701740007.0", None),
        ("number", "'46701740007", None),
        ("number", "#####", None),
        ("imsi", "2400", None),
        ("imsi", "24001000000000A", None),
        ("imei", "1234567890123", None),
        ("mac", "02:00:5e:10:00", None),
        ("ip", "203.0.113.0/24", None),
        ("ip", "203.0.113.500", None),
        ("ip", "fe80::1%eth0", None),
        ("ip", "203.0.113.5", 65_536),
        ("number", "46701740007", 5060),
        ("account", "x" * 300, None),
        ("account", "a\nb", None),
        ("account", "", None),
        ("imsi", "\u0662\u0664\u0660\u0660\u0661" * 3, None),
    ],
)
def test_a_value_without_its_kinds_form_is_refused_and_not_quoted(kind: str, written: str, port: int | None) -> None:
    with pytest.raises(ProcedureError) as refusal:
        normalise_target(kind, written, country="SE", port=port)
    assert refusal.value.reason == "bad-target"
    assert not written or written not in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "written", "narrowed"),
    [
        ("account", "0099", {"held_on": "2026-01-01"}),
        ("number", "46701740007", {"held_on": "2026-1-1"}),
        ("number", "46701740007", {"tenant": "acme"}),
        ("ip", "203.0.113.5", {"tenant": "a b"}),
        ("number", "46701740007", {"element": "cgn-1"}),
        ("ip", "203.0.113.5", {"element": ""}),
        ("ip", "203.0.113.5", {"element": "x" * 256}),
        ("ip", "203.0.113.5", {"element": "a\nb"}),
    ],
)
def test_what_narrows_a_target_has_a_form_too(kind: str, written: str, narrowed: dict[str, str]) -> None:
    assert normalise_target(kind, written, country="SE")
    with pytest.raises(ProcedureError) as refusal:
        normalise_target(kind, written, country="SE", **narrowed)
    assert refusal.value.reason == "bad-target"


def test_a_kind_that_there_is_not_is_refused_whatever_its_value() -> None:
    with pytest.raises(ProcedureError) as refusal:
        normalise_target("address", "203.0.113.5", country="SE")
    assert refusal.value.reason == "target-kind"


def test_a_target_shows_its_kind_only() -> None:
    assert "46701740007" not in repr(normalise_target("number", "46701740007", country="SE"))


@pytest.mark.parametrize(
    "written",
    ["+460701740007", "00460701740007", "460701740007", "+49 0 30 123456", "+36 06 30 1234567", "+7 8 912 345 67 89"],
)
def test_a_national_prefix_behind_a_country_code_is_refused_with_what_to_do(written: str) -> None:
    """Nobody has such a number: a search for it is answered by a signed none-found."""
    with pytest.raises(ProcedureError) as refusal:
        normalise_target("number", written, country="SE")
    assert refusal.value.reason == "national-prefix"
    assert refusal.value.hint is not None
    assert written not in f"{refusal.value}{refusal.value.hint}"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("+39 06 1234567", "39061234567"),  # Italy keeps its zero
        ("+225 07 01 23 45 67", "2250701234567"),
        ("+800 0123 4567", "80001234567"),  # of no country
        ("000", "000"),
    ],
)
def test_a_zero_that_belongs_to_the_number_stays(written: str, value: str) -> None:
    assert normalise_target("number", written, country="SE").value == value


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        *[("number", value) for value in ("anonymous", "sip:anonymous@anonymous.invalid", "Unknown", "0000000000")],
        ("account", "anonymous@eap.example"),
        ("imsi", "000000000000000"),
        ("imei", "00000000-000000-0"),
        ("mac", "00:00:00:00:00:00"),
        ("mac", "FF-FF-FF-FF-FF-FF"),
        *[("ip", value) for value in ("0.0.0.0", "255.255.255.255", "127.0.0.1", "239.1.2.3", "::", "::1", "ff02::1")],
    ],
)
def test_what_stands_for_nobody_is_no_target(kind: str, written: str) -> None:
    """It names everybody of whom that was written."""
    with pytest.raises(ProcedureError) as refusal:
        normalise_target(kind, written, country="SE")
    assert refusal.value.reason == "nobody"


def test_an_order_finds_what_a_switch_wrote_with_the_national_prefix_and_tells_how_it_wrote_it(
    shared_court: Court,
) -> None:
    """By every writing of such a switch, from a source without a country too; an Italian zero is another number."""
    written = ("+460709990001", "00460709990001", "460709990001", "+46 (0)709990001", "+46709990001", "+390709990001")
    start = to_text(WINDOW.start_us + DAY_US)
    lines = [f"{key},voice,{number},112,{start},60\n" for key, number in enumerate(written, 1)]
    head = "record_key,service_type,calling_number,called_number,start_time,duration_s\n"
    for country in ("SE", None):
        source = SourceConfig(f"switch-{country}", zone=None, country=country)
        receipt = ingest_stream(shared_court.store, source, "csv", io.BytesIO((head + "".join(lines)).encode()))
        assert receipt.accepted == len(written)
    for number, hows in (("+46 70 999 00 01", written[:5]), ("+39 070 999 0001", written[5:])):
        task = shared_court.released(targets=(WrittenTarget("number", number),))
        rows = shared_court.open(shared_court.deliver(task.id))[1]
        told = sorted(row.get("calling_number_delivered") or row["calling_number"] for row in rows)
        assert told == sorted(hows * 2)
        assert len({row["calling_number"] for row in rows}) == 1
