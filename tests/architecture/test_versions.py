"""The program means the same on every Python that it runs on."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture.source import calls, modules, nodes

POSSESSIVE = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<found>\(\?>|(?:[*+?]|\{[0-9]*,?[0-9]*\})\+)",
    re.DOTALL,  # escapes and classes are stepped over
)
ALPHABETS = [("ingest/decoders/threegpp/text.py", "@£$¥"), ("ingest/mapping/times.py", ".^$*")]
"""No patterns: the characters of short messages, and those that a pattern escapes."""


def _is_possessive(text: str) -> bool:
    return any(match["found"] for match in POSSESSIVE.finditer(text))


def test_no_pattern_is_possessive() -> None:
    """Before Python 3.11.5, which Debian 12 is, possessive repeats and atomic groups may match wrongly."""
    found = [
        (path, text[:4])
        for path, tree in modules().items()
        for documentation in ({id(node.value) for node in nodes(tree) if isinstance(node, ast.Expr)},)
        for node in nodes(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in documentation
        for text in (node.value if isinstance(node.value, str) else node.value.decode("latin-1"),)
        if _is_possessive(text)
    ]
    assert found == ALPHABETS


@pytest.mark.parametrize("text", ["a*+", "(?:a|b)++", "x?+", "[0-9]{1,3}+", "a{,2}+", "*+ after a name", "(?>a|b)c"])
def test_that_search_finds_what_it_looks_for(text: str) -> None:
    assert _is_possessive(text)


@pytest.mark.parametrize(
    "text", [r"\++", r"\(\?>", "[*+]+", "[]*+]", "[^]?+]", r"[\]*+]", "(?:a+)+", r"a+\+", "[a-z]+"]
)
def test_and_nothing_else(text: str) -> None:
    assert not _is_possessive(text)


def test_what_a_client_asks_of_a_certificate_is_said_once() -> None:
    """Python's own contexts ask for more since 3.13."""
    found = {
        path
        for path, tree in modules().items()
        for name, _ in calls(tree)
        if name.rpartition(".")[2] in {"create_default_context", "_create_unverified_context"}
    }
    assert found == {"store/tls.py"}
