"""VMO, the video memory occupancy: the most that geometry and textures held at any time, sampled beside the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from mipmap.metrics.memory_counters import Counter, open_counter

LONGEST = 0.016  # seconds between two samples, by the definition of VMO: one frame at 60 Hz
INTERVAL = 0.008  # half of it, so that a sample that comes late is still in time


@dataclass(frozen=True)
class VideoMemory:
    """VMO.

    bytes: max over time of what was in use, less what was in use at the start; `computed` without a counter.
    source: what counted, or "computed". computed: the analytic size of what should be resident, always there.
    samples: how many. longest_gap: seconds between two of them; above 0.016 the machine was too busy to be sure.
    """

    bytes: int
    source: str
    computed: int
    samples: int = 0
    longest_gap: float = 0.0


class MemoryWatch:
    """Samples a counter of video memory in a thread while the block runs; `result` has the maximum afterwards.

    Start it before anything is uploaded. VMO = max over t of geometry and texture bytes resident, as growth since the
    start, because most counters cover the whole device.
    computed: bytes by computation (`chain_bytes`, `geometry_bytes`). open_counter: called in the sampling thread,
    because a GL context belongs to its thread; None means that there is no counter, and the result is `computed`.
    interval: seconds, at most 0.016. Raises ValueError otherwise. A counter that fails on the way leaves `computed`
    as the result, and its source says so.
    """

    def __init__(
        self,
        computed: int,
        *,
        open_counter: Callable[[], Counter | None] = open_counter,
        interval: float = INTERVAL,
    ) -> None:
        if not 0 < interval <= LONGEST:
            raise ValueError(f"the interval is above 0 and at most {LONGEST} seconds, not {interval}")
        self.result = VideoMemory(computed, "computed", computed)
        self._open, self._interval = open_counter, interval
        self._stop, self._ready = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="video memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        source = "no counter"
        try:
            counter = self._open()
            if counter is None:
                return
            source = counter.source
            try:
                self._sample(counter)
            finally:
                counter.close()
        except Exception as error:  # whatever a driver's binding raises must not end the work that is watched
            computed = self.result.computed
            self.result = VideoMemory(computed, f"computed, because {source} failed ({error})", computed)
        finally:
            self._ready.set()

    def _sample(self, counter: Counter) -> None:
        start = most = counter.read()
        last, gap, samples, stopping = time.monotonic(), 0.0, 1, False
        self._ready.set()
        while not stopping:
            stopping = self._stop.wait(max(0.0, self._interval - (time.monotonic() - last)))
            most = max(most, counter.read())  # once more after the end, so that a short block is seen too
            now = time.monotonic()
            gap, last, samples = max(gap, now - last), now, samples + 1
        self.result = VideoMemory(most - start, counter.source, self.result.computed, samples, gap)
