"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from service_process import Guarded, Server, serving

from texsynth.train.procedural import generate, write

# As the command line has it: the threads of several tests share the processors, and those that wait for work in a busy
# loop would take them from the others. libgomp reads it when torch is loaded, which nothing above does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell starts background jobs with SIGINT ignored, and their children inherit that: Ctrl-C could not be tested there.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Files that take half a minute or more by themselves, the longest first: begun last, they would leave one process
# without work (`make test` gives whole files to its processes, in this order).
LONG = (
    "webxr", "service", "streams", "web", "bake", "upkeep", "bake_cluster", "sheet", "client", "restyle", "weld",
    "blend", "textures", "resume", "cli", "faithful", "failing_storage", "lattice", "measure", "failures",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def gravel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small exemplar: a folder of maps."""
    folder = tmp_path_factory.mktemp("exemplar") / "gravel"
    write(generate("gravel", 96, 1), folder)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service on loopback."""
    with serving(tmp_path_factory.mktemp("service") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A service as it is beyond loopback."""
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    yield made
    made.server.stop()
