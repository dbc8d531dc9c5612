"""The compiled loops that read a switch's bytes, called with damaged bytes, many thousand times a second.

Run as `NUMBA_BOUNDSCHECK=1 python -m tests.fault.fuzz_kernels SEED FIRST COUNT [KERNEL…]`, blocks of `BLOCK`
executions each.

Kernels are compiled from their source, so that numba's bounds checks are in them. What they are called with comes from
the decoders: calls on fixtures are recorded, every array is put against a page that nobody may touch, what lies behind
an address with the padding its caller keeps; then the bytes of the switch are changed in place, and everything else is
as it was. Asked of each execution: it ends, no index outside an array, no load outside the memory, and the kernel's
contract (`tests.fault.kernel_specs`). A block is made from the kernel, the seed and its number, and runs in a process
of its own. Prints a JSON object for each kernel.
"""

from __future__ import annotations

import faulthandler
import importlib
import io
import json
import os
import random
import signal
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final
from unittest import mock

import numpy as np

from ingest.decoders import FORMATS, decoder
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas import packing
from schemas.errors import InputError
from store import native
from tests.fault import fuzz_child
from tests.fault.guarded import Guarded, bytes_at, copy_of
from tests.fault.kernel_specs import SPECS, Spec
from tests.ingest.test_bad_input import NOW_US, OPTIONS

BLOCK: Final = 500
BLOCKS_A_PROCESS: Final = 100
BLOCK_SECONDS_MAX: Final = 20
"""Processor time of a block, some hundred times what it takes."""
SAMPLES_MAX: Final = 60
PAYLOAD_BYTES_MAX: Final = 4_000
PROBLEMS_MAX: Final = 20
DELIVERIES: Final = 40
"""So many of each format are recorded."""
_BYTES: Final = np.frombuffer(
    b'\0\t\n\r "&,-./0123459:;<=>AZaz[\\]{|}\x1f\x30\x7f\x80\x81\x82\x84\xa0\xbf\xc3\xef\xff', np.uint8
)
_NEWLINE: Final = 0x0A
Call = list[Any]
Load = Callable[[str], Any]


class _Recorder:
    """Stands for a module of kernels, and keeps what they are called with."""

    def __init__(self, module: Any, wanted: dict[str, Spec], calls: dict[str, list[Call]]) -> None:
        self._module, self._wanted, self._calls = module, wanted, calls

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        spec = self._wanted.get(name)
        if spec is None:
            return found

        def called(*arguments: Any) -> Any:
            kept = self._calls[spec.title]
            if len(kept) < SAMPLES_MAX and 0 < _payload_bytes(spec, arguments) <= PAYLOAD_BYTES_MAX:
                kept.append(_kept(spec, arguments))
            return found(*arguments)

        return called


def _payload_bytes(spec: Spec, arguments: Sequence[Any]) -> int:
    low, high = _window(spec, arguments)
    return high - low


def _window(spec: Spec, arguments: Sequence[Any]) -> tuple[int, int]:
    """Return where in the memory of the payload the switch's bytes are."""
    if spec.window:
        return spec.window(arguments)
    if spec.payload in spec.far:
        return 0, spec.far[spec.payload][0](arguments)
    return 0, len(arguments[spec.payload])


def _kept(spec: Spec, arguments: Sequence[Any]) -> Call:
    """Copy arguments; what lies at an address becomes (bytes, padding)."""
    call: Call = [one.copy() if isinstance(one, np.ndarray) else one for one in arguments]
    for place, (size_of, before, behind) in spec.far.items():
        call[place] = (bytes_at(arguments[place] - before, before + size_of(arguments) + behind), before)
    return call


def recorded(
    wanted: Sequence[Spec], load: Load, formats: Sequence[str] = tuple(FORMATS), deliveries: int = DELIVERIES
) -> dict[str, list[Call]]:
    """Return calls of kernels by the decoders, on fixtures and on damaged ones; `load` gets modules of kernels."""
    calls: dict[str, list[Call]] = {spec.title: [] for spec in wanted}
    unheard = native.load

    def loaded(name: str) -> Any:
        own = {spec.name: spec for spec in wanted if spec.module == name}
        return _Recorder(load(name), own, calls) if own else unheard(name)

    fuzz_child.compiled(wanted=True)
    with mock.patch.object(native, "load", loaded), mock.patch.object(packing, "KERNEL_ROWS_MIN", 0):
        packing.look_with(loaded("schemas.number_kernels"))
        for turn in range(deliveries):
            for name in formats:
                if not all(len(kept) >= SAMPLES_MAX for kept in calls.values()):
                    _decode(name, turn)
    return calls


def _decode(name: str, turn: int) -> None:
    items, source = fuzz_child.corpus(name), SourceConfig("fuzz", country="SE", options=OPTIONS.get(name, {}))
    small = [item for item in items if len(item) <= PAYLOAD_BYTES_MAX]
    data = small[turn] if turn < len(small) else fuzz_child.mutated(random.Random(f"{name} {turn}"), items)
    try:
        for part in decoder(name).decode(io.BytesIO(data), source):
            normalise(part, source, NOW_US)
    except InputError:
        pass


class Seat:
    """One recorded call in guarded memory, run again and again with other bytes."""

    def __init__(self, spec: Spec, call: Call, *, front: bool) -> None:
        self._spec = spec
        self._held: list[Guarded] = []
        self.arguments: Call = []
        self._kept: list[tuple[Any, Any]] = []
        for place, one in enumerate(call):
            self.arguments.append(self._seated(place, one, front=front))
        for place, target in spec.links.items():
            self.arguments[place] = int(self.arguments[target].ctypes.data)
        low, high = _window(spec, call)
        if spec.payload in spec.far:
            before = call[spec.payload][1]
            self.data = self._held[0].bytes[before + low : before + high]
        else:
            self.data = self.arguments[spec.payload][low:high]
        self._pristine = self.data.copy()
        self._feeds = self._pristine == _NEWLINE

    def _seated(self, place: int, one: Any, *, front: bool) -> Any:
        if isinstance(one, tuple):
            room = Guarded(len(one[0]), front=front)
            room.bytes[:] = np.frombuffer(one[0], np.uint8)
            if place == self._spec.payload:
                self._held.insert(0, room)
            else:
                self._held.append(room)
            return room.address + one[1]
        if not isinstance(one, np.ndarray):
            return one
        seated = copy_of(one, front=front)
        if seated.size and (place != self._spec.payload or self._spec.window):
            self._kept.append((seated, one.copy()))
        return seated

    def restore(self) -> None:
        """Make everything as it was recorded."""
        for array, before in self._kept:
            np.copyto(array, before)
        np.copyto(self.data, self._pristine)

    def change(self, changes: Sequence[Sequence[int]]) -> None:
        """Change the bytes: (kind, place, length, from, value) each."""
        data, size = self.data, len(self.data)
        for kind, place, length, source, value in changes:
            at, origin = place % size, source % size
            if kind < 2:
                data[at] ^= 1 << (value & 7)
            elif kind < 6:
                data[at] = _BYTES[value % len(_BYTES)]
            elif kind < 7:
                data[at] = value & 0xFF
            elif kind < 10:
                count = min(length, size - at, size - origin)
                data[at : at + count] = data[origin : origin + count].copy()
            else:
                data[at : at + length] = _BYTES[value % len(_BYTES)]
        spec = self._spec
        if spec.ended:
            data[-spec.ended :] = self._pristine[-spec.ended :]
        if spec.lined or (spec.counted and np.count_nonzero(data == _NEWLINE) > np.count_nonzero(self._feeds)):
            data[(data == _NEWLINE) & ~self._feeds] = 0x20
            if spec.lined:
                data[self._feeds] = _NEWLINE

    def run(self, kernel: Callable[..., Any]) -> str:
        """Call the kernel; return what is wrong."""
        try:
            result = kernel(*self.arguments)
            good = self._spec.keeps(self.arguments, result, self.data.tobytes())
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:200]
        return "" if good else "the contract is broken"


def blocks(spec: Spec, kernel: Any, calls: Sequence[Call], seed: int, first: int, count: int) -> Iterator[list[str]]:
    """Yield the problems in each block of executions."""
    for block in range(first, first + count):
        rng = np.random.default_rng([seed, zlib.crc32(spec.title.encode()), block])
        seat = Seat(spec, calls[int(rng.integers(len(calls)))], front=block % 4 == 3)
        numbers = rng.choice([0, 1, 1, 1, 2, 2, 3, 5, 9], BLOCK)
        total = int(numbers.sum())
        columns = [rng.integers(12, size=total), rng.integers(1 << 30, size=total)]
        columns += [
            rng.choice([1, 2, 3, 4, 8, 16, 40], total),
            rng.integers(1 << 30, size=total),
            rng.integers(256, size=total),
        ]
        changes = np.stack(columns, axis=1).tolist()
        problems: list[str] = []
        at = 0
        for case, number in enumerate(numbers.tolist()):
            seat.restore()
            seat.change(changes[at : at + number])
            at += number
            problem = seat.run(kernel)
            if problem and len(problems) < PROBLEMS_MAX:
                problems.append(f"block {block} case {case}: {problem}")
        yield problems


def tried(spec: Spec, kernel: Any, calls: Sequence[Call], seed: int, first: int, count: int) -> dict[str, Any]:
    """Run blocks in processes of their own, forked from this one; return executions, and problems by block."""
    told: dict[str, Any] = {"kernel": spec.title, "executions": 0, "samples": len(calls), "problems": []}
    if not calls:
        told["problems"].append("no decoder called it")
        return told
    begin, end = first, first + count
    while begin < end:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            faulthandler.disable()  # the parent tells of its end
            with os.fdopen(writer, "w", buffering=1) as out:
                signal.signal(signal.SIGPROF, signal.SIG_DFL)  # it ends a loop that never comes back
                signal.setitimer(signal.ITIMER_PROF, BLOCK_SECONDS_MAX)
                for problems in blocks(spec, kernel, calls, seed, begin, min(BLOCKS_A_PROCESS, end - begin)):
                    out.write(json.dumps(problems) + "\n")
                    signal.setitimer(signal.ITIMER_PROF, BLOCK_SECONDS_MAX)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as lines:
            done = [json.loads(line) for line in lines]
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told["executions"] += BLOCK * len(done)
        told["problems"] += [problem for problems in done for problem in problems]
        begin += len(done)
        if status:
            told["problems"].append(
                f"block {begin}: {'it hangs' if status == -signal.SIGPROF else f'it ended with {status}'}"
            )
            begin += 1
    return told


def main() -> int:
    seed, first, count = map(int, sys.argv[1:4])
    wanted = [spec for spec in SPECS if not sys.argv[4:] or spec.title in sys.argv[4:]]
    calls = recorded(wanted, importlib.import_module)
    for spec in wanted:
        kernel = getattr(importlib.import_module(spec.module), spec.name)
        sys.stdout.write(json.dumps(tried(spec, kernel, calls[spec.title], seed, first, count)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
