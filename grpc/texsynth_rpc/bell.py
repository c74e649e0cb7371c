"""Who waits for news of what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class Bell:
    """Wakes those who wait for news of a job or a scene, by its name."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def ring(self, name: str) -> None:
        """Something happened to `name`."""
        for event in self._waiting.get(name, ()):
            event.set()

    @contextlib.contextmanager
    def listening(self, *names: str) -> Iterator[asyncio.Event]:
        """An event that `ring` sets for any of these."""
        event = asyncio.Event()
        for name in names:
            self._waiting.setdefault(name, set()).add(event)
        try:
            yield event
        finally:
            for name in names:
                self._waiting[name].discard(event)
                if not self._waiting[name]:
                    del self._waiting[name]
