"""Whoever reads records says what for: only the store's own work names no purpose."""

from __future__ import annotations

import ast

from schemas.policy import PURPOSES
from tests.architecture.source import dotted, modules, nodes


def test_every_query_of_the_doors_names_its_purpose() -> None:
    queries = [
        (path, node)
        for path, tree in modules().items()
        if path.startswith(("api/", "ingest/"))
        for node in nodes(tree)
        if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "ScanQuery"
    ]
    assert len(queries) >= 2
    for path, node in queries:
        words = [dotted(word.value).rpartition(".")[2].lower() for word in node.keywords if word.arg == "purpose"]
        assert len(words) == 1, path
        # A legal basis names what it draws on, and that is a purpose (tests/schemas/test_legal_bases.py).
        assert words[0] in (*PURPOSES, "draws_on"), path
