"""Tables fit the terminal: words stay whole, or each row is shown by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli.output import counted, fitted, show_facts, show_table
from api.cli.reconcile import _show as show_reconciled
from api.cli.status import _columns
from tests.api.cli.conftest import Run

COLUMNS = [("date", "date"), ("until", "floor until"), ("records", "records"), ("text", "finding")]
ROWS = [
    {"date": "2026-11-20", "until": "2027-05-21", "records": 1_000_000, "text": "keep it synchronised, always"},
    {"date": "2026-11-21", "until": "2027-05-22", "records": 7, "text": None},
]
WORDS = {"2026-11-20", "2027-05-21", "1,000,000", "2026-11-21", "2027-05-22", "7", "synchronised,", "records"}


def shown(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    show_table(ROWS, COLUMNS, title="days")
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [36, 40, 50, 60, 80, 120])
def test_no_width_cuts_a_word_or_passes_the_edge(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(width, capsys, monkeypatch)
    assert max(map(len, lines)) <= width
    assert set(" ".join(lines).split()) >= WORDS


def test_a_wide_terminal_has_a_row_on_a_line_and_a_narrow_one_a_value_on_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(shown(120, capsys, monkeypatch)) == 1 + 2 + len(ROWS)
    narrow = shown(30, capsys, monkeypatch)
    assert narrow[1].split() == ["date", "2026-11-20"]
    assert "" in narrow


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_path_is_never_broken_and_other_values_break_between_words(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    path, text = "/srv/" + "telephony/" * 20, "a value of many short words that has to break somewhere " * 3
    show_facts({"key_file": path, "text": text, "none": None})
    lines = capsys.readouterr().out.splitlines()
    assert sum(path in line for line in lines) == 1
    assert max(len(line) for line in lines if path not in line) <= width
    assert [line.split()[0] for line in lines if line[0] != " "] == ["key", "text", "none"]
    words = " ".join(line.removeprefix("text") for line in lines if path not in line and "none" not in line)
    assert words.removeprefix("key file").split() == text.split()


@pytest.mark.parametrize("width", [80, 120])
def test_init_shows_every_path_whole(run: Run, tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    root = tmp_path / ("an-operator-who-likes-long-names-" * 3)
    ran = run("init", root, "--replica", tmp_path / "replica")
    assert ran.code == 0
    for path in (root, tmp_path / "replica", *root.with_name(root.name + ".custodians").iterdir()):
        assert str(path) in ran.out


@pytest.mark.parametrize("name", ["pbx", "stockholm-north-msc-server-east", "a" * 63])
@pytest.mark.parametrize("width", [80, 120])
def test_reconcile_cuts_no_sources_name_and_keeps_the_counts_of_an_hour_beside_each_other(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    counts = {"delivered": 1_234_567, "stored": 1_234_000, "duplicates": 500, "conflicts": 60, "rejects": 7}
    road = {"source": name, "transport": "folder", **counts}
    hours = [{**road, "hour": f"2026-11-22T{hour:02}:00:00Z", "balanced": True} for hour in range(24)]
    folder = {"source": name, "waiting_files": 3, "failed_files": 1, "missing_files": 2}
    queue = {"source": name} | dict.fromkeys(("waiting", "unacknowledged", "dropped", "redelivered", "refused"), 1)
    show_reconciled(hours, [{**road, "gaps": 3}], [folder], [queue])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert sum("1,234,000" in line for line in lines) == 25
    assert sum(name in line for line in lines) >= 4


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 60)), min_size=1, max_size=12), st.integers(1, 200))
def test_columns_never_fall_below_their_longest_word(pairs: list[tuple[int, int]], room: int) -> None:
    extents = [(word, word + more) for word, more in pairs]
    widths = fitted(extents, room)
    if widths is None:
        assert sum(word for word, _ in extents) > room
        return
    assert sum(widths) <= room
    assert all(word <= width <= line for width, (word, line) in zip(widths, extents, strict=True))


def test_one_is_one() -> None:
    assert [counted(1, "replica"), counted(0, "replica"), counted(1234, "entry", "entries")] == [
        "1 replica",
        "0 replicas",
        "1,234 entries",
    ]


def test_status_shows_a_domain_only_where_there_is_one() -> None:
    shared, own = {"domain": "shared"}, {"domain": "tenant-a"}
    assert ("domain", "domain") not in _columns([shared])
    assert ("domain", "domain") in _columns([shared, own])


def test_a_fact_is_named_in_words_and_a_field_as_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    show_facts({"decided_on": "2026-11-20", "services_over": ""})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["decided", "on", "2026-11-20"],
        ["services", "over", "-"],
    ]
    show_facts({"calling_number": "-"}, literal=True)
    assert "calling_number" in capsys.readouterr().out
