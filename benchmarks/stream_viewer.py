"""Viewers of benchmarks/streaming.py, each in a process of its own: the reference client, told what to do by JSON.

    python benchmarks/stream_viewer.py follow|turn|crowd|fetch < task.json > result.json

Every task names `server` and `scene`, and those that look `tile_side`; what else it needs and gives is said at each
function.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from texsynth_rpc.v1 import streams_pb2

from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.stream_client import TextureStream

Task = dict[str, Any]
Seen = dict[str, list[streams_pb2.Tile]]


def tiles_of(table: dict[str, list[list[float]]]) -> Seen:
    """[level, row, column, pixels, x, y] each."""
    return {
        surface: [
            streams_pb2.Tile(level=int(k), row=int(r), column=int(c), pixels=int(p), x=x, y=y)
            for k, r, c, p, x, y in tiles
        ]
        for surface, tiles in table.items()
    }


class Log:
    """Notes every chunk: [seconds, bytes so far, texture, index]."""

    def __init__(self) -> None:
        self.began, self.sent = time.monotonic(), 0
        self.arrivals: list[list[Any]] = []
        self._names: dict[int, str] = {}

    async def chunks(self, stream: TextureStream) -> AsyncIterator[str]:
        """The texture of each chunk; "" when the stream has settled with all of the scene."""
        announced = False
        async for response in stream:
            kind = response.WhichOneof("event")
            if kind == "new_version":
                told = response.new_version
                self._names[told.texture] = f"{told.surface.name}/{told.map.kind}"
            elif kind == "chunk":
                self.sent += len(response.chunk.data)
                name = self._names[response.chunk.texture]
                self.arrivals.append([time.monotonic() - self.began, self.sent, name, response.chunk.index])
                yield name
            elif kind == "announced":
                announced = True
            elif kind == "settled" and announced:
                yield ""


async def follow(task: Task) -> Task:
    """Looks as a path does, until its end or until all is there. frames: [{"tiles", "gaze"}], `every` seconds apart;
    order: number. Gives the arrivals, in time since before the line was there."""
    frames = [(tiles_of(frame["tiles"]), frame["gaze"]) for frame in task["frames"]]
    log = Log()
    async with AsyncClient(task["server"]) as client:
        stream = TextureStream(client, task["scene"], order=task["order"])

        async def turn() -> None:
            for number, (tiles, gaze) in enumerate(frames):
                await asyncio.sleep(log.began + number * task["every"] - time.monotonic())
                stream.look(tiles, task["tile_side"], tuple(gaze))

        async def receive() -> None:
            async for name in log.chunks(stream):
                if not name:  # without a memory budget: all is there
                    return

        turning = asyncio.create_task(turn())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(receive(), len(frames) * task["every"])
        turning.cancel()
    return {"arrivals": log.arrivals}


async def turn(task: Task) -> Task:
    """Two surfaces with one texture are seen, 60 degrees apart, and the gaze goes from the first to the second after
    `after` bytes. tiles: of either. Gives the bytes that came between the turn and the first chunk of the second."""
    first, second = task["surfaces"]
    log, turned_at = Log(), None
    async with AsyncClient(task["server"]) as client:
        stream = TextureStream(client, task["scene"])
        table = {first: [[*t[:4], -30, 0] for t in task["tiles"]], second: [[*t[:4], 30, 0] for t in task["tiles"]]}
        stream.look(tiles_of(table), task["tile_side"], (-30, 0))
        async for name in log.chunks(stream):
            if turned_at is None and log.sent >= task["after"]:
                stream.gaze(30, 0)
                turned_at = log.sent
            elif turned_at is not None and (name.startswith(second + "/") or not name):
                before = [name for _, _, name, _ in log.arrivals if name.startswith(second)]
                return {"bytes": log.sent - turned_at, "of_second_before": len(before) - 1, "settled": not name}
    raise RuntimeError("the stream ended")


async def crowd(task: Task) -> Task:
    """`count` viewers at once, each looking at `frame`, textures of at most `largest` texels, until all have
    everything. Gives the bytes of each when the first one had, and of all in the end, with the seconds of either."""
    logs = [Log() for _ in range(task["count"])]
    tiles, (x, y) = tiles_of(task["frame"]["tiles"]), task["frame"]["gaze"]

    async def one(log: Log, client: AsyncClient) -> None:
        stream = TextureStream(client, task["scene"], largest_texture=task["largest"])
        stream.look(tiles, task["tile_side"], (x, y))
        async for name in log.chunks(stream):
            if not name:
                return

    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(AsyncClient(task["server"])) for _ in logs]
        began = time.monotonic()
        works = [asyncio.create_task(one(log, client)) for log, client in zip(logs, clients, strict=True)]
        done, others = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
        taken, seconds = [log.sent for log in logs], time.monotonic() - began
        await asyncio.gather(*done)
        await asyncio.gather(*others)
        total = sum(log.sent for log in logs)
        return {"bytes": taken, "seconds": seconds, "total": total, "all_seconds": time.monotonic() - began}


async def fetch(task: Task) -> Task:
    """Gets everything and writes a KTX2 of each texture into `folder`. Gives the number of streams that it took."""
    async with AsyncClient(task["server"]) as client:
        stream = TextureStream(client, task["scene"], deflate=False)  # the cuts are spread over the published bytes
        async for name in Log().chunks(stream):
            if not name:
                break
        for name, texture in stream.textures.items():
            texture.write_ktx2(Path(task["folder"]) / f"{name.replace('/', '_')}.ktx2")
        return {"streams": stream.streams}


def main() -> None:
    works = {"follow": follow, "turn": turn, "crowd": crowd, "fetch": fetch}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=works, help="what it is told on standard input says how")
    work = works[parser.parse_args().work]
    json.dump(asyncio.run(work(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
