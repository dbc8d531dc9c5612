"""`make demo` in small: the whole story, with every refusal that it promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import demo


def test_the_demo_ends_well_and_leaves_only_its_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo-store"
    assert demo.main(folder, rows=3_000) == 0, capfd.readouterr().out
    told = capfd.readouterr().out
    assert told.count("refused:") == 4
    assert "make serve" in told
    assert [path.name for path in tmp_path.iterdir()] == ["demo-store"]


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "demo-store"
    folder.mkdir()
    (folder / "mine.txt").write_text("keep")
    assert demo.main(folder, rows=3_000) == 1
    assert "move it away" in capfd.readouterr().out
    assert (folder / "mine.txt").read_text() == "keep"
