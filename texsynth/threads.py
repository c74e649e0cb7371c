"""One number of threads for torch, whenever numba starts.

numba's OpenMP layer sets OpenMP's number of threads for the whole process when its first parallel kernel runs. torch
follows that number, and with it the order in which it sums: the first job of a process would differ in its last bits,
and so in its choices, from the next one, and a resumed job from an uninterrupted one.
"""

from __future__ import annotations

import torch
from numba import njit, prange


@njit(cache=True, parallel=True)
def _sum(count):  # type: ignore[no-untyped-def]
    total = 0
    for i in prange(count):
        total += i
    return total


def settle_threads() -> None:
    """Start numba's threads now and give torch back the number it had before. Call it before any work with torch."""
    threads = torch.get_num_threads()
    _sum(64)
    torch.set_num_threads(threads)
