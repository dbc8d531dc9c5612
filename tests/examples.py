"""How many examples a property is tried with: a few, or by the profile `torture` of `tests/conftest.py` many."""

from __future__ import annotations

from typing import Final

from hypothesis import settings

USUAL: Final = settings(settings.get_profile("default")).max_examples
"""What a profile has is seen against it."""


def examples(count: int) -> settings:
    """Return settings of so many examples, or of as many times more as the profile in force has."""
    return settings(max_examples=count * settings().max_examples // USUAL)
