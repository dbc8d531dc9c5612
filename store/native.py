"""Compiled kernels without their compiler: machine code that is kept, and called through plain addresses (ADR 21).

numba takes 0.7 s of processor time to come up before it hands out a single kernel, even out of its own cache, and that
cache does not notice when a helper in another file has changed. So it is not used: what numba compiled is kept here, as
an object file for this very processor, and a process that finds it there loads it with LLVM's linker alone, in some 50
ms. Who finds none compiles the kernels and keeps them for the next.

A kept file is one line of JSON (what it was made from and for, the kernels' names and arguments, the module's whole
numbers), the object file, and the SHA-256 of both: a torn file is no file. It is used only if nobody else could have
written it, and if everything that it was made from is as it was.

Kernels are called as numba's own are: an array is handed over as its address, sizes and strides, and must have the type
and the layout that the kernel was compiled for. A kernel allocates nothing and raises nothing.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

FOLDER: Final = "NUMBA_CACHE_DIR"
"""Where kernels are kept if not beside the program; named as numba's own variable, whose cache is not used."""
KEPT_BYTES_MAX: Final = 4 << 20
_ROOT: Final = Path(__file__).parents[1]
_DIGEST_BYTES: Final = 32
_CACHE: Final = "__pycache__"
_NEVER: Final = ("NRT_MemInfo_call_dtor",)  # named by code for arrays that own memory; ours never do
_SCALARS: Final = {
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "bool": ctypes.c_uint8,
    "none": ctypes.c_void_p,
}
_STATUS_OK: Final = (0, -2)  # done; done, and returns None

_lock = threading.RLock()
_loaded: dict[str, Any] = {}
_engines: list[Any] = []
_asked: dict[str, int] = {}
"""How many rows modules were asked for before they were loaded."""


def load(module: str) -> Any:
    """Return the kernels and whole numbers of a module of kernels, kept or compiled."""
    found = _loaded.get(module)
    if found is not None:
        return found
    with _lock:
        if module not in _loaded:
            _loaded[module] = sys.modules[module] if module in sys.modules else _read_or_compile(module)
    return _loaded[module]


def _read_or_compile(module: str) -> Any:
    path, beside = _place(module), _beside(module)
    found = _read(path)
    if found is None and path != beside:  # a program that cannot be written was compiled when it was installed
        found = _read(beside)
    if found is None:
        found = importlib.import_module(module)
        with suppress(OSError, ValueError, RuntimeError):  # it costs the next process time, this one nothing
            _keep(found, path)
    return found


def is_loaded(module: str) -> bool:
    """Tell whether the kernels cost nothing more to load."""
    return module in _loaded or module in sys.modules


def pays(module: str, rows: int, least: int) -> bool:
    """Tell whether kernels are loaded, or worth it: a process was asked for so many rows, all its stretches together.

    A delivery of a million rows in stretches of a few thousand is as good a reason as one large stretch.
    """
    if is_loaded(module):
        return True
    _asked[module] = _asked.get(module, 0) + rows
    return _asked[module] >= least


class Kernel:
    """One compiled function."""

    def __init__(self, name: str, address: int, returns: str, takes: list[list[Any]]) -> None:
        """Bind the function at an address.

        Args:
            name: what messages call it.
            address: of numba's own entry: a place for the result, one for an exception, the arguments.
            returns: type of the result.
            takes: for each argument its type, and for an array [type, dimensions, whether it may be read-only].
        """
        self._name = name
        self._takes = [(np.dtype(item[0]), item[1], item[2]) if len(item) > 1 else None for item in takes]
        self._result: Any = _SCALARS[returns]
        self._returns = returns != "none"
        kinds: list[Any] = [ctypes.c_void_p, ctypes.c_void_p]
        for item in takes:
            if len(item) == 1:
                kinds.append(_SCALARS[item[0]])
            else:
                kinds += [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 2 + [ctypes.c_void_p]
                kinds += [ctypes.c_int64] * (2 * item[1])
        self._call = ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)(address)  # it runs without the interpreter's lock

    def __call__(self, *arguments: Any) -> Any:
        """Run it.

        Raises:
            TypeError: an array is not of the type or layout that the kernel reads, or their number is another.
        """
        if len(arguments) != len(self._takes):
            raise TypeError(f"{self._name} takes {len(self._takes)} arguments")
        result, error = self._result(), ctypes.c_void_p()
        held: list[Any] = []
        given: list[Any] = [ctypes.addressof(result), ctypes.addressof(error)]
        for passed, kind in zip(arguments, self._takes, strict=True):
            argument = passed
            if kind is None:
                given.append(int(argument))
                continue
            if kind[2] and not argument.flags.aligned:  # as it came out of a file
                argument = argument.copy()
                held.append(argument)
            flags = argument.flags
            if (
                argument.dtype != kind[0]
                or argument.ndim != kind[1]
                or not flags.c_contiguous
                or not flags.aligned
                or not (kind[2] or flags.writeable)
            ):
                raise TypeError(f"{self._name} reads other arrays than this one")
            given += (None, None, argument.size, argument.itemsize, argument.ctypes.data)
            given += argument.shape
            given += argument.strides
        if self._call(*given) not in _STATUS_OK:
            raise RuntimeError(f"{self._name} failed")
        return result.value if self._returns else None


def _place(module: str) -> Path:
    """Return where the kernels of a module are kept."""
    folder = os.environ.get(FOLDER)
    return Path(folder) / f"{module}.kernels" if folder else _beside(module)


def _beside(module: str) -> Path:
    """Return where `make env` keeps them: beside the program."""
    return source_of(module).parent / _CACHE / f"{module}.kernels"


def _read(path: Path) -> Any:
    """Return the kernels that are kept in a file; None when there are none for this program and this processor."""
    try:
        with path.open("rb") as file:
            owner = os.fstat(file.fileno())
            if owner.st_uid not in (0, os.getuid()) or owner.st_mode & 0o022:  # code of others is never run
                return None
            data = file.read(KEPT_BYTES_MAX)
    except OSError:
        return None
    body, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    head, _, code = body.partition(b"\n")
    told = json.loads(head)
    if told["made_for"] != _machine() or any(_digest(name) != known for name, known in told["made_from"].items()):
        return None
    addresses = _link(code, [item["symbol"] for item in told["kernels"].values()])
    kernels = {
        name: Kernel(name, address, item["returns"], item["takes"])
        for (name, item), address in zip(told["kernels"].items(), addresses, strict=True)
    }
    return SimpleNamespace(**told["numbers"], **kernels)


def _link(code: bytes, symbols: list[str]) -> list[int]:
    """Make an object file's functions ready to run; return their addresses."""
    llvm = _llvm()
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    never = ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value
    for name in _NEVER:
        if llvm.address_of_symbol(name) is None:
            llvm.add_symbol(name, never)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)  # it owns the code
    return [int(engine.get_function_address(symbol)) for symbol in symbols]


def _llvm() -> Any:
    llvm: Any = importlib.import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


def _machine() -> dict[str, str]:
    """Return what machine code depends on besides its source."""
    llvm = _llvm()
    return {
        "processor": str(llvm.get_host_cpu_name()),
        "features": str(llvm.get_host_cpu_features().flatten()),
        "numba": _release("numba"),
        "llvmlite": _release("llvmlite"),
        "numpy": np.__version__,
    }


@cache
def _release(package: str) -> str:
    """Return the digest of the file in which a package tells its version; to read its metadata costs 20 ms more."""
    spec = importlib.util.find_spec(package)
    origin = spec.origin if spec is not None else None
    return hashlib.sha256(Path(origin).with_name("_version.py").read_bytes()).hexdigest() if origin else ""


def source_of(module: str) -> Path:
    """Return where the source of a module of this program lies."""
    return _ROOT / f"{module.replace('.', '/')}.py"


def _digest(module: str) -> str:
    """Return the SHA-256 of a module's source; of no module's when it is not there."""
    try:
        return hashlib.sha256(source_of(module).read_bytes()).hexdigest()
    except OSError:
        return ""


def _keep(module: Any, path: Path) -> None:
    """Write the machine code of a module's kernels, for the next process to find."""
    if path.parent.name == _CACHE:  # Python makes it only where it keeps bytecode
        path.parent.mkdir(exist_ok=True)
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        return
    from store.native_code import object_of

    kernels, code, sources = object_of(module)
    numbers = {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, int)}
    head = {
        "made_for": _machine(),
        "made_from": {name: _digest(name) for name in sorted({*sources, __name__, "store.native_code"})},
        "kernels": kernels,
        "numbers": numbers,
    }
    body = json.dumps(head, separators=(",", ":")).encode() + b"\n" + code
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(file, "wb") as out:  # who reads it half written finds no file
        out.write(body + hashlib.sha256(body).digest())
