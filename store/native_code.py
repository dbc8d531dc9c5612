"""Machine code of compiled kernels as one object file (ADR 21): what `store.native` keeps. It needs numba."""

from __future__ import annotations

import importlib
from typing import Any

numba: Any = importlib.import_module("numba")
llvm: Any = importlib.import_module("llvmlite.binding")
dispatchers: Any = importlib.import_module("numba.core.dispatcher")


def object_of(module: Any) -> tuple[dict[str, Any], bytes, set[str]]:
    """Return a module's kernels, their object file, and the modules that their code is from.

    Kernels are the public ones, of one signature each.

    Raises:
        ValueError: a kernel needs something that only numba's runtime has.
    """
    triple = llvm.Target.from_default_triple()
    machine = triple.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )
    kernels: dict[str, Any] = {}
    whole: Any = None
    for name, kernel in vars(module).items():
        if name.startswith("_") or not isinstance(kernel, dispatchers.Dispatcher):
            continue
        if kernel.py_func.__module__ == module.__name__:
            kernels[name], code = _kernel(kernel)
            whole = code if whole is None else _linked(whole, code)
    if whole is None:
        raise ValueError("a module of kernels has none")
    _drop_unused(whole, {item["symbol"] for item in kernels.values()}, machine)
    return kernels, bytes(machine.emit_object(whole)), _sources(module)


def _kernel(kernel: Any) -> tuple[dict[str, Any], Any]:
    (signature,) = kernel.nopython_signatures
    options = {name: value for name, value in kernel.targetoptions.items() if name in ("nogil", "error_model", "_nrt")}
    (compiled,) = kernel.overloads.values()
    if kernel.stats.cache_hits:  # what comes out of a cache cannot be taken apart
        (compiled,) = numba.njit(signature, **options)(kernel.py_func).overloads.values()
    told = {
        "symbol": compiled.fndesc.llvm_func_name,
        "returns": str(signature.return_type),
        "takes": [_kind(item) for item in signature.args],
    }
    return told, llvm.parse_assembly(compiled.library.get_llvm_str())


def _kind(kind: Any) -> list[Any]:
    if isinstance(kind, numba.types.Array):
        if kind.layout != "C":
            raise ValueError("a kernel reads arrays whose values lie side by side")
        return [str(kind.dtype), kind.ndim, not kind.mutable]
    return [str(kind)]


def _linked(whole: Any, code: Any) -> Any:
    for function in code.functions:  # helpers that both have are each one's own
        if not function.is_declaration and function.linkage != llvm.Linkage.external:
            function.linkage = "internal"
    whole.link_in(code)
    return whole


def _drop_unused(whole: Any, symbols: set[str], machine: Any) -> None:
    """Leave out what Python would call the kernels by."""
    for function in whole.functions:
        if not function.is_declaration and function.name not in symbols:
            function.linkage = "internal"
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=0))
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(whole, builder)
    missing = {item.name for item in whole.functions if item.is_declaration and not item.name.startswith("llvm.")}
    if missing - {"NRT_MemInfo_call_dtor", "memset", "memcpy"}:
        raise ValueError(f"a kernel needs {', '.join(sorted(missing))}")


def _sources(module: Any, seen: set[str] | None = None) -> set[str]:
    """Return the modules from which a module of kernels takes functions, itself among them."""
    seen = {module.__name__} if seen is None else seen
    for value in vars(module).values():
        name = getattr(getattr(value, "py_func", value), "__module__", None)
        if isinstance(name, str) and name.endswith("kernels") and name not in seen:
            seen.add(name)
            _sources(importlib.import_module(name), seen)
    return seen
