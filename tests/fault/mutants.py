"""The program without one of its checks: what can be taken out of a module, and how a process lives without it.

A check is a call of a guard, or one condition under which something is raised; of the modules in `RETENTION` also one
under which records are left alone, of those in `ENDING` one under which a function ends early. A route's role is one,
too: without it, it serves everybody whom the door has recognised.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_type_hints

from fastapi import Depends
from fastapi.params import Depends as Dependency

from api.people import auth
from tests.fault.guards_of import ENDING, MODULES, ONLY, RETENTION

GUARDS: Final = re.compile(r"_?(require|verify|check|refuse|enter|admit|live)(_.*)?|next_.*|recipient_of")
"""What the guards are called that raise where they are called."""
ROUTE: Final = 1_000
"""The number of the mutation that takes a route's role away; no function has as many others."""
ROUTES: Final = "api.routes."


@dataclass(frozen=True)
class Mutant:
    """One check gone: `number` counts the mutations of a function in the order of its source."""

    module: str
    function: str
    number: int
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line} {self.function}: {self.what}"


class _Without(ast.NodeTransformer):
    """Counts what can be taken out of a function, and takes out the one of a number."""

    def __init__(self, module: str, wanted: int = -1) -> None:
        self.wanted = wanted
        more = {ast.Continue: module in RETENTION, ast.Return: module in ENDING}
        self.left: tuple[type[ast.stmt], ...] = (ast.Raise, *(kind for kind, is_left in more.items() if is_left))
        self.found: list[tuple[int, str]] = []

    def _is(self, node: ast.AST, what: str) -> bool:
        self.found.append((getattr(node, "lineno", 0), what))
        return len(self.found) - 1 == self.wanted

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        name = _called(node.value.value if isinstance(node.value, ast.Await) else node.value)
        if GUARDS.fullmatch(name) and self._is(node, f"without {name}"):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        if any(isinstance(item, self.left) for item in node.body):
            parts = node.test.values if isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.Or) else []
            for place, part in enumerate(parts):
                if self._is(node, f"not for {ast.unparse(part)}"):
                    parts[place] = ast.copy_location(ast.Constant(False), part)
            if not parts and self._is(node, f"not for {ast.unparse(node.test)}"):
                node.test = ast.copy_location(ast.Constant(False), node.test)
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = _called(node)
        if name in _TABLES and len(node.args) == 2 and self._is(node, f"{name} from any state"):
            state, action = (ast.unparse(item) for item in node.args)
            table = f"__import__('api.disclosure.states', fromlist=['x']).{_TABLES[name]}"
            source = f"next(iter([e for (s, a), e in {table}.items() if a == ({action})]), {state})"
            return ast.copy_location(ast.parse(source, mode="eval").body, node)
        return self.generic_visit(node)


_TABLES: Final = {"next_stage": "TASK_TRANSITIONS", "next_authorisation": "AUTHORISATION_TRANSITIONS"}


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def functions_of(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{item.name}", item


_ANYBODY: Final = Annotated[auth.Principal, Depends(auth.require_any)]


def _roles(module: str, function: str) -> list[str]:
    """Return a route's parameters that ask for more than a recognised caller."""
    found = getattr(importlib.import_module(module), function)
    return [
        name
        for name, hint in get_type_hints(found, include_extras=True).items()
        for part in get_args(hint)
        if isinstance(part, Dependency)
        and getattr(part.dependency, "__module__", "") == auth.__name__
        and part.dependency is not auth.require_any
    ]


def mutants(names: tuple[str, ...] = tuple(MODULES)) -> list[Mutant]:
    """Return every mutant there is."""
    found = []
    for module in names:
        tree = ast.parse(inspect.getsource(importlib.import_module(module)))
        for name, function in functions_of(tree):
            if name.rpartition(".")[2] not in ONLY.get(module, (name.rpartition(".")[2],)):
                continue
            looked = _Without(module)
            looked.visit(function)
            found += [Mutant(module, name, number, *where) for number, where in enumerate(looked.found)]
            if module.startswith(ROUTES) and "." not in name and function.decorator_list and _roles(module, name):
                found.append(Mutant(module, name, ROUTE, function.lineno, "for every role"))
    return found


def _target(mutant: Mutant) -> Any:
    found: Any = importlib.import_module(mutant.module)
    for name in mutant.function.split("."):
        found = inspect.getattr_static(found, name)
    return getattr(found, "fget", None) or getattr(found, "__func__", None) or inspect.unwrap(found)


@contextlib.contextmanager
def living(mutant: Mutant) -> Iterator[None]:
    """Exchange the function's code in this process, for a while."""
    module = importlib.import_module(mutant.module)
    if mutant.number == ROUTE:
        route = getattr(module, mutant.function)
        open_to_all = dict.fromkeys(_roles(mutant.module, mutant.function), _ANYBODY)
        kept, route.__annotations__ = route.__annotations__, route.__annotations__ | open_to_all
        try:
            yield
        finally:
            route.__annotations__ = kept
        return
    tree = ast.parse(inspect.getsource(module))
    _Without(mutant.module, mutant.number).visit(dict(functions_of(tree))[mutant.function])
    ast.fix_missing_locations(tree)
    code = compile(tree, module.__file__ or "", "exec")
    for name in mutant.function.split("."):
        code = next(item for item in code.co_consts if isinstance(item, types.CodeType) and item.co_name == name)
    target = _target(mutant)
    before, target.__code__ = target.__code__, code
    try:
        yield
    finally:
        target.__code__ = before


def lasting_name(mutant: Mutant) -> str:
    """Return what a mutant is called as long as its function reads the same, wherever in the module it stands."""
    tree = ast.parse(inspect.getsource(importlib.import_module(mutant.module)))
    source = ast.dump(dict(functions_of(tree))[mutant.function])
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    return f"{mutant.module} {mutant.function} {mutant.number} {digest}"
