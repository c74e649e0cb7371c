"""The README's picture of the service's web page: on a desk and on a phone, with jobs that really run.

python benchmarks/page.py [--out docs/pictures]

Needs what `make test` installs: Node.js, playwright-core in tests/web and Chromium. Takes some minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from exemplars import generated
from texsynth_rpc.v1 import jobs_pb2

from plugin_bridge.client import Client
from texsynth.sample_asset import write_sample_asset

WEB = Path(__file__).resolve().parent.parent / "tests" / "web"
SHOTS = Path("out/benchmarks/page")  # the queue and the form too
HEIGHT, GAP = 844, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    arguments = parser.parse_args()
    for folder in (arguments.out, SHOTS):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="texsynth-page-") as name:
        folder = Path(name)
        with serving(folder / "data") as (address, url), Client(address) as client:
            job, mesh = fill(client, folder)
            command = [str(tools().node()), str(WEB / "screenshots.mjs"), str(tools().chromium())]
            subprocess.run([*command, url, job, mesh, str(SHOTS)], check=True)
    shots = [cv2.imread(str(SHOTS / f"{shot}.png")) for shot in ("desk", "phone")]
    path = arguments.out / "page.jpg"
    if not cv2.imwrite(str(path), beside(shots), [cv2.IMWRITE_JPEG_QUALITY, 88]):
        raise SystemExit(f"{path}: cannot be written")
    print(path)


def tools() -> Any:
    """tests/web/browser.py, which finds Node.js and Chromium."""
    specification = importlib.util.spec_from_file_location("browser", WEB / "browser.py")
    assert specification is not None and specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


@contextlib.contextmanager
def serving(data: Path) -> Iterator[tuple[str, str]]:
    """A service with a page: its address and the page's URL."""
    command = [sys.executable, "-m", "texsynth", "serve", "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0"]
    with subprocess.Popen([*command, "--data", str(data)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, url = (process.stdout.readline().split()[-1] for _ in range(2))
        try:
            yield address, url
        finally:
            process.send_signal(signal.SIGTERM)


def fill(client: Client, folder: Path) -> tuple[str, str]:
    """Jobs in every state; the names of the one to show on the desk and the one with a mesh."""
    exemplars = Path("out/benchmarks/exemplars")
    asset = client.input(write_sample_asset(folder / "urn"))

    def submit(kind: str, *, mesh: bool = False, **options: Any) -> str:
        exemplar, wanted = client.input(generated(kind, exemplars)), client.options_of(**options)
        if mesh:
            work = jobs_pb2.Work(restyle=jobs_pb2.RestyleJob(asset=asset, exemplar=exemplar, options=wanted))
        else:
            work = jobs_pb2.Work(synthesize=jobs_pb2.SynthesizeJob(exemplar=exemplar, options=wanted))
        label = f"urn ← {kind}" if mesh else kind
        return client.submit(work, request_id=f"{label} {uuid.uuid4()}").id

    done = [
        submit("rusty_metal", size=1024, preset="draft", tileable=True),
        submit("brick", size=1024, preset="draft", target="quest3"),
        submit("leather", size=1024, preset="draft", seed=4),
    ]
    mesh = submit("marble", mesh=True, size=2048, preset="draft", content=0.4)
    job = submit("stone_wall", size=2048, tileable=True, seed=3)
    for each in (*done, mesh, job):
        client.wait(each)
    running = submit("pebbles", size=8192, preset="high")
    called_off = submit("wood", size=4096)
    submit("planks", size=4096, tileable=True)
    client.cancel(called_off)
    while not client.get(running).progress.preview_sha256:
        time.sleep(1)
    return job, mesh


def beside(shots: list[Any], height: int = HEIGHT) -> Any:
    """Pictures, scaled to so many rows, side by side."""
    line: list[Any] = []
    for shot in shots:
        size = round(shot.shape[1] * height / shot.shape[0]), height
        space = np.full((height, GAP if line else 0, 3), 255, np.uint8)
        line += [space, cv2.resize(shot, size, interpolation=cv2.INTER_AREA)]
    return np.concatenate(line, axis=1)


if __name__ == "__main__":
    main()
