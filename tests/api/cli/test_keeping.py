"""`init`, `retention`, `keys`, `audit`, `doctor`: what is kept, until when, and how it is proved."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.api.cli.conftest import HEADER, Run
from tests.conftest import FixedClock


def test_a_store_is_made_for_one_user_with_two_custodians_outside_it(run: Run, tmp_path: Path) -> None:
    ran = run("--json", "init", tmp_path / "store")
    assert ran.code == 0
    assert "single copy" in ran.err
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0
    files = [Path(item["key_file"]) for item in ran.json["custodians"]]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    assert not any(path.is_relative_to(tmp_path / "store") for path in files)


def test_a_folder_that_holds_something_is_refused(run: Run, root: Path, tmp_path: Path) -> None:
    assert run("init", root).code == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert run("init", tmp_path / "full").code == 2


def test_a_key_file_that_others_may_read_stops_everything(run: Run, root: Path) -> None:
    key = next((root / "keys").glob("*.key"))
    key.chmod(0o640)
    assert run("--root", root, "status").code == 2
    doctor = run("--root", root, "--json", "doctor")
    assert doctor.code == 1
    assert key.name in [item["check"] for item in doctor.json["findings"] if item["state"] == "wrong"]


def test_doctor_finds_a_new_store_well(run: Run, root: Path) -> None:
    ran = run("--root", root, "--json", "doctor")
    assert (ran.code, ran.json["ok"]) == (0, True)


def doctor(run: Run, root: Path) -> dict[str, str]:
    return {item["check"]: item["state"] for item in run("--root", root, "--json", "doctor").json["findings"]}


def test_doctor_warns_while_the_custodians_keys_lie_beside_the_root(run: Run, root: Path) -> None:
    folder = root.with_name("store.custodians")
    assert doctor(run, root)["custodians"] == "warning"
    (folder / "custodian-1.key.json").unlink()
    assert doctor(run, root)["custodians"] == "warning"
    (folder / "custodian-2.key.json").unlink()
    assert "custodians" not in doctor(run, root)


def test_doctor_looks_at_the_key_that_the_settings_name(run: Run, root: Path) -> None:
    assert not {"TLS key", "settings"} & doctor(run, root).keys()
    (root / "lagrum.toml").write_text('[server]\ntls_certificate = "server.pem"\ntls_key = "server.key"\n')
    assert doctor(run, root)["TLS key"] == "wrong"  # it is not there
    key = root / "server.key"
    key.touch(mode=0o600)
    assert doctor(run, root)["TLS key"] == "ok"
    for mode in (0o644, 0o604, 0o660):
        key.chmod(mode)
        assert doctor(run, root)["TLS key"] == "wrong"
    (root / "lagrum.toml").write_text("[server]\nprot = 1\n")
    assert doctor(run, root)["settings"] == "wrong"


def test_doctor_warns_while_nobody_elsewhere_keeps_the_logs_checkpoints(run: Run, root: Path, tmp_path: Path) -> None:
    assert doctor(run, root)["witness"] == "warning"
    folder = tmp_path / "elsewhere"
    (root / "lagrum.toml").write_text(f'[witness]\nwitness_directory = "{folder}"\n')
    assert doctor(run, root)["witness"] == "warning"  # it is not mounted
    folder.mkdir()
    assert doctor(run, root)["witness"] == "ok"


@pytest.mark.parametrize(
    ("day", "floor", "ceiling"),
    [
        ("2026-08-31", "2027-03-01T00:00:00Z", "2028-08-31T00:00:00Z"),
        ("2028-02-29", "2028-08-30T00:00:00Z", "2030-02-28T00:00:00Z"),
        ("2026-11-22", "2027-05-23T00:00:00Z", "2028-11-22T00:00:00Z"),
    ],
)
def test_months_are_calendar_months(run: Run, day: str, floor: str, ceiling: str) -> None:
    found = run("--json", "retention", "explain", day).json["classes"][0]
    assert (found["floor_until"], found["expires_at"]) == (floor, ceiling)


def test_the_policy_is_shown_and_explained_with_and_without_a_store(run: Run, root: Path, calls: Path) -> None:
    shown = run("--json", "retention", "show").json
    assert (shown["floor_months"], shown["ceiling_months"], shown["version"]) == (6, 24, 1)
    assert [(item["class"], item["period_months"]) for item in shown["classes"]] == [("standard", 24)]
    assert {item["purpose"]: item["reads"] for item in shown["purposes"]}["security"] == "30 days"
    assert shown == run("--root", root, "--json", "retention", "show").json
    receipt = run("--root", root, "--json", "ingest", "--source", "core", "--format", "csv", calls)
    assert receipt.code == 0
    for what in ("2026-11-20", "2026-11-20/standard/shared", "1:1"):
        told = run("--root", root, "--json", "retention", "explain", what)
        assert (told.code, told.json["classes"][0]["policy_version"]) == (0, 1)
        assert "Directive 2006/24" in told.json["classes"][0]["citation"]
    assert run("--root", root, "retention", "explain", "1:1").code == 0
    assert run("--root", root, "retention", "show").code == 0


def test_what_is_neither_record_nor_partition_nor_date_is_refused(run: Run, root: Path) -> None:
    for wrong in ("yesterday", "2026-13-01", "2026-11-20/standard", "a:b"):
        assert run("--root", root, "retention", "explain", wrong).code == 2
    assert run("--root", root, "retention", "explain", "9:9").code != 0


def test_expiry_drops_what_is_over_and_only_that(run: Run, root: Path, calls: Path, clock: FixedClock) -> None:
    assert run("--root", root, "ingest", "--source", "core", "--format", "csv", calls).code == 0
    assert run("--root", root, "--json", "retention", "expire").json["partitions"] == []
    clock.value_us = 1_858_291_200_000_000  # 2028-11-20T00:00:00Z: the first day's period is over, the second's is not
    due = run("--root", root, "--json", "retention", "expire", "--dry-run").json
    assert due["partitions"] == ["2026-11-20/standard/shared"]
    assert len(run("--root", root, "--json", "status").json["partitions"]) == 2
    assert run("--root", root, "--json", "retention", "status").json["due"] == 1
    assert run("--root", root, "--json", "retention", "expire").json["generation"] == 2
    left = run("--root", root, "--json", "status").json["partitions"]
    assert [item["date"] for item in left] == ["2026-11-21"]
    assert run("--root", root, "verify").code == 0
    assert not list((root / "parts" / "2026-11-20").rglob("*.parquet"))


def test_a_single_copy_of_the_keyring_is_exit_1_until_there_is_another(run: Run, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("init", store)
    assert run("--root", store, "keys", "status").code == 1
    assert run("--root", store, "keys", "replicate", tmp_path / "copy").code == 0
    ran = run("--root", store, "--json", "keys", "status")
    assert (ran.code, ran.json["replicas"]) == (0, [str(tmp_path / "copy")])


def test_a_replica_is_erased_when_it_is_forgotten_and_a_lost_one_is_exit_1(run: Run, tmp_path: Path) -> None:
    store, here, lost = tmp_path / "store", tmp_path / "here", tmp_path / "lost"
    run("init", store, "--replica", here, "--replica", lost)
    before = sorted(path for path in here.rglob("*") if path.is_file())
    assert run("--root", store, "keys", "forget", tmp_path / "nowhere").code == 1
    assert before == sorted(path for path in here.rglob("*") if path.is_file()) != []
    ran = run("--root", store, "--json", "keys", "forget", here)
    assert (ran.code, ran.json["erased"], ran.json["replicas"]) == (0, True, [str(lost)])
    assert [path for path in here.rglob("*") if path.is_file()] == []
    lost.rename(tmp_path / "away")
    assert run("--root", store, "keys", "status").code == 1
    assert run("--root", store, "keys", "rotate").code != 0
    ran = run("--root", store, "--json", "keys", "forget", lost)
    assert (ran.code, ran.json["erased"], ran.json["replicas"]) == (1, False, [])
    assert "lives on" in ran.err
    assert run("--root", store, "keys", "rotate").code == 0
    assert run("--root", store, "keys", "forget", lost).code == 1


def test_an_exported_log_verifies_elsewhere_and_a_changed_one_does_not(run: Run, root: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.checkpoint"
    assert run("--root", root, "audit", "checkpoint", "--out", held).code == 0
    assert run("--root", root, "audit", "export", tmp_path / "log").code == 0
    words = ("audit", "verify", tmp_path / "log", "--key", root / "audit" / "origin.pub", "--checkpoint", held)
    assert run(*words).code == 0
    segment = next((tmp_path / "log" / "segments").iterdir())
    segment.write_bytes(segment.read_bytes().replace(b"custodian-1", b"custodian-3"))
    ran = run(*words, "--json")
    assert (ran.code, ran.json["ok"]) == (1, False)


def test_another_logs_key_does_not_verify(run: Run, root: Path, tmp_path: Path) -> None:
    run("init", tmp_path / "other")
    assert run("--root", root, "audit", "verify", "--key", tmp_path / "other" / "audit" / "origin.pub").code == 1


def test_an_export_never_overwrites(run: Run, root: Path, tmp_path: Path) -> None:
    assert run("--root", root, "audit", "export", tmp_path).code == 2


def test_no_key_leaves_with_the_log(run: Run, root: Path, tmp_path: Path) -> None:
    assert list((root / "audit").rglob("*.key"))
    assert run("--root", root, "audit", "export", tmp_path / "log").code == 0
    assert {path.name for path in (tmp_path / "log").iterdir()} == {
        "checkpoint",
        "checkpoints",
        "nodes",
        "origin.pub",
        "segments",
    }


def test_a_rotation_makes_a_new_root_key_and_keeps_everything_readable(run: Run, root: Path, calls: Path) -> None:
    run("--root", root, "ingest", "--source", "core", "--format", "csv", calls)
    before = {path.name for path in (root / "keys").iterdir()}
    assert run("--root", root, "--json", "keys", "rotate").json["generation"] == 2
    assert not before & {path.name for path in (root / "keys").iterdir()}
    assert run("--root", root, "verify").code == 0
    assert run("--root", root, "--json", "status").json["records"] == 3


def test_a_merge_tells_what_it_wrote_and_what_the_disk_has_no_room_for(
    run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        delivery = tmp_path / f"{number}.csv"
        delivery.write_text(f"{HEADER}{number},sw,voice,4670{number},46702,2026-11-20T10:00:00Z,5\n")
        assert run("--root", root, "ingest", "--source", "east", "--format", "csv", delivery).code == 0
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
        ran = run("--root", root, "--json", "compact", "--all")
    assert (ran.code, ran.json["merged"], ran.json["without_room"]) == (1, 0, 4)
    ran = run("--root", root, "--json", "compact", "--all")
    assert (ran.code, ran.json["merged"], ran.json["without_room"]) == (0, 4, 0)
    assert 1 < ran.json["write_amplification"] <= 2
