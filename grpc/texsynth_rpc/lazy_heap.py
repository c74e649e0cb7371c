"""A priority queue whose entries change their keys: a binary heap that lets outdated entries lie until they surface."""

from __future__ import annotations

import heapq
from typing import Any, Generic, TypeVar

Name = TypeVar("Name", int, str)

SLACK = 16  # outdated entries that are never worth a clean-up


class LazyHeap(Generic[Name]):
    """Names with keys, the smallest key first and of equal keys the smaller name: never the order of arrival.

    A new key is pushed beside the outdated entry, which is thrown away when it comes to the top, or with all others
    when more than half of the heap is outdated. So each operation costs O(log n), amortised, for n names, and memory
    stays O(n). Keys are tuples of numbers and must be comparable.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Any, Name]] = []
        self._keys: dict[Name, Any] = {}
        self.operations = 0
        """Entries pushed, popped or moved in a clean-up so far: each but the last costs O(log n), those O(1)."""

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, name: Name, key: Any) -> None:
        """Add the name, or give it another key."""
        if self._keys.get(name) == key:
            return
        self._keys[name] = key
        self._push((key, name))

    def discard(self, name: Name) -> None:
        """Take the name out, if it is there."""
        self._keys.pop(name, None)

    def first(self) -> tuple[Any, Name] | None:
        """The smallest key and its name, which stays; None if there is none."""
        while self._heap and self._keys.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
            self.operations += 1
        return self._heap[0] if self._heap else None

    def _push(self, entry: tuple[Any, Name]) -> None:
        heapq.heappush(self._heap, entry)
        self.operations += 1
        if len(self._heap) > 2 * len(self._keys) + SLACK:
            self.operations += len(self._heap)
            self._heap = [(key, name) for name, key in self._keys.items()]
            heapq.heapify(self._heap)
