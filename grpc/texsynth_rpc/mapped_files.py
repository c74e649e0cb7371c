"""Files mapped into memory, so many at a time: each takes a descriptor, and a process has few."""

from __future__ import annotations

import mmap
import threading
from collections import OrderedDict
from pathlib import Path

MOST_MAPPED = 256  # a quarter of the descriptors that a process usually has


class MappedFiles:
    """Those that were asked for last. What was mapped stays readable for who holds it."""

    def __init__(self, most: int = MOST_MAPPED) -> None:
        self._most = most
        self._mapped: OrderedDict[Path, memoryview] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path) -> memoryview:
        """All bytes of a file that does not change. Raises FileNotFoundError, OSError."""
        with self._lock:
            if path not in self._mapped:
                with path.open("rb") as file:
                    self._mapped[path] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                if len(self._mapped) > self._most:
                    self._mapped.popitem(last=False)
            self._mapped.move_to_end(path)
            return self._mapped[path]

    def forget(self, path: Path) -> None:
        """Another file may take its place."""
        with self._lock:
            self._mapped.pop(path, None)
