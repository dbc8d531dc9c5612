"""Parts that are immutable on the disk: the option, and what `doctor` says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api.cli import main
from tests.conftest import FixedClock


def test_init_sets_it_and_doctor_tells_whether_it_works(
    tmp_path: Path, clock: FixedClock, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    assert main(["init", str(root), "--immutable-parts"], clock=clock) == 0
    assert json.loads((root / "lagrum.json").read_text())["immutable_parts"] is True
    capfd.readouterr()
    main(["--root", str(root), "--json", "doctor"], clock=clock)
    found = {item["check"]: item for item in json.loads(capfd.readouterr().out)["findings"]}
    assert found["immutable parts"]["state"] in ("ok", "warning")
