"""Streams to a browser by WebSocket against a fetch stream: what each costs the server and the page.

    python benchmarks/transport.py [--megabytes 512] [-o DIR]

Both carry the same: chunks of 64 KiB as OpenResponse messages within a credit of 512 KiB, and the browser's credit and
acknowledgements as OpenRequest. The fetch stream is as gRPC-Web: one answer in frames of five bytes and a message, and
a POST for each request, which cannot ride along. The browser is headless Chromium; a worker takes the chunks, checks
nothing, and hands them to the page without a copy. The server is aiohttp, as in the gateway, without what lies behind
it. Three rounds each in turn; the median is told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from aiohttp import WSMsgType, web
from reporting import machine

ROOT = Path(__file__).resolve().parent.parent
CHUNK = 64 << 10
ROUNDS = 3


class Source:
    """Chunks within the credit that was granted."""

    def __init__(self, count: int) -> None:
        from texsynth_rpc.v1 import streams_pb2

        self._messages, self._count = streams_pb2, count
        self._data = os.urandom(CHUNK)
        self.credit, self.news = 0, asyncio.Event()

    def take(self, request: bytes) -> None:
        message = self._messages.OpenRequest.FromString(request)
        self.credit += message.credit.bytes
        self.news.set()

    async def chunks(self):
        for number in range(1, self._count + 1):
            while self.credit < CHUNK:
                self.news.clear()
                await self.news.wait()
            self.credit -= CHUNK
            chunk = self._messages.StreamedChunk(sequence=number, texture=1, index=number, data=self._data)
            yield self._messages.OpenResponse(chunk=chunk).SerializeToString()


def application(count: int) -> web.Application:
    fetched: dict[str, Source] = {}

    async def socket(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse(compress=False)
        await response.prepare(request)
        source = Source(count)

        async def listen() -> None:
            async for message in response:
                if message.type is WSMsgType.BINARY:
                    source.take(message.data)

        listening = asyncio.create_task(listen())
        async for chunk in source.chunks():
            await response.send_bytes(chunk)
        await listening  # until the page leaves: what a closing server sent last may be lost
        return response

    async def fetch(request: web.Request) -> web.StreamResponse:
        source = fetched.setdefault(request.match_info["name"], Source(count))
        response = web.StreamResponse(headers={"Content-Type": "application/grpc-web+proto"})
        await response.prepare(request)
        async for chunk in source.chunks():
            await response.write(b"\0" + len(chunk).to_bytes(4, "big") + chunk)
        await response.write_eof()
        return response

    async def said(request: web.Request) -> web.Response:
        fetched.setdefault(request.match_info["name"], Source(count)).take(await request.read())
        return web.Response()

    async def cpu(_: web.Request) -> web.Response:
        return web.json_response(time.process_time())

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>transport</title>", content_type="text/html")

    async def worker(_: web.Request) -> web.FileResponse:
        return web.FileResponse(Path(__file__).with_name("transport_worker.js"))

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/worker.js", worker)
    app.router.add_get("/socket", socket)
    app.router.add_get("/fetch/{name}", fetch)
    app.router.add_post("/said/{name}", said)
    app.router.add_get("/cpu", cpu)
    return app


async def serve(count: int) -> None:
    runner = web.AppRunner(application(count), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("-o", "--out", type=Path, default=Path("out/transport"))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    count = (options.megabytes << 20) // CHUNK
    sys.path.insert(0, str(ROOT / "grpc"))
    if options.serve:
        asyncio.run(serve(count))
    sys.path.insert(0, str(ROOT / "tests" / "web"))
    import browser

    command = [sys.executable, __file__, "--serve", "--megabytes", str(options.megabytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            driver = [browser.node(), str(Path(__file__).with_name("transport.mjs")), browser.chromium()]
            told = subprocess.run(
                [*driver, f"http://127.0.0.1:{port}/", str(count), str(ROUNDS)], check=True, stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL, text=True,
            ).stdout  # fmt: skip
        finally:
            server.terminate()
    rounds = json.loads(told)
    result = {
        way: {name: statistics.median(each[name] for each in made) for name in made[0]} for way, made in rounds.items()
    }
    options.out.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine(), "megabytes": options.megabytes, "median": result, "rounds": rounds}
    (options.out / "transport.json").write_text(json.dumps(report, indent=2))
    for way, figures in result.items():
        print(f"{way:10}" + "  ".join(f"{name} {value:.3g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
