"""The page for a reader without tools, on paper, on a desk and on a phone."""

from __future__ import annotations

import json
from pathlib import Path

from api.handover import summary

DEMO = Path(__file__).parents[3] / "docs" / "demo" / "delivery"


def page() -> str:
    manifest, receipt = (json.loads((DEMO / f"{name}.json").read_bytes()) for name in ("manifest", "receipt"))
    return summary.page(manifest, receipt, "ab" * 32).decode()


def test_on_a_phone_every_cell_says_what_it_is() -> None:
    """Rows stand as blocks there, without the head of their table."""
    assert '<td class="w" data-head="Person">approver-2</td>' in page()
    assert '<td class="n" data-head="Records">25</td>' in page()
    assert "@media screen and (max-width: 40em)" in page() and 'name="viewport"' in page()


def test_an_id_does_not_break_at_its_hyphen_and_a_sentence_does() -> None:
    assert ".w { white-space: nowrap }" in page()
    assert '<td class="w">Case handler' not in page()
