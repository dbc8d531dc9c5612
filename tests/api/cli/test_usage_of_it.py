"""What a user may get wrong, and what the program says to it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from api.cli import main
from api.cli.groups import ENTRIES
from api.cli.help_lines import broken
from api.cli.manual import manual, walk
from api.cli.output import refuse_existing
from api.cli.program import lagrum
from api.problem_kinds import TYPE_PREFIX, to_error
from schemas.errors import ConfigurationError, LagrumError
from store.keys.modules import HeldRoots
from tests.api.cli.conftest import HEADER, Run
from tests.conftest import FixedClock


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("ingest", "--source", "a"),
        ("status", "--unknown"),
        ("ingest", "--source", "a", "--format", "csv", "no-such-file.csv"),
        ("ingest", "--source", "a", "--format", "cvs", "-"),
        ("ingest", "--source", "a", "--format", "csv", "."),
        ("ingest", "--source", "a", "--format", "csv", "-", "-"),
        ("retention", "explain", "2026-13-01"),
        ("status",),
        ("disclosure", "bases", "no-such-basis"),
        ("person", "key", "officer-7", "--output", __file__),
    ],
)
def test_wrong_usage_is_exit_2_with_a_hint_and_nothing_on_stdout(run: Run, words: tuple[str, ...]) -> None:
    ran = run(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert "error: " in ran.err and "hint: " in ran.err


def test_a_store_is_made_in_the_folder_where_one_stands(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    made = run("init", ".", "--json")
    assert made.code == 0, made.err
    assert sorted(path.name for path in (tmp_path / "here.custodians").iterdir()) == [
        "custodian-1.key.json",
        "custodian-2.key.json",
    ]
    again = run("init", ".")
    assert again.code == 2 and "hint: " in again.err


def test_a_key_service_that_is_not_there_leaves_nothing_unless_it_went_meanwhile(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "token"
    secret.touch(mode=0o600)
    secret.write_text("not-a-token")
    words = ("init", tmp_path / "store", "--transit", "https://127.0.0.1:1", "--secret-file", secret)
    wrong = run(*words)
    assert wrong.code == 1 and "cannot be reached" in wrong.err
    assert [path.name for path in tmp_path.iterdir()] == ["token"]
    monkeypatch.setattr(HeldRoots, "reach", lambda roots: None)  # it was there a moment ago
    assert run(*words).code == 1
    again = run("init", tmp_path / "store")
    assert again.code == 1
    assert "what an interrupted init left is not erased" in again.err and "remove the folder" in again.err


def test_what_a_command_writes_overwrites_nothing(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "new.json")
    with pytest.raises(ConfigurationError) as refused:
        refuse_existing(tmp_path)
    assert refused.value.hint


def test_a_value_that_the_service_does_not_take_is_told_with_what_to_do() -> None:
    fault = {"where": ["body", "country"], "what": "String should have at most 2 characters"}
    error = to_error(422, {"type": f"{TYPE_PREFIX}validation", "title": "Not so", "errors": [fault]})
    assert isinstance(error, ConfigurationError)
    assert "body.country" in error.message and error.hint and "--help" in error.hint


def test_a_root_without_a_store_is_exit_2(run: Run, tmp_path: Path) -> None:
    ran = run("--root", tmp_path / "none", "status")
    assert ran.code == 2
    assert "lagrum init" in ran.err


def test_a_misspelt_format_names_its_neighbour(run: Run) -> None:
    assert "did you mean csv?" in run("ingest", "--source", "a", "--format", "cvs", "-").err


def test_a_misspelt_command_names_its_neighbour_and_none_shows_the_help_once(run: Run) -> None:
    assert "Did you mean 'status'?" in run("statsu").err
    ran = run()
    assert ran.code == 2 and ran.out == ""
    assert ran.err.count("Usage:") == 1 and "error:" not in ran.err


@pytest.mark.parametrize("group", ["audit", "disclosure", "keys", "person", "retention", "sources"])
def test_a_group_lists_its_commands_with_whole_sentences(run: Run, group: str) -> None:
    listed = run(group, "--help").out.partition("\nCommands:")[2]
    assert listed and "..." not in listed


def test_a_date_is_refused_with_how_dates_are_written(run: Run, root: Path) -> None:
    ran = run("--root", root, "usage", "--account", "1", "--from", "yesterday", "--to", "2026-11-22")
    assert ran.code == 2 and "YYYY-MM-DD" in ran.err


def test_a_new_source_beside_others_is_told_with_its_neighbour(run: Run, root: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls.csv"
    calls.write_text(HEADER)
    words = ("--root", root, "ingest", "--format", "csv", calls, "--source")
    assert "new source" not in run(*words, "pbx-east").err
    assert "new source" not in run(*words, "pbx-east").err
    assert "did you mean pbx-east?" in run(*words, "pbx-esat").err


def test_json_is_taken_before_and_after_the_command(run: Run) -> None:
    before, after = run("--json", "retention", "show"), run("retention", "show", "--json")
    assert before.json == after.json
    assert before.json["floor_months"] == 6 and before.json["ceiling_months"] == 24


def test_a_bug_is_told_by_its_place_and_never_by_its_message(
    run: Run, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("46700000001")

    monkeypatch.setattr("store.Store.partitions", fail)
    ran = run("--root", root, "status")
    assert ran.code == 1
    assert "internal error (ValueError at " in ran.err
    assert "46700000001" not in ran.err


def test_a_refusal_is_one_line_and_a_hint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LagrumError("this cannot be", hint="try that")

    monkeypatch.setattr("store.Store.open", refuse)
    ran = run("--root", "somewhere", "status")
    assert (ran.code, ran.err) == (1, "error: this cannot be\nhint: try that\n")


def test_an_interrupt_is_130(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clock: FixedClock
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("store.Store.open", interrupt)
    assert main(["--root", "somewhere", "status"], clock=clock) == 130
    assert "Traceback" not in capfd.readouterr().err


def test_an_interrupt_while_the_program_loads_is_130() -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells have commands in the background ignore it
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == sys.argv[1]: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "from api.cli import main; sys.exit(main(['formats']))\n"
    )
    for module in ("click", "api.cli.context", "api.cli.formats", "ingest.decoders"):
        ran = subprocess.run([sys.executable, "-c", code, module], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stderr.strip()) == (130, ""), module


def test_a_reader_that_leaves_is_no_error_message() -> None:
    program = Path(sys.executable).with_name("lagrum")
    with subprocess.Popen([program, "disclosure", "bases"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_is_quick_because_it_loads_no_command() -> None:
    code = "import sys; from api.cli import main; main(['--help']); print([m for m in sys.modules if m == 'pyarrow'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.rstrip().endswith("[]")


def test_every_command_has_the_summary_that_help_shows_an_example_and_a_json_answer() -> None:
    import click

    missing = []
    shown = {path for path, command in walk(lagrum) if "Example" in (command.help or "")}
    for path, command in walk(lagrum):
        if not command.help:
            missing.append((path, "help"))
        if path not in shown and (path.count(" ") < 2 or path.rpartition(" ")[0] not in shown):
            missing.append((path, "example, of its own or of its group"))
        if not isinstance(command, click.Group) and not any("--json" in item.opts for item in command.params):
            missing.append((path, "--json"))
    assert missing == []
    assert all(entry.summary.endswith(".") for entry in ENTRIES.values())


def test_the_manual_has_every_command() -> None:
    text = manual(lagrum)
    assert [path for path, _ in walk(lagrum) if f"# {path}\n" not in text] == []


def test_the_passphrase_comes_from_the_credential_and_from_nowhere_else(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lagrum-passphrase").write_bytes(b"correct horse\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    store = tmp_path / "sealed"
    assert run("init", store).code == 0
    assert run("--root", store, "status").code == 0
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    read, write = os.pipe()
    os.close(write)
    with os.fdopen(read) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        ran = run("--root", store, "status")
    assert ran.code == 2
    assert "passphrase" in ran.err
    (tmp_path / "lagrum-passphrase").write_bytes(b"wrong\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert run("--root", store, "status").code == 2


def test_no_option_takes_a_passphrase_as_its_value() -> None:
    import click

    takers = [
        (path, item.name)
        for path, command in walk(lagrum)
        for item in command.params
        if isinstance(item, click.Option) and "passphrase" in (item.name or "") and not item.is_flag
    ]
    assert takers == []


def test_every_help_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name, command in [("lagrum", lagrum), *walk(lagrum)]:
        text = command.get_help(click.Context(command, info_name=name, max_content_width=100))
        assert [line for line in text.splitlines() if len(line) > 80] == [], name


def test_an_example_is_broken_where_a_shell_reads_on() -> None:
    command = '  lagrum hold add --reference "K 4711-26 of the court" --ends 2027-02-01 --as key.json'
    prose = "  a sentence that is no command stays as long as it is"
    lines = list(broken([command, prose], 50))
    assert list(broken([*lines, "  lagrum status"], 50)) == [*lines, "  lagrum status"]
    assert list(broken(lines, 100)) == [command, prose]
    assert lines == [
        "  lagrum hold add \\",
        '      --reference "K 4711-26 of the court" \\',
        "      --ends 2027-02-01 --as key.json",
        prose,
    ]
    script = "lagrum() { printf '%s|' \"$@\"; }\n" + "\n".join(lines[:-1])
    read = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert read == "hold|add|--reference|K 4711-26 of the court|--ends|2027-02-01|--as|key.json|"


def test_a_full_disk_is_told_with_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    calls = tmp_path / "calls.csv"
    calls.write_text(HEADER)
    monkeypatch.setattr("api.cli.ingest._ingest_all", full)
    ran = run("--root", root, "ingest", "--source", "a", "--format", "csv", calls)
    assert ran.code == 1
    assert "No space left" in ran.err and "hint: make room" in ran.err
