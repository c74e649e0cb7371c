"""Checks of values that a user names, each a line of the same form."""

from __future__ import annotations

import math
from collections.abc import Iterable

from texsynth.errors import bad_input


def require_range(name: str, value: float, smallest: float, largest: float) -> None:
    """Raises TexsynthError(BAD_INPUT) unless `value` is finite and in smallest..largest."""
    if not (math.isfinite(value) and smallest <= value <= largest):
        raise bad_input(name, f"got {value:g}", f"use a number from {smallest:g} to {largest:g}")


def require_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raises TexsynthError(BAD_INPUT), with all choices, unless `value` is one of them."""
    allowed = tuple(choices)
    if value not in allowed:
        raise bad_input(name, f"'{value}' is unknown", f"use any of {listed(allowed)}")


def listed(words: Iterable[str]) -> str:
    """`words` with commas between."""
    return ", ".join(str(word) for word in words)
