"""What the service counts, in Prometheus' terms: jobs, calls, bytes and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from texsynth.errors import bad_input
from texsynth_rpc.states import State

SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
CALL_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
ANSWER = 10.0  # seconds that the service has to count its jobs


class Meters:
    """Each has a registry of its own, so that two services in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self.registry}
        self.waited = Histogram("texsynth_job_wait_seconds", "Time a job waits for a worker.", buckets=SECONDS, **given)
        self.job_seconds = Histogram(
            "texsynth_job_seconds", "Time from submission to the end.", ["kind", "state"], buckets=SECONDS, **given
        )
        self.workers_started = Counter(
            "texsynth_workers_started", "Worker processes that were started; more than there are: some died.", **given
        )
        self.calls = Counter("texsynth_calls", "Calls by method and status code.", ["method", "code"], **given)
        self.call_seconds = Histogram(
            "texsynth_call_seconds", "Time of calls, streams too.", ["method"], buckets=CALL_SECONDS, **given
        )
        self.received = Counter("texsynth_received_bytes", "Bytes of files that clients sent.", **given)
        self.sent = Counter("texsynth_sent_bytes", "Bytes of files that clients fetched.", **given)
        self.streams = Gauge("texsynth_streams", "Viewers' streams that are open.", **given)
        ProcessCollector(**given)

    def ended(self, state: State, kind: str, seconds: float) -> None:
        """A job has ended."""
        self.job_seconds.labels(kind, state.value).observe(seconds)

    def serve(self, address: str, port: int, counts: Callable[[], Mapping[State, int]]) -> None:
        """Answer GET /metrics on a thread of its own. counts: how many jobs are in each state; called on that thread.

        Raises TexsynthError for an address that is taken.
        """
        self.registry.register(_Jobs(counts))
        try:
            start_http_server(port, address, self.registry)
        except OSError as error:
            where = f"{address}:{port}"
            raise bad_input("metrics", f"{where}: {error.strerror}", "use another port, or stop what uses it") from None


class _Jobs(Collector):
    """Jobs by state, counted when the page is read."""

    def __init__(self, counts: Callable[[], Mapping[State, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        family, counts = GaugeMetricFamily("texsynth_jobs", "Jobs by state.", labels=["state"]), self._counts()
        for state in State:
            family.add_metric([state.value], counts.get(state, 0))
        yield family


def on_loop(count: Callable[[], Mapping[State, int]], loop: asyncio.AbstractEventLoop) -> Mapping[State, int]:
    """`count` from another thread: the loop's own has the database."""

    async def counted() -> Mapping[State, int]:
        return count()

    return asyncio.run_coroutine_threadsafe(counted(), loop).result(ANSWER)
