"""Baking on a Ray cluster: an actor for each GPU, or for a share of a node's cores, bakes one entry after the other.

Only paths, URLs and small values go through Ray. An actor runs `bake_one` as the local way does, so an entry is a
process of its own there too. An actor that dies, or whose node does, is replaced as soon as the cluster has room; its
entry is lost, and another actor takes it up. Ray is imported only here.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mipmap.encode import usable_cores
from texsynth import __version__
from texsynth.bake.manifest import Entry
from texsynth.bake.run import LOST, BakeOne, Heard, Outcome, Setup, Stopped, bake_one
from texsynth.errors import ErrorKind, TexsynthError, bad_input

POLL_S = 0.3
CONNECT_S = 5.0  # Ray itself waits for minutes for an address where nobody listens
MOST_FAILED_STARTS = 3
OBJECT_STORE_BYTES = 80 << 20  # the least that Ray takes


@dataclass(frozen=True)
class Plan:
    """How many actors there are, and how many cores and GPUs each gets."""

    workers: int
    cores: int
    gpus: int


def plan_actors(nodes: Sequence[dict[str, float]], workers: int | None) -> Plan:
    """One actor a GPU; without any, `workers` (by default one a node) that share the cores of their nodes.

    nodes: the resources of each, as Ray names them. Raises TexsynthError for more workers than there is room for.
    """
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus:
        if workers is not None and workers > gpus:
            raise bad_input("workers", f"{workers} are more than the cluster's {gpus} GPUs", f"use at most {gpus}")
        shares = [int(node.get("CPU", 0)) // int(node["GPU"]) for node in nodes if node.get("GPU", 0) >= 1]
        return Plan(workers or gpus, min(shares), 1)
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    wanted = workers or max(1, len(cores))
    if wanted > sum(cores):
        raise bad_input("workers", f"{wanted} are more than the cluster's {sum(cores)} cores", "use fewer")
    share = next(n for n in range(max(cores), 0, -1) if sum(count // n for count in cores) >= wanted)
    return Plan(wanted, share, 0)


@contextmanager
def cluster(address: str, setup: Setup, workers: int | None) -> Iterator[tuple[int, BakeOne]]:
    """How many are baked side by side on a cluster, and how. address: local (a cluster is started on this machine),
    auto, HOST:PORT or ray://HOST:PORT. Raises TexsynthError."""
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    except ImportError:
        raise TexsynthError(
            ErrorKind.NO_DEVICE, "ray is not installed; run: pip install 'texsynth[cluster]', or bake without --ray"
        ) from None
    # Ray tells what died on standard output, which is for results; who bakes is told in the outcome.
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        _connect(ray, address)
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            plan = plan_actors(nodes, workers)
            yield plan.workers, _Crew(ray, replace(setup, threads=max(1, plan.cores)), plan).bake_one
        finally:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # else Ray keeps one in the home folder
        quiet |= {"num_cpus": usable_cores(), "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    elif address != "auto":
        parts = urlsplit(address if "://" in address else f"//{address}")
        try:
            socket.create_connection((parts.hostname or "", parts.port or 0), CONNECT_S).close()
        except ValueError:
            raise bad_input(
                "ray", f"{address!r} is no address", "use local, auto, HOST:PORT or ray://HOST:PORT"
            ) from None
        except OSError as error:
            raise TexsynthError(
                ErrorKind.NO_DEVICE, f"ray: nobody listens at {address} ({error}); start one: ray start --head"
            ) from error
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise TexsynthError(
            ErrorKind.NO_DEVICE,
            f"ray: {address}: {_one_line(error)}; check that `ray start` runs here and that its token is ours",
        ) from error


class Baker:
    """The actor. `bake` takes long; `news` is asked meanwhile."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._news = ("start", 0.0)
        self._stop = threading.Event()

    def version(self) -> str:
        """Of the texsynth that is installed there."""
        return __version__

    def bake(self, entry: Entry) -> Outcome:
        """See `texsynth.bake.run.bake_one`."""
        return bake_one(self._setup, entry, self._stop.is_set, self._hear)

    def news(self, stop: bool) -> tuple[str, float]:
        """What is being done and how much of it. stop: keep a checkpoint and end."""
        if stop:
            self._stop.set()
        return self._news

    def _hear(self, _: Entry, stage: str, fraction: float) -> None:
        self._news = stage, fraction


class _Crew:
    """The actors as seen from here: starting, idle, or each with a thread that waits for it."""

    def __init__(self, ray: Any, setup: Setup, plan: Plan) -> None:
        self._ray, self._setup = ray, setup
        self._kind = ray.remote(Baker).options(
            num_cpus=plan.cores, num_gpus=plan.gpus, max_concurrency=2, scheduling_strategy="SPREAD"
        )
        self._lock = threading.Lock()
        self._starting: dict[Any, Any] = {}  # actors by their answer, from which we know that they are there
        self._idle: list[Any] = []
        self._busy = self._failed_starts = 0
        for _ in range(plan.workers):
            self._hire()

    def bake_one(self, entry: Entry, stopped: Stopped, heard: Heard) -> Outcome:
        """Bake an entry on the next idle actor. Raises TexsynthError if there are none any more."""
        began = time.monotonic()
        heard(entry, "wait for a worker", 0.0)
        actor = self._take(stopped)
        if actor is None:
            return Outcome(entry, "left")
        errors = self._ray.exceptions
        try:
            outcome = self._follow(actor, entry, stopped, heard)
        except errors.RayTaskError as error:  # raised by our code there
            outcome = Outcome(entry, "failed", time.monotonic() - began, _one_line(error.cause))
        except errors.RayError as error:
            with suppress(errors.RayError):
                self._ray.kill(actor)  # if only the line to it is down, it must not go on beside the next one
            with self._lock:
                self._busy -= 1
                self._hire()
            state = "left" if stopped() else "failed"
            return Outcome(entry, state, time.monotonic() - began, f"its worker was lost: {_one_line(error)}", _LOST)
        with self._lock:
            self._busy -= 1
            self._idle.append(actor)
        return outcome

    def _follow(self, actor: Any, entry: Entry, stopped: Stopped, heard: Heard) -> Outcome:
        result, last = actor.bake.remote(entry), None
        while not self._ray.wait([result], timeout=POLL_S)[0]:
            news = self._ray.get(actor.news.remote(stopped()))
            if news != last:
                heard(entry, *news)
                last = news
        outcome: Outcome = self._ray.get(result)
        return outcome

    def _hire(self) -> None:
        actor = self._kind.remote(self._setup)
        self._starting[actor.version.remote()] = actor

    def _take(self, stopped: Stopped) -> Any:
        """An idle actor, which is busy from now on; None when it is time to stop."""
        while not stopped():
            with self._lock:
                self._welcome()
                if self._idle:
                    self._busy += 1
                    return self._idle.pop()
            time.sleep(POLL_S)
        return None

    def _welcome(self) -> None:
        """Actors that have started become idle; what cannot start is tried again some times, then done without."""
        started = (
            self._ray.wait([*self._starting], num_returns=len(self._starting), timeout=0)[0] if self._starting else []
        )
        for answer in started:
            actor, fault = self._starting.pop(answer), ""
            try:
                version = self._ray.get(answer)
                if version != __version__:
                    fault = f"it has texsynth {version}, here is {__version__}; install the same"
            except self._ray.exceptions.RayError as error:
                fault = _one_line(error)
            if not fault:
                self._idle.append(actor)
                continue
            self._failed_starts += 1
            if self._failed_starts <= MOST_FAILED_STARTS:
                self._hire()
            elif not (self._starting or self._idle or self._busy):
                raise TexsynthError(ErrorKind.NO_DEVICE, f"ray: no worker of the cluster starts: {fault}")


_LOST = {"status": LOST}


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
