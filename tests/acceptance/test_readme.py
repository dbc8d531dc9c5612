"""Every command of the README runs, in its order, on a real store and a real service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = [text for language, text in BLOCK.findall(README) if language == "sh"]
NOT_RUN = {"console", "toml", "xml"}
"""`make demo` is run by test_demo; the others are excerpts of files."""


def test_every_block_is_either_run_or_no_command() -> None:
    languages = {language for language, _ in BLOCK.findall(README)}
    assert languages == NOT_RUN | {"sh"}
    assert len(COMMANDS) >= 8


def test_every_target_of_make_that_the_readme_names_exists() -> None:
    spans = re.findall(r"`([^`]+)`", BLOCK.sub("", README)) + re.findall(r"^\$ (.*)$", README, re.MULTILINE)
    named = {word for span in spans for word in re.findall(r"\bmake ([a-z]+)$", span)}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "serve", "bench", "env"} <= named <= targets


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs bash and curl")
def test_the_installation_works_command_by_command(tmp_path: Path) -> None:
    steps = [f"echo '--- block {number}'\n{text}" for number, text in enumerate(COMMANDS, 1)]
    script = "\n".join(
        ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT", *steps, "echo '--- done'"]
    )
    for written, real in (
        ("/srv/lagrum", str(tmp_path / "lagrum")),
        ("/mnt/keys", str(tmp_path / "keys")),
        ("8420", str(free_port())),
    ):
        script = script.replace(written, real)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("LAGRUM_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=outside | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE_S,
    )
    assert ran.returncode == 0, f"{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
    assert ran.stdout.rstrip().endswith("--- done")
    assert re.search(r'"accepted":\s*2', ran.stdout), "the push was not accepted"
    assert (tmp_path / "delivery.zip").is_file()
    assert "10017" in (tmp_path / "usage.csv").read_text(encoding="utf-8")
