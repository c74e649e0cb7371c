"""Pictures that stream while they are encoded: seconds until a viewer has each level, against encoding all of it first.

    python benchmarks/growing.py [--data FOLDER --only NAME] [--size 8192]

A texture is synthesized as PNG, shown in a scene, and received by the reference client over loopback. The bound is the
same run's last level: when all is encoded, and `show` could answer if it waited.
Leaves results.json in OUT.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from exemplars import add_arguments, find_exemplars
from reporting import Row, row, show, write_results
from service import Service

from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.client import Client
from plugin_bridge.stream_client import TextureStream

COARSE = 1024  # texels a side of the level that a view of a whole object shows
SHARE = 0.1  # of the time that encoding takes, after which it must be there
TOGETHER = 1.1  # times that, after which all must be there: it was sent meanwhile


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "growing")
    parser.add_argument("--size", type=int, default=8192)
    arguments = parser.parse_args()
    exemplar = find_exemplars(arguments)[0]
    folder = Path(tempfile.mkdtemp(prefix="texsynth-growing-"))
    service = Service(folder / "data")
    try:
        with Client(service.address) as client:
            job = client.wait(client.synthesize(exemplar, size=arguments.size, preset="draft").id).id
        found = asyncio.run(watched(service.address, job))
    finally:
        service.stop()
        shutil.rmtree(folder, ignore_errors=True)
    rows = summary(found)
    show(f"{exemplar.name} at {arguments.size} px as PNG, streamed while it is encoded", rows)
    write_results(arguments.out, "growing", arguments, rows, found)
    return 0 if all(line.passed is not False for line in rows) else 1


async def watched(address: str, job: str) -> dict[str, Any]:
    """Seconds from the call of `show`: until it answered, until all maps had each level, until each was encoded."""
    async with AsyncClient(address) as client:
        stream = TextureStream(client, "growing")
        whole, encoded = dict[int, float](), 0.0
        began, showing = 0.0, None
        async for event in stream:
            now, kind = time.monotonic() - began, event.WhichOneof("event")
            if kind == "announced":
                began = time.monotonic()
                showing = asyncio.create_task(shown(client, job))
            if kind in ("new_version", "encoded"):
                encoded = now
            if kind == "chunk" and event.chunk.complete:
                received = list(stream.textures.values())
                for level in event.chunk.complete:
                    side = max(received[0].sizes[level])
                    if all(each.is_whole(level) for each in received):
                        whole[side] = now
            if kind == "settled" and whole:
                assert showing is not None
                return {"shown": await showing - began, "whole": whole, "encoded": encoded, "settled": now}
    raise SystemExit("the stream ended before all had come")


async def shown(client: AsyncClient, job: str) -> float:
    """When `show` had answered."""
    await client.show("growing", "surface", job)
    return time.monotonic()


def summary(found: dict[str, Any]) -> list[Row]:
    """Against the time that encoding takes."""
    encoded, whole = found["encoded"], found["whole"]
    coarse, finest = whole[min(COARSE, max(whole))], max(whole)
    levels = [row(f"seconds until {side} texels are whole", "", [("", at)]) for side, at in sorted(whole.items())]
    return [
        row("seconds until show answers", "", [("", found["shown"])]),
        *levels,
        row("seconds until all is encoded", "", [("", encoded)]),
        row(
            f"until {COARSE} texels are whole / until all is encoded", f"<= {SHARE}", [("", coarse / encoded)],
            lambda values: values[0] <= SHARE,
        ),
        row(
            f"until {finest} texels are whole / until all is encoded", f"<= {TOGETHER}",
            [("", whole[finest] / encoded)], lambda values: values[0] <= TOGETHER,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
