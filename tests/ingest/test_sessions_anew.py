"""Keys of sessions that are used again: what one delivery says in one go is stored as if it came in several."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import pytest

from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from store import ScanQuery, Store, native
from store.open_sessions import session_numbers
from tests.conftest import FixedClock
from tests.store.records import NOW_US

NAMES = ("accepted", "duplicates", "conflicts", "rejected", "rows")


def packet(kind: str, at_s: int, length_s: int | None = None) -> bytes:
    told = "" if length_s is None else f"\tAcct-Session-Time = {length_s}\n"
    return (
        f'Fri Nov 20 09:00:00 2026\n\tAcct-Status-Type = {kind}\n\tAcct-Session-Id = "7"\n'
        f"\tNAS-IP-Address = 192.0.2.1\n\tFramed-IP-Address = 10.0.0.9\n"
        f'\tEvent-Timestamp = "{at_s}"\n{told}\tTimestamp = 1795165200\n\n'
    ).encode()


def line(letter: str, at: str) -> bytes:
    ends = "100.64.1.6:123<-->203.0.113.73:123 to 198.51.100.8:123"
    return f"2026-11-20T09:{at}+00:00 cgn NAT-UDP-{letter}: {ends}\n".encode()


def flow(word: str, at_s: int, length_s: int) -> bytes:
    told = f" delta-time={length_s}" if word == "[DESTROY]" else ""
    ends = "src=10.0.0.1 dst=1.1.1.1 sport=123 dport=123 src=1.1.1.1 dst=2.2.2.2 sport=123 dport=123"
    return f"[{at_s}.250000]\t{word:>9} ipv4     2 udp      17 {ends}{told}\n".encode()


START, STOP = packet("Start", 1795165190), packet("Stop", 1795165200, 10)
START_2, STOP_2 = packet("Start", 1795168790), packet("Stop", 1795168800, 10)


def stored(where: Path, format: str, deliveries: list[bytes], source: SourceConfig) -> tuple[int, ...]:
    with Store.create(where, clock=FixedClock(NOW_US)) as store:
        receipts = [ingest_stream(store, source, format, io.BytesIO(one)) for one in deliveries]
    return tuple(sum(getattr(one, name) for one in receipts) for name in NAMES)


@pytest.mark.parametrize(
    ("format", "events"),
    [
        ("radius-detail", [STOP, STOP_2]),  # both Starts are lost
        ("radius-detail", [START, STOP, STOP_2]),
        ("radius-detail", [START, STOP, START_2, STOP_2, STOP]),
        ("radius-detail", [STOP_2, STOP, START_2, START]),
        ("cgnat-syslog", [line("C", "00:00"), line("D", "00:01"), line("D", "00:02"), line("C", "01:00")]),
        ("cgnat-syslog", [line("C", "00:00"), line("D", "00:01"), line("C", "00:02"), line("D", "00:03")]),
        ("conntrack", [flow("[DESTROY]", 1795165200, 10), flow("[DESTROY]", 1795165300, 10)]),
    ],
)
def test_one_delivery_stores_what_several_do(tmp_path: Path, format: str, events: list[bytes]) -> None:
    options = {"session_ids": "reused"} if format == "radius-detail" else {}
    source = SourceConfig("s", country="SE", options=options)
    whole = stored(tmp_path / "whole", format, [b"".join(events)], source)
    assert whole == stored(tmp_path / "apart", format, events, source)
    assert whole[-1] == len({one for one in events if b"Stop" in one or b"DESTROY" in one}) or format == "cgnat-syslog"


def grown(stop: bytes, octets: int) -> bytes:
    return stop.replace(b"\tTimestamp", b"\tAcct-Input-Octets = %d\n\tTimestamp" % octets)


@pytest.mark.parametrize("opening", [[], [START]])
@pytest.mark.parametrize(
    ("again", "counts"),
    [
        (STOP, (1, 0)),
        (packet("Stop", 1795165203, 13), (0, 1)),  # retransmitted without its delay: two times of one end
        (packet("Stop", 1795168800, 10), (0, 1)),
        (grown(STOP, 6), (0, 1)),
    ],
)
def test_a_second_stop_in_one_delivery_is_compared_as_in_two(
    tmp_path: Path, opening: list[bytes], again: bytes, counts: tuple[int, int]
) -> None:
    first = grown(STOP, 5) if b"Octets" in again else STOP
    events, source = [*opening, first, again], SourceConfig("s")
    found = stored(tmp_path / "whole", "radius-detail", [b"".join(events)], source)
    assert found == stored(tmp_path / "apart", "radius-detail", events, source)
    assert found[1:3] == counts


def test_a_port_that_is_used_often_is_one_stretch_of_events(tmp_path: Path) -> None:
    times = [f"{minute:02}:{second:02}" for minute, second in itertools.product(range(10), range(0, 60, 4))]
    events = [line("CD"[number % 2], at) for number, at in enumerate(times)]
    assert stored(tmp_path / "root", "cgnat-syslog", [b"".join(events)], SourceConfig("s")) == (150, 0, 0, 0, 75)


@pytest.mark.parametrize(
    ("letters", "counts"),
    [
        ("C 00:00,D 00:01,C 00:01,D 00:05", (4, 0, 0, 0, 2)),
        ("C 00:00,D 00:01,C 00:01,D 00:05,C 00:01,D 00:05,C 00:00,D 00:01", (4, 4, 0, 0, 2)),
        ("C 00:01,D 00:01,C 00:01", (2, 1, 0, 0, 1)),
        ("D 00:01,C 00:01", (2, 0, 0, 0, 1)),
        ("C 00:00,C 00:05,D 00:06", (3, 0, 0, 0, 2)),  # the first release is lost
        ("C 00:00,C 00:05,D 00:01,D 00:06", (4, 0, 0, 0, 3)),  # it is late: two records tell of the first use
    ],
)
def test_a_key_that_is_used_anew_at_the_instant_of_an_end_or_without_one(
    tmp_path: Path, letters: str, counts: tuple[int, ...]
) -> None:
    events = [line(*one.split()) for one in letters.split(",")]
    whole = stored(tmp_path / "whole", "cgnat-syslog", [b"".join(events)], SourceConfig("s"))
    assert whole == stored(tmp_path / "apart", "cgnat-syslog", events, SourceConfig("s"))
    assert whole == counts


def spans(where: Path, format: str, deliveries: list[bytes], source: SourceConfig) -> list[tuple[int, float]]:
    """Return of every record when it began, in seconds, and how long it was, in their order."""
    with Store.create(where, clock=FixedClock(NOW_US)) as store:
        receipts = [ingest_stream(store, source, format, io.BytesIO(one)) for one in deliveries]
        assert sum(one.records for one in receipts) == sum(getattr(one, n) for one in receipts for n in NAMES[:4])
        rows = [row for batch in store.scan(ScanQuery(0, 2**60)) for row in batch.to_pylist()]
    times = [(row["start_time"], (row["end_time"] - row["start_time"]).total_seconds()) for row in rows]
    return sorted((int(start.timestamp()), length) for start, length in times)


USES = {
    "radius-detail": [[START, STOP], [START_2, STOP_2]],
    "cgnat-syslog": [[line("C", "00:00"), line("D", "00:01")], [line("C", "00:01"), line("D", "00:05")]],
}


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("order", ["1122", "112112", "1121122", "121112", "1122112211", "12112", "112221"])
@pytest.mark.parametrize("format", ["radius-detail", "cgnat-syslog"])
def test_an_earlier_use_that_comes_again_leaves_the_later_one_alone(
    tmp_path: Path, format: str, order: str, together: bool
) -> None:
    """`112`: the first use whole, the second opened. The last event of a use comes again when it is named again."""
    source = SourceConfig("s", options={"session_ids": "reused"} if format == "radius-detail" else {})
    (first, end), (second, end_2) = USES[format]
    named = {"1": [first, end], "2": [second, end_2]}
    often = {"1": 0, "2": 0}
    events = [first, end]
    for digit in order:
        events.append(named[digit][often[digit] % 2])
        often[digit] += 1
    events += [first, end, second, end_2]
    found = spans(tmp_path / "root", format, [b"".join(events)] if together else events, source)
    expected = spans(tmp_path / "plain", format, [first + end, second + end_2], source)
    assert found == expected
    assert len(found) == 2


@pytest.mark.parametrize("ids", ["unique", "reused"])
def test_an_earlier_use_with_one_more_interim_does_not_reach_the_session_that_runs(tmp_path: Path, ids: str) -> None:
    source = SourceConfig("s", options={"session_ids": ids})
    interim = grown(packet("Interim-Update", 1795165195, 5), 999)
    with Store.create(tmp_path / "root", clock=FixedClock(NOW_US)) as store:
        for data in (START + STOP, START_2, START + interim + STOP):
            ingest_stream(store, source, "radius-detail", io.BytesIO(data))
        (running,) = [row for batch in store.open_sessions() for row in batch.to_pylist()]
    assert running["volume_up_bytes"] is None
    assert int(running["start_time"].timestamp()) == 1795168790


def test_files_of_two_uses_that_come_the_wrong_way_round_are_two_records(tmp_path: Path) -> None:
    first, second = line("C", "00:00") + line("D", "00:01"), line("C", "00:05")
    found = spans(tmp_path / "root", "cgnat-syslog", [second, first, first, line("D", "00:06")], SourceConfig("s"))
    assert [length for _, length in found] == [1.0, 1.0]


def test_an_opening_a_second_later_is_another_translation(tmp_path: Path) -> None:
    events = [line("C", "00:00"), line("D", "00:01"), line("C", "00:02"), line("D", "00:05")]
    assert stored(tmp_path / "root", "cgnat-syslog", events, SourceConfig("s")) == (4, 0, 0, 0, 2)


@pytest.mark.parametrize("road", ["plain", "compiled"])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("letters", "lengths", "duplicates"),
    [
        ("D 00:01,C 00:05,D 00:06", [0.0, 1.0], 0),  # the first allocation is lost
        ("D 00:01,C 00:05,D 00:01,C 00:05,D 00:06", [0.0, 1.0], 2),
        ("D 00:01,C 00:05,C 00:05,C 00:07,D 00:09", [0.0, 0.0, 2.0], 1),
        ("D 00:01,C 00:05,C 00:00,D 00:06", [0.0, 1.0], 1),  # it is late
        ("C 00:05,D 00:01,D 00:06", [0.0, 1.0], 0),
        ("D 00:05,C 00:05", [0.0], 0),
        ("D 00:05,C 00:04", [1.0], 0),
    ],
)
def test_an_end_that_waits_is_no_end_of_what_begins_after_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    letters: str,
    lengths: list[float],
    duplicates: int,
    road: str,
    together: bool,
) -> None:
    loops = native.load("store.open_sessions.session_kernels") if road == "compiled" else None
    monkeypatch.setattr(session_numbers, "kernels", lambda rows: loops)
    events, source = [line(*one.split()) for one in letters.split(",")], SourceConfig("s")
    deliveries = [b"".join(events)] if together else events
    assert [length for _, length in spans(tmp_path / "root", "cgnat-syslog", deliveries, source)] == lengths
    assert stored(tmp_path / "again", "cgnat-syslog", deliveries, source)[1:] == (duplicates, 0, 0, len(lengths))


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("runs", [False, True])
def test_a_late_session_whose_start_and_stop_come_apart_is_a_record(tmp_path: Path, runs: bool, again: bool) -> None:
    """Of its Id a later use is known; its Stop has no Acct-Session-Time, so that it has a start by its Start alone."""
    source = SourceConfig("s", options={"session_ids": "reused"})
    late, end = packet("Start", 1795161590), packet("Stop", 1795161600)
    deliveries = [
        START + packet("Stop", 1795165200),
        *([START_2] if runs else []),
        late,
        end,
        *(2 * [late, end] * again),
    ]
    found = spans(tmp_path / "apart", "radius-detail", deliveries, source)
    assert found == [(1795161590, 10.0), (1795165190, 10.0)]
    assert found == spans(tmp_path / "whole", "radius-detail", [b"".join(deliveries)], source)


def test_a_late_stop_alone_is_a_record_and_again_a_duplicate(tmp_path: Path) -> None:
    source = SourceConfig("s", options={"session_ids": "reused"})
    deliveries = [START + packet("Stop", 1795165200), packet("Stop", 1795161600), packet("Stop", 1795161600)]
    assert stored(tmp_path / "apart", "radius-detail", deliveries, source) == (3, 1, 0, 0, 2)
    assert stored(tmp_path / "whole", "radius-detail", [b"".join(deliveries)], source) == (3, 1, 0, 0, 2)
