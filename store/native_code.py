"""Machine code of compiled kernels as one object file (ADR 21): what `store.native` keeps. It needs numba."""

from __future__ import annotations

import ast
import importlib
from typing import Any

from store.native import source_of

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
    return kernels, bytes(machine.emit_object(whole)), _sources(module.__name__)


def _kernel(kernel: Any) -> tuple[dict[str, Any], Any]:
    (signature,) = kernel.nopython_signatures
    (compiled,) = kernel.overloads.values()
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


def _sources(module: str) -> set[str]:
    """Return the modules of this program from which a module takes functions or numbers, itself among them."""
    seen: set[str] = set()
    found = [module]
    while found:
        name = found.pop()
        if name in seen or not source_of(name).is_file():
            continue
        seen.add(name)
        for node in ast.walk(ast.parse(source_of(name).read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                found += [node.module, *(f"{node.module}.{item.name}" for item in node.names)]
            elif isinstance(node, ast.Import):
                found += [item.name for item in node.names]
    return seen
