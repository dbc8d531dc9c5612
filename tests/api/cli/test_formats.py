"""`formats`: the list, and trying a mapping file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest import sources
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from store import Store
from tests.api.cli.conftest import Run
from tests.api.world import World
from tests.conftest import FixedClock
from tests.ingest.test_mapping import example


@pytest.fixture
def tried(tmp_path: Path) -> tuple[Path, Path]:
    toml, data, _ = example("exchange")
    mapping, file = tmp_path / "layout.toml", tmp_path / "calls.txt"
    mapping.write_text(toml, encoding="utf-8")
    file.write_bytes(data)
    return mapping, file


def test_the_list_names_the_mapping_format(run: Run) -> None:
    assert "mapping" in [item["name"] for item in run("--json", "formats").json["formats"]]


def test_a_trial_shows_the_first_records_and_writes_nothing(run: Run, tried: tuple[Path, Path]) -> None:
    mapping, file = tried
    before = sorted(file.parent.rglob("*"))
    words = ("--mapping", mapping, "--zone", "Europe/Stockholm", "--country", "SE", "--count", "2", file)
    ran = run("--json", "formats", "try", *words)
    assert ran.code == 0, ran.err
    assert (ran.json["read"], ran.json["rejected"], ran.json["whole"]) == (3, 0, True)
    assert [one["calling_number"] for one in ran.json["records"]] == ["46701740605", "46701740607"]
    assert sorted(file.parent.rglob("*")) == before
    shown = run("formats", "try", *words)
    assert "46701740606" in shown.out and "3 records read, 0 refused" in shown.out


def test_a_trial_tells_what_is_refused_and_that_dates_are_not_guessed(run: Run, tried: tuple[Path, Path]) -> None:
    mapping, file = tried
    mapping.write_text(mapping.read_text().replace('format = "%d/%m/%Y %H:%M:%S"', ""))
    ran = run("--json", "formats", "try", "--mapping", mapping, file)
    assert ran.code == 1
    assert [(one["position"], one["reason"]) for one in ran.json["rejects"]] == [(n, "bad-time") for n in (1, 2, 3)]
    assert "never guessed" in ran.err and "03/11/2026 10" not in ran.err


def test_a_mapping_that_cannot_work_is_told_with_its_line(run: Run, tried: tuple[Path, Path]) -> None:
    mapping, file = tried
    mapping.write_text(mapping.read_text().replace("[fields.switch]", "[fields.exchange]"))
    ran = run("formats", "try", "--mapping", mapping, file)
    assert ran.code == 2
    assert "fields.exchange (line 10)" in ran.err


def test_a_file_that_is_cut_off_is_refused(run: Run, tried: tuple[Path, Path]) -> None:
    mapping, file = tried
    file.write_bytes(file.read_bytes().replace(b"END;3", b"END;4"))
    ran = run("formats", "try", "--mapping", mapping, file)
    assert ran.code == 1
    assert "declares 4 records, and there are 3" in ran.err


def test_a_mapping_lives_with_its_source_and_is_read_over_http(world: World) -> None:
    toml, data, _ = example("exchange")
    headers = world.switch("legacy")
    body = {"zone": "Europe/Stockholm", "country": "SE", "options": {"mapping": toml}, "expect_every_s": 600}
    answer = world.http.put("/v1/sources/legacy", json=body, headers=world.as_person("custodian-1"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["expect_every_s"] == 600
    receipt = world.deliver(headers, data, source="legacy", format="mapping").json()
    assert (receipt["accepted"], receipt["rejected"]) == (3, 0)
    assert world.deliver(headers, data, source="legacy", format="mapping").json()["duplicates"] == 3
    short = world.deliver(headers, data.replace(b"END;3", b"END;9"), source="legacy", format="mapping")
    assert short.status_code == 400
    body["options"] = {"mapping": toml.replace("[key]", "[keys]")}
    refused = world.http.put("/v1/sources/legacy", json=body, headers=world.as_person("custodian-1"))
    assert refused.status_code == 422
    assert "keys (line" in refused.text


def test_a_source_is_not_stored_with_a_wrong_mapping(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        for options in ({"mapping": "x"}, {"file_name": "x"}):
            with pytest.raises(ConfigurationError):
                sources.register(store, SourceConfig("legacy", options=options), actor="test")


def test_refused_records_of_a_mapping_are_replayed_with_the_mapping_of_today(
    run: Run, root: Path, tried: tuple[Path, Path], clock: FixedClock
) -> None:
    mapping, file = tried
    good = mapping.read_text()
    with Store.open(root, clock=clock) as store:
        wrong = good.replace("%d/%m/%Y", "%m/%d/%y")
        sources.register(store, SourceConfig("legacy", options={"mapping": wrong}), actor="test")
    ran = run("--root", root, "--json", "ingest", "--source", "legacy", "--format", "mapping", file)
    assert ran.json["rejected"] == 3
    with Store.open(root, clock=clock) as store:
        sources.register(store, SourceConfig("legacy", options={"mapping": good}), actor="test")
    batch = run("--root", root, "--json", "quarantine", "list").json["entries"][0]["batch_id"]
    replayed = run("--root", root, "--json", "quarantine", "replay", str(batch))
    assert (replayed.code, replayed.json["accepted"], replayed.json["rejected"]) == (0, 3, 0)
    assert (
        run("--root", root, "--json", "ingest", "--source", "legacy", "--format", "mapping", file).json["duplicates"]
        == 3
    )
