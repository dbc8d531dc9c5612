"""Kept machine code does what numba's kernels do, and is used only where it belongs."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numba
import numpy as np
import pytest

from store import native
from tests.architecture.source import ROOT

MODULE = "schemas.number_kernels"
KERNELS = [
    name.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for folder in ("api", "schemas", "store")
    for name in sorted((ROOT / folder).rglob("*kernels.py"))
]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(native.FOLDER, str(tmp_path))
    path = native._place(MODULE)
    assert path.parent == tmp_path
    native._keep(importlib.import_module(MODULE), path)
    return path


def in_process(script: str, folder: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, native.FOLDER: str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def numbers(*values: int) -> Any:
    return np.array(values, np.int64)


def test_a_kept_kernel_answers_as_the_compiled_one(kept: Path) -> None:
    compiled, found = importlib.import_module(MODULE), native._read(kept)
    for values in ([10_123_456], [11_234_567, 10_000_001], [1] * 100, []):
        assert found.zero_led(numbers(*values), 6) == compiled.zero_led(numbers(*values), 6)


@pytest.mark.parametrize("module", KERNELS)
def test_every_kernel_can_be_kept(module: str) -> None:
    """As `make env` keeps it, or now."""
    native._read_or_compile(module)
    found = native._read(native._place(module))
    assert {name for name, value in vars(found).items() if isinstance(value, native.Kernel)} == _kernels_of(module)


def _kernels_of(module: str) -> set[str]:
    """Return the names of kernels that a module shows, without their compilation."""

    def uncompiled(*_: Any, **__: Any) -> Any:
        return lambda function: SimpleNamespace(py_func=function)

    spec = importlib.util.spec_from_file_location("uncompiled", ROOT / (module.replace(".", "/") + ".py"))
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    with mock.patch.object(numba, "njit", uncompiled):
        spec.loader.exec_module(made)
    return {name for name, value in vars(made).items() if not name.startswith("_") and hasattr(value, "py_func")}


@pytest.mark.parametrize("place", [0, 40, -40, -1])
def test_a_torn_file_is_no_file(kept: Path, place: int) -> None:
    data = bytearray(kept.read_bytes())
    data[place] ^= 1
    kept.write_bytes(data)
    assert native._read(kept) is None
    kept.write_bytes(data[: len(data) // 2])
    assert native._read(kept) is None


def test_code_that_others_may_have_written_is_not_run(kept: Path) -> None:
    assert native._read(kept) is not None
    for mode in (0o664, 0o646):
        kept.chmod(mode)
        assert native._read(kept) is None


def test_code_of_another_source_or_machine_is_not_run(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(native, "_digest", lambda _: "another")
        assert native._read(kept) is None
    with monkeypatch.context() as patch:
        machine = native._machine()
        patch.setattr(native, "_machine", lambda: machine | {"features": "none"})
        assert native._read(kept) is None
    with monkeypatch.context() as patch:
        patch.setattr(native, "_release", lambda package: package)
        assert native._read(kept) is None
    assert native._release("numba") != native._release("llvmlite") and native._release("no_such_package") == ""


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    native._keep(importlib.import_module(MODULE), tmp_path / "missing" / "kept")
    assert list(tmp_path.iterdir()) == []


def test_kernels_are_kept_where_python_keeps_no_bytecode(tmp_path: Path) -> None:
    path = tmp_path / "__pycache__" / "kept"
    native._keep(importlib.import_module(MODULE), path)
    assert native._read(path) is not None


def test_a_program_that_cannot_be_written_finds_what_its_installation_kept(
    kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setenv(native.FOLDER, str(folder))
    with monkeypatch.context() as patch:
        patch.setattr(native, "_beside", lambda _: kept)
        assert isinstance(native._read_or_compile(MODULE), SimpleNamespace)
        kept.chmod(0o666)  # others may have written it
        assert native._read_or_compile(MODULE) is importlib.import_module(MODULE)
    assert list(folder.iterdir()) == [folder / kept.name]


def test_an_array_of_another_kind_is_refused(kept: Path) -> None:
    found = native._read(kept)
    for wrong in (numbers(1, 2).astype(np.uint64), numbers(1, 2, 3, 4)[::2], numbers(1, 2).reshape(1, 2)):
        with pytest.raises(TypeError):
            found.zero_led(wrong, 6)
    with pytest.raises(TypeError):
        found.zero_led(numbers(1))


def test_an_array_that_does_not_lie_evenly_is_read_all_the_same(kept: Path) -> None:
    data = np.zeros(8 * 3 + 1, np.uint8)
    uneven = data[1:].view(np.int64)
    uneven[:] = (1, 10_123_456, 1)
    assert not uneven.flags.aligned
    assert native._read(kept).zero_led(uneven, 6)


def test_an_array_that_must_not_change_is_not_given_to_a_kernel_that_writes(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    native._keep(importlib.import_module("store.identities.run_kernels"), path)
    words, upper, lower = np.zeros(1, np.uint64), np.zeros(2, np.uint64), np.zeros(2, np.uint64)
    upper.flags.writeable = False
    with pytest.raises(TypeError):
        native._read(path).pack(words, 0, 0, 18, upper, lower)


def test_a_process_that_finds_kernels_does_without_the_compiler(tmp_path: Path) -> None:
    script = f"""
import sys
from store import native
native._beside = native._place  # what `make env` keeps beside the program is another question
kernels = native.load("{MODULE}")
import numpy as np
print(bool(kernels.zero_led(np.array([10123456]), 6)), "numba" in sys.modules)
"""
    told = [in_process(script, tmp_path) for _ in range(2)]
    assert told == [["True", "True"], ["True", "False"]]


HELPER = """
import numba
STEP = {step}
@numba.njit
def helped(value):
    return value + {added}
"""
OUTER = """
import numba
from helper_kernels import STEP, helped
@numba.njit("i8(i8)")
def answer(value):
    return helped(value) + STEP
"""


def test_a_change_in_a_helper_of_another_module_is_seen(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from store import native
sys.path.insert(0, "{tmp_path}")
native._ROOT = Path("{tmp_path}")
print(native.load("outer_kernels").answer(0), "numba" in sys.modules)
"""
    (tmp_path / "outer_kernels.py").write_text(OUTER)
    told = []
    for step, added in ((100, 1), (100, 2), (200, 2)):
        (tmp_path / "helper_kernels.py").write_text(HELPER.format(step=step, added=added))
        told.append(in_process(script, tmp_path))
    assert told == [["101", "True"], ["102", "True"], ["202", "True"]]


def test_a_module_that_gives_only_numbers_is_a_source() -> None:
    from store.native_code import _sources

    found = _sources("ingest.decoders.freeswitch.element_kernels")
    assert {"ingest.decoders.freeswitch.document_kernels", "ingest.decoders.word_kernels"} <= found
    assert _sources(MODULE) == {MODULE}


def test_no_kernel_is_taken_from_numbas_own_cache() -> None:
    """It looks at the file of the outermost kernel only."""
    for folder in ("api", "ingest", "schemas", "store"):
        for path in (ROOT / folder).rglob("*kernels.py"):
            assert "cache=" not in path.read_text(), path.name


def test_small_stretches_load_kernels_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_asked", {})
    assert [native.pays("no.module", 400, 1000) for _ in range(3)] == [False, False, True]
    assert not native.pays("another.module", 400, 1000)
    monkeypatch.setitem(native._loaded, "another.module", SimpleNamespace())
    assert native.pays("another.module", 1, 1000)
