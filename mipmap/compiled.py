"""Machine code without the interpreter lock, and pieces of work shared between threads in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba

Compiled = TypeVar("Compiled", bound=Callable[..., Any])
Piece = TypeVar("Piece")
Result = TypeVar("Result")


def compiled(function: Compiled) -> Compiled:
    """Compile with numba, cached on disk where some cache folder can be written."""
    return _compiled(function)


def compiled_fused(function: Compiled) -> Compiled:
    """`compiled`, where a product and a sum may round once instead of twice: faster, but not the same on all machines.

    For the last bits of what is rounded to a code anyway.
    """
    return _compiled(function, fastmath={"contract"})


def _compiled(function: Compiled, **options: Any) -> Compiled:
    try:
        return cast(Compiled, numba.njit(nogil=True, cache=True, **options)(function))
    except RuntimeError:  # numba found no folder for its cache: a read-only installation without a home
        return cast(Compiled, numba.njit(nogil=True, **options)(function))


def in_threads(work: Callable[[Piece], Result], pieces: Iterable[Piece]) -> list[Result]:
    """`work` on every piece, one thread a core; results in the order of the pieces, whatever the number of cores."""
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(work, pieces))
