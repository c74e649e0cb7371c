"""Ask the C library to keep freed memory for the next buffer of the same size.

Synthesis allocates and frees the same few large buffers thousands of times. By default glibc returns each to the kernel
and gets zeroed pages back, so every step pays a page fault per 4 KiB.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

# The names and numbers of <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8

# Buffers of a window are below 256 MiB; larger ones (a whole 8K map) still go back to the kernel when they are freed.
# One arena, or each thread keeps freed memory that no other uses: a worker's grew by 40 MB an hour of mixed jobs, most
# of all 1.33 GB, and with one by none, 1.14 GB (`benchmarks/soak.py`, 20 minutes, side by side).
_KEEP = {_M_MMAP_THRESHOLD: 256 << 20, _M_TRIM_THRESHOLD: 512 << 20, _M_TOP_PAD: 64 << 20, _M_ARENA_MAX: 1}


def keep_freed_memory() -> bool:
    """Set glibc's malloc for this process, before it starts threads. True if all was accepted, False without glibc.

    Measured with 60 attention steps of 1024 x 4096 (torch, one thread): 105,700 minor page faults without, 48,400 with
    (the first touch of 190 MB), the same as with the MALLOC_*_ variables set before the start, so no re-exec is needed.
    """
    process = _glibc()
    if process is None:
        return False
    accepted = [process.mallopt(parameter, value) == 1 for parameter, value in _KEEP.items()]
    return all(accepted)


def release_freed_memory() -> bool:
    """Give what is kept back to the kernel, as between two jobs. True if there was any, False where there is no glibc.

    Measured over 60 jobs of 64 to 512 texels a side: 800 MB held after each, 514 MB after this, which takes 20 ms; and
    while what is held creeps up with the mix of sizes, what is left stays to the megabyte.
    """
    process = _glibc()
    return process is not None and process.malloc_trim(0) == 1


class KeptMemory:
    """What a process that does one job after the other keeps from job to job: at most `most` bytes above what it held
    when it last gave everything back. The same job again then takes 2,700 page faults instead of 55,000, which are
    0.3 s of the 6.7 s of one of 1024 texels a side."""

    def __init__(self, most: int = 640 << 20) -> None:
        self._most, self._least = most, resident_bytes()

    def give_back_excess(self) -> None:
        """After a job."""
        if resident_bytes() - self._least > self._most:
            self.give_back()

    def give_back(self) -> None:
        """When no job follows for a while."""
        release_freed_memory()
        self._least = resident_bytes()


def resident_bytes() -> int:
    """This process's resident set. 0 where /proc is not Linux's."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * resource.getpagesize()


def _glibc() -> ctypes.CDLL | None:
    """This process's C library if it is glibc. Other libraries imitate mallopt, or, as musl, lack it."""
    if sys.platform != "linux":
        return None
    process = ctypes.CDLL(None)
    return process if hasattr(process, "mallopt") and hasattr(process, "gnu_get_libc_version") else None
