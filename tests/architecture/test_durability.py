"""One module fsyncs, renames and unlinks; one module writes encrypted Parquet; nothing spools plaintext."""

from __future__ import annotations

import ast

from tests.architecture.source import calls, dotted, imports, modules, nodes

FILES = "store/files.py"
PARQUET = "store/parquet.py"
OS_CALLS = {"fsync", "fdatasync", "rename", "renames", "replace", "unlink", "remove", "rmdir", "truncate", "ftruncate"}
SHUTIL_CALLS = {"rmtree", "move"}
METHODS = {"unlink", "rename", "rmdir"}


def _destroys(name: str, call: ast.Call) -> bool:
    head, _, last = name.rpartition(".")
    if head == "os":
        return last in OS_CALLS
    if head == "shutil":
        return last in SHUTIL_CALLS
    if isinstance(call.func, ast.Attribute) and last in METHODS:
        return True
    # Path.replace takes one argument, str.replace two, datetime.replace none by position.
    return last == "replace" and isinstance(call.func, ast.Attribute) and len(call.args) == 1 and not call.keywords


def test_the_detector_knows_a_rename_from_a_replaced_letter() -> None:
    def found(text: str) -> bool:
        name, call = calls(ast.parse(text))[0]
        return _destroys(name, call)

    assert found("os.fsync(1)")
    assert found("path.replace(other)")
    assert found("(root / 'a').unlink()")
    assert not found("text.replace('a', 'b')")
    assert not found("moment.replace(tzinfo=UTC)")


def test_only_one_module_syncs_renames_and_unlinks() -> None:
    found = [
        (path, call.lineno, name)
        for path, tree in modules().items()
        if path != FILES
        for name, call in calls(tree)
        if _destroys(name, call) and not name.startswith("files.")
    ]
    assert found == []


def test_nobody_takes_those_functions_out_of_the_system_modules() -> None:
    names = {f"os.{name}" for name in OS_CALLS} | {f"shutil.{name}" for name in SHUTIL_CALLS}
    found = [
        (path, name) for path, tree in modules().items() if path != FILES for name in imports(tree) if name in names
    ]
    assert found == []


def test_only_one_module_opens_and_writes_encrypted_parquet() -> None:
    found = {
        path
        for path, tree in modules().items()
        if any(name.startswith("pyarrow.parquet.encryption") for name in imports(tree))
        or any(
            isinstance(node, ast.keyword) and node.arg in {"encryption_properties", "decryption_properties"}
            for node in nodes(tree)
        )
    }
    assert found == {PARQUET}


def test_nothing_writes_plain_parquet() -> None:
    found = [
        (path, call.lineno)
        for path, tree in modules().items()
        if path != PARQUET
        for name, call in calls(tree)
        if name.endswith(("pq.write_table", "parquet.write_table", "ParquetWriter", "write_dataset", "write_parquet"))
    ]
    assert found == []


def test_nothing_makes_temporary_files() -> None:
    # A framework's upload spool would lay records on the disk in the clear.
    found = [(path, name) for path, tree in modules().items() for name in imports(tree) if name.startswith("tempfile")]
    uploads = [
        (path, node.lineno)
        for path, tree in modules().items()
        for node in nodes(tree)
        if isinstance(node, ast.Name | ast.Attribute)
        and dotted(node).rpartition(".")[2] in {"UploadFile", "SpooledTemporaryFile"}
    ]
    assert found + uploads == []
