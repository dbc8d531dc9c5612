"""The short form of what damages the bytes of compiled loops, and that it finds what it looks for."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest import times
from ingest.decoders import csv_walk, slices
from ingest.decoders.ber import walk as ber
from ingest.decoders.freeswitch import walk as freeswitch
from ingest.decoders.kamailio import walk as kamailio
from ingest.decoders.radius import walk as radius
from schemas import packing
from store import native
from tests.fault import fuzz_kernels
from tests.fault.kernel_specs import SPECS, Spec

ROOT = Path(__file__).parents[2]
FORMATS = (
    "csv", "asterisk-csv", "freeswitch-json", "freeswitch-xml", "kamailio-acc", "kamailio-json", "3gpp-32297",
    "3gpp-ber", "tap3", "radius-detail", "conntrack", "cgnat-syslog",
    "broadworks-xml", "freeswitch-csv", "opensips-acc",
)  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks small."""
    monkeypatch.setattr(fuzz_kernels, "BLOCK", 150)


@pytest.fixture(scope="module")
def calls() -> Iterator[dict[str, list[Any]]]:
    """Calls of all kernels; the roads are left as they were."""
    modules, names = (
        (ber, csv_walk, freeswitch, kamailio, radius, slices, times),
        ("WALK_BYTES_MIN", "KERNEL_BYTES_MIN", "LOAD_BYTES_MIN", "CLOCKS_MIN", "LOAD_CLOCKS_MIN"),
    )
    before = [(module, name, getattr(module, name)) for module in modules for name in names if hasattr(module, name)]
    looking = list(packing._kernels)
    yield fuzz_kernels.recorded(SPECS, native.load, FORMATS, deliveries=24)
    packing._kernels[:] = looking
    for module, name, value in before:
        setattr(module, name, value)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.title)
def test_no_damage_leads_a_kernel_astray(spec: Spec, calls: dict[str, list[Any]]) -> None:
    kernel = getattr(native.load(spec.module), spec.name)
    told = fuzz_kernels.tried(spec, kernel, calls[spec.title], 0, 0, 1)
    assert (told["problems"], told["executions"]) == ([], fuzz_kernels.BLOCK)


def test_every_kernel_of_a_decoder_is_damaged() -> None:
    """`zero_led` and `may_have_prefix` read numbers, not bytes; `compiled_walk` is what compiles a walk."""
    made = re.compile(r"^([a-z]\w*): Any = (?:numba\.njit\(\s*types\b|compiled_walk\()", re.MULTILINE)
    found = {
        (".".join(path.relative_to(ROOT).with_suffix("").parts), name)
        for folder in ("ingest", "schemas")
        for path in (ROOT / folder).rglob("*kernels.py")
        for name in made.findall(path.read_text())
        if name not in {"zero_led", "may_have_prefix", "compiled_walk"}
    }
    assert found == {(spec.module, spec.name) for spec in SPECS}


def _far(kernel: Any) -> dict[str, Any]:
    spec = Spec(
        "made", "up", 0, lambda _a, result, data: bool(0 <= result <= len(data)), far={0: (lambda a: a[1], 0, 8)}
    )
    return fuzz_kernels.tried(spec, kernel, [[(b"some bytes" + bytes(8), 0), 10]], 0, 0, 1)


def test_a_load_behind_the_padding_and_a_broken_contract_are_found() -> None:
    assert _far(lambda at, size: len(ctypes.string_at(at, size + 8)) - 8)["problems"] == []
    assert _far(lambda at, size: len(ctypes.string_at(at, size + 9)))["problems"] == ["block 0: it ended with -11"]
    told = _far(lambda at, size: ctypes.string_at(at, size).find(b"s") - 1)
    assert told["executions"] == fuzz_kernels.BLOCK
    assert told["problems"][0].endswith("the contract is broken")


def test_a_loop_without_an_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_kernels, "BLOCK_SECONDS_MAX", 0.05)

    def forever(at: int, size: int) -> int:
        while size >= 0:
            size += at * 0
        return size

    assert _far(forever)["problems"] == ["block 0: it hangs"]


def test_the_bytes_are_damaged_and_made_good_again() -> None:
    spec = Spec("made", "up", 0, lambda _a, _r, _d: True, lined=True)
    seat = fuzz_kernels.Seat(spec, [np.frombuffer(b"a line\nanother\n", np.uint8), np.zeros(2, np.int64)], front=True)
    seat.change([(6, 1, 1, 0, 0x0A), (10, 3, 5, 0, 7)])
    assert seat.data.tobytes()[:2] == b"a " and seat.data[6] == 0x0A
    seat.arguments[1][:] = 7
    seat.restore()
    assert seat.data.tobytes() == b"a line\nanother\n" and seat.arguments[1].tolist() == [0, 0]


def test_a_kernel_that_no_decoder_calls_is_told() -> None:
    assert fuzz_kernels.tried(SPECS[0], None, [], 0, 0, 1)["problems"] == ["no decoder called it"]
