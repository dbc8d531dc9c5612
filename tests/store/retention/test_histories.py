"""Histories against a model (`tests.store.histories`): a short form, and ten thousand."""

from __future__ import annotations

import pytest

from tests.store.histories import BLOCK, HISTORIES, STEPS, run


def test_a_store_keeps_what_it_promised_through_any_history() -> None:
    run(0, 30, 14)


@pytest.mark.torture
@pytest.mark.parametrize("block", range(1, HISTORIES // BLOCK + 1))
def test_ten_thousand_histories(block: int) -> None:
    run(block, BLOCK, STEPS)
