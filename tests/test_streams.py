"""Scenes and streams of their chunks, by a real client from a real service, over lines that break."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from proxy import Proxy
from service_process import ROOT, Guarded, Server, serving
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.scheduler import Added, Rules, Scheduler
from texsynth_rpc.streamed_map import StreamedMap
from texsynth_rpc.v1 import jobs_pb2, streams_pb2, streams_pb2_grpc, textures_pb2
from texsynth_rpc.viewer import BATCH

import grpc
from mipmap.chunks import layout as layout_of
from mipmap.chunks import level_sides
from mipmap.encode import encode_level
from mipmap.ktx2 import read_ktx2
from mipmap.png import parse_png
from mipmap.targets import TARGETS
from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.client import Client, ServiceError
from plugin_bridge.reassembly import ReceivedTexture, layout
from plugin_bridge.stream_client import TextureStream, Tile, WrongChunk, inflated
from texsynth.train.procedural import generate, write

SIZE = 1024
WINDOW = Rules().window
Request = streams_pb2.OpenRequest


@dataclass(frozen=True)
class Shop:
    """A service that has made two textures which differ in one corner."""

    server: Server
    first: str
    second: str
    pictures: str
    edited: str
    """As `pictures`, of the second."""

    def sizes(self) -> tuple[int, int]:
        """Bytes of the first texture, and of what is not in it of the second, chunk by chunk."""
        with self.server.client() as client:
            first, second = (client.texture(job) for job in (self.first, self.second))
        before = {chunk.sha256 for made in first.maps for chunk in made.chunks}
        changed = [chunk.size for made in second.maps for chunk in made.chunks if chunk.sha256 not in before]
        return sum(chunk.size for made in first.maps for chunk in made.chunks), sum(changed)


@pytest.fixture(scope="module")
def shop(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("materials")
    write(generate("gravel", SIZE, 1), folder / "first")
    shutil.copytree(folder / "first", folder / "second")
    albedo = folder / "second" / "albedo.png"
    picture = cv2.imread(str(albedo))
    picture[:200, :200] = 255 - picture[:200, :200]
    cv2.imwrite(str(albedo), picture)
    with server.client() as client:
        made = [mips(client, folder / name, "quest3") for name in ("first", "second")]
        for job in made:
            client.texture(job)  # whole, so that what comes in which order does not depend on the time
        return Shop(server, *made, *(mips(client, folder / name, "source") for name in ("first", "second")))


def mips(client: Client, material: Path, target: str, format: str = "") -> str:
    work = jobs_pb2.Work(mips=jobs_pb2.MipsJob(source=client.input(material), target=target, format=format))
    return client.wait(client.submit(work).id).id


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 600))


async def until(stream: TextureStream, kind: str, then: Callable[[Any], None] = lambda _: None) -> None:
    async for event in stream:
        then(event)
        if event.WhichOneof("event") == kind:
            return


def blocks_in(event: Any) -> int:
    """Bytes of the blocks that an event brings."""
    return event.chunk.inflated or len(event.chunk.data)


def everything_is(stream: TextureStream, surface: str, job: str, server: Server) -> None:
    with server.client() as client:
        made = client.texture(job)
    for each in made.maps:
        texture = stream.textures[f"{surface}/{each.kind}"]
        assert texture.told.surface.job == job
        for number in range(len(each.levels)):
            texture.level(number)  # by its digest
        assert [level.sha256 for level in texture.told.map.levels] == [level.sha256 for level in each.levels]


def numbered(stream: TextureStream, number: int) -> ReceivedTexture:
    """The texture of a number in this stream."""
    return stream._texture(number)


def levels_of(stream: TextureStream, texture: str) -> list[bytes]:
    """Of one that has come whole, checked by digest."""
    received = stream.textures[texture]
    return [received.level(number) for number in range(len(received.sizes))]


@pytest.mark.parametrize(("size", "side", "finest"), [((1024, 512), 256, 0), ((100, 300), 64, 1), ((60, 60), 64, 0)])
def test_the_clients_layout_is_the_services(size: tuple[int, int], side: int, finest: int) -> None:
    sides = list(level_sides(*size, side, 4))
    sizes = [(max(1, size[0] >> k), max(1, size[1] >> k)) for k in range(max(size).bit_length())]
    theirs = [(p.level, p.levels, p.y, p.x, p.height, p.width) for p in layout_of(*size, side, 4)]
    tail = theirs[0][0]
    ours = [(r.level, r.levels, r.y, r.x, r.height, r.width) for r in layout(sizes, sides, tail, finest)]
    assert ours == [place for place in theirs if place[0] >= min(finest, tail)]


def test_an_index_of_before_whose_chunks_have_one_size_is_streamed_as_it_is(tmp_path: Path) -> None:
    made = textures_pb2.TextureMap(
        kind="albedo", format="astc-4x4", block_width=4, block_height=4, block_bytes=16, chunk_side=256
    )
    for number in range(10):
        made.levels.add(width=1024 >> number or 1, height=512 >> number or 1, sha256=f"{number:064x}")
    made.levels.add(width=1, height=1, sha256="a" * 64)
    for place in layout_of(512, 1024, 256, 256):
        made.chunks.add(
            level=place.level,
            levels=place.levels,
            y=place.y,
            x=place.x,
            height=place.height,
            width=place.width,
            size=9,
            sha256="b" * 64,
        )
    streamed = StreamedMap(made, ObjectStore(tmp_path), deflate=True)
    assert streamed.whole
    Scheduler().receive(Added("sofa/albedo", 1, streamed.pieces))
    told = streams_pb2.NewVersion(map=streamed.described, finest_level=streamed.finest, tail_level=streamed.tail)
    theirs = ReceivedTexture(told).chunks
    assert [(r.level, r.y, r.x, r.height, r.width) for r in theirs] == [
        (c.level, c.y, c.x, c.height, c.width) for c in made.chunks
    ]


def test_a_texture_comes_whole_and_is_what_was_published(shop: Shop, tmp_path: Path) -> None:
    with shop.server.client() as client:
        client.show("whole", "sofa", shop.first)
        client.fetch(shop.first, tmp_path / "published")

    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            stream = TextureStream(client, "whole")
            await until(stream, "settled")
            everything_is(stream, "sofa", shop.first, shop.server)
            assert set(stream.textures) == {"sofa/albedo", "sofa/normal", "sofa/roughness", "sofa/height"}
            stream.textures["sofa/albedo"].write_ktx2(tmp_path / "streamed.ktx2")

    run(receive())
    entry = json.loads((tmp_path / "published" / "material.json").read_text())["maps"]["albedo"]
    published, streamed = read_ktx2(tmp_path / "published" / entry["file"]), read_ktx2(tmp_path / "streamed.ktx2")
    assert (streamed.texel_format, streamed.height, streamed.width) == (published.texel_format, SIZE, SIZE)
    assert [streamed.level(k) for k in range(11)] == [published.level(k) for k in range(11)]


def test_twenty_cut_lines_leave_no_gap_and_little_is_sent_twice(shop: Shop) -> None:
    with shop.server.client() as client:
        client.show("cut", "sofa", shop.first)
    total, _ = shop.sizes()

    async def receive(line: Proxy) -> None:
        async with AsyncClient(line.address) as client:
            stream = TextureStream(client, "cut", deflate=False)  # else what is sent twice would not show
            await until(stream, "settled")
            everything_is(stream, "sofa", shop.first, shop.server)
            assert stream.streams == 1 + line.cuts

    with Proxy(shop.server.address) as line:
        chance = random.Random(6)
        line.cut_at([chance.randrange(20_000, total) for _ in range(20)])
        run(receive(line))
        assert line.cuts >= 15  # some fell into one connection's end
        assert line.from_server < 1.05 * total + line.cuts * 1.05 * WINDOW


def test_a_new_version_takes_over_at_once_and_what_is_the_same_is_not_sent_again(shop: Shop) -> None:
    with shop.server.client() as client:
        client.show("edit", "sofa", shop.first)
    _, changed = shop.sizes()

    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            stream, sent = TextureStream(client, "edit"), list[int]()
            versions: dict[int, int] = {}

            def note(event: Any) -> None:
                if event.WhichOneof("event") == "new_version":
                    versions[event.new_version.texture] = event.new_version.surface.version
                sent.append(blocks_in(event))

            async for event in stream:
                note(event)
                if event.WhichOneof("event") == "settled":
                    if versions[1] == 2:
                        break
                    sent.clear()
                    await client.show("edit", "sofa", shop.second)
            everything_is(stream, "sofa", shop.second, shop.server)
            assert sum(sent) == changed

    run(receive())


def test_versions_never_mix_when_one_is_replaced_on_its_way(shop: Shop) -> None:
    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("replaced", "sofa", shop.first)
            stream, texture_of = TextureStream(client, "replaced", credit=1 << 19), dict[int, int]()
            chunks = 0
            async for event in stream:
                kind = event.WhichOneof("event")
                if kind == "new_version":
                    texture_of[event.new_version.texture] = event.new_version.surface.version
                if kind == "chunk":
                    chunks += 1
                    if chunks in (3, 9, 15):
                        await client.show("replaced", "sofa", shop.second if chunks != 9 else shop.first)
                if kind == "settled" and set(texture_of.values()) == {4}:
                    break
            everything_is(stream, "sofa", shop.second, shop.server)

    run(receive())


def test_a_viewer_that_was_away_during_an_edit_keeps_what_is_the_same(shop: Shop) -> None:
    _, changed = shop.sizes()

    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("away", "sofa", shop.first)
            stream = TextureStream(client, "away")
            await until(stream, "settled")
            await client.show("away", "sofa", shop.second)
            sent = list[int]()
            await until(stream, "settled", lambda event: sent.append(blocks_in(event)))
            assert stream.streams == 2
            everything_is(stream, "sofa", shop.second, shop.server)
            assert sum(sent) == changed

    run(receive())


def test_deflated_chunks_are_the_same_texture_in_fewer_bytes(shop: Shop) -> None:
    async def receive(deflate: bool) -> tuple[int, int]:
        """Bytes on the line, and of blocks."""
        async with AsyncClient(shop.server.address) as client:
            await client.show("deflated", "sofa", shop.first)
            stream, sent = TextureStream(client, "deflated", deflate=deflate), list[tuple[int, int]]()
            await until(stream, "settled", lambda event: sent.append((len(event.chunk.data), blocks_in(event))))
            everything_is(stream, "sofa", shop.first, shop.server)
            return sum(line for line, _ in sent), sum(blocks for _, blocks in sent)

    plain, deflated = run(receive(False)), run(receive(True))
    assert plain[0] == plain[1] == deflated[1]
    assert deflated[0] < plain[0]


@pytest.mark.parametrize(
    ("kept", "size"),
    [
        (slice(-1), 1000),
        (slice(100), 1000),
        (slice(9, None), 1000),
        (slice(0), 1000),
        (slice(None), 999),
        (slice(None), 1001),
    ],
)
def test_what_does_not_inflate_to_what_it_says_is_a_wrong_chunk(kept: slice, size: int) -> None:
    blocks = np.random.default_rng(0).integers(0, 4, 1000, np.uint8).tobytes()
    packed = zlib.compress(blocks, wbits=-15)
    assert inflated(streams_pb2.StreamedChunk(data=packed, inflated=1000)) == blocks
    with pytest.raises(WrongChunk):
        inflated(streams_pb2.StreamedChunk(data=packed[kept], inflated=size))


def test_what_is_seen_comes_first(shop: Shop) -> None:
    async def receive() -> list[bool]:
        """Of each chunk that came, whether it holds what is seen."""
        async with AsyncClient(shop.server.address) as client:
            await client.show("seen", "sofa", shop.first)
            stream, came, tails = TextureStream(client, "seen", credit=1 << 16), list[bool](), 0
            stream.look({"sofa": [Tile(level=0, row=3, column=2, pixels=5000)], "no such surface": [Tile()]})
            async for event in stream:
                if event.WhichOneof("event") == "chunk":
                    texture = stream.textures[stream._numbers[event.chunk.texture]]
                    chunk = texture.chunks[event.chunk.index]
                    tails += chunk.levels > 1
                    shift = chunk.level
                    rows, columns = (
                        range(start << shift, start + length << shift)
                        for start, length in ((chunk.y, chunk.height), (chunk.x, chunk.width))
                    )
                    came.append(bool(set(rows) & set(range(768, 1024)) and set(columns) & set(range(512, 768))))
                if len(came) - tails >= 12:
                    break
            return came

    assert all(run(receive()))


def test_a_gaze_within_a_view_counts_as_one_by_itself(shop: Shop) -> None:
    tiles = {"sofa": [Tile(level=0, row=0, column=column, pixels=5000, x=30 * column) for column in range(4)]}

    async def receive(look: Callable[[TextureStream], None]) -> list[int]:
        """The chunks in their order."""
        async with AsyncClient(shop.server.address) as client:
            await client.show("gazed", "sofa", shop.first)
            stream, came = TextureStream(client, "gazed", credit=0), list[int]()
            look(stream)
            async for event in stream:
                kind = event.WhichOneof("event")
                if kind == "announced":  # what was said before has been taken
                    stream._requests.put_nowait(Request(credit=streams_pb2.Credit(bytes=1 << 30)))
                if kind == "chunk":
                    came.append(event.chunk.index)
                if kind == "settled" and came:
                    return came
            return came

    def apart(stream: TextureStream) -> None:
        stream.look(tiles)
        stream.gaze(90, 0)

    def moved(stream: TextureStream) -> None:
        stream.look(tiles, gaze=(0, 0))
        stream.gaze(90, 0)

    within = run(receive(lambda stream: stream.look(tiles, gaze=(90, 0))))
    assert within == run(receive(apart)) == run(receive(moved))
    assert within != run(receive(lambda stream: stream.look(tiles)))


def test_a_tile_outside_of_the_texture_is_ignored(shop: Shop) -> None:
    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("outside", "sofa", shop.first)
            stream = TextureStream(client, "outside")
            places = [(0, 4, 0), (0, 0, 4), (0, 9, 9), (0, (1 << 32) - 1, 0), (99, 7, 7)]
            stream.look({"sofa": [Tile(level=k, row=row, column=column, pixels=5000) for k, row, column in places]})
            await until(stream, "settled")
            everything_is(stream, "sofa", shop.first, shop.server)

    run(receive())


def test_no_chunk_is_sent_before_every_surface_of_the_scene_is_announced(shop: Shop) -> None:
    surfaces = [f"chair {number}" for number in range(6)]
    with shop.server.client() as client:
        for surface in surfaces:
            client.show("many", surface, shop.first)

    async def receive() -> list[str]:
        """What was announced before the first chunk."""
        announced: list[str] = []
        async with AsyncClient(shop.server.address) as client:
            stream = TextureStream(client, "many")
            stream._requests.put_nowait(Request(credit=streams_pb2.Credit(bytes=1 << 20)))  # at once
            async for event in stream:
                kind = event.WhichOneof("event")
                if kind == "chunk":
                    return announced
                announced.append(event.new_version.surface.name if kind == "new_version" else str(kind))
        raise AssertionError("the stream ended without a chunk")

    announced = run(receive())
    assert set(announced[:-1]) == set(surfaces)
    assert announced[-1] == "announced"


def test_memory_stays_within_the_budget_of_the_viewer(shop: Shop) -> None:
    budget = 1_000_000

    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("small", "sofa", shop.first)
            stream = TextureStream(client, "small", memory_budget=budget)
            most, evicted, settled = 0, 0, 0
            async for event in stream:
                most = max(most, sum(texture.memory() for texture in stream.textures.values()))
                evicted += event.WhichOneof("event") == "eviction"
                if event.WhichOneof("event") == "settled":
                    settled += 1
                    if settled == 3:
                        break
                    corner = settled + 1
                    stream.look({"sofa": [Tile(level=0, row=corner, column=k, pixels=50_000) for k in range(4)]})
            assert 0.8 * budget < most <= budget
            assert evicted > 0
            finest = [
                chunk.y // 256
                for texture in stream.textures.values()
                for chunk, there in zip(texture.chunks, texture.held, strict=True)
                if there and chunk.level == 0
            ]
            assert 3 in finest

    run(receive())


def test_largest_texture_leaves_out_what_is_finer(shop: Shop, tmp_path: Path) -> None:
    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("limited", "sofa", shop.first)
            stream = TextureStream(client, "limited", largest_texture=600)
            await until(stream, "settled")
            texture = stream.textures["sofa/normal"]
            assert texture.told.finest_level == 1
            assert not texture.is_whole(0)
            texture.write_ktx2(tmp_path / "normal.ktx2")
            assert read_ktx2(tmp_path / "normal.ktx2").level(0) == texture.level(1)

    run(receive())


def test_a_surface_that_is_hidden_is_forgotten_and_may_come_back(shop: Shop) -> None:
    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("hidden", "sofa", shop.first)
            await client.show("hidden", "wall", shop.second)
            stream, settled = TextureStream(client, "hidden"), 0
            async for event in stream:
                if event.WhichOneof("event") == "settled":
                    settled += 1
                    if settled == 1:
                        await client.hide("hidden", "wall")
                    elif settled == 2:
                        assert {name.partition("/")[0] for name in stream.textures} == {"sofa"}
                        assert [surface.name for surface in await client.scene("hidden")] == ["sofa"]
                        assert (await client.show("hidden", "wall", shop.second)).version == 3
                    else:
                        break
            everything_is(stream, "wall", shop.second, shop.server)

    run(receive())


def test_what_went_while_a_viewer_was_away_is_dropped(shop: Shop) -> None:
    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("gone", "sofa", shop.first)
            await client.show("gone", "wall", shop.second)
            stream = TextureStream(client, "gone")
            await until(stream, "settled")
            await client.hide("gone", "wall")
            sent = list[int]()
            await until(stream, "settled", lambda event: sent.append(blocks_in(event)))
            assert sum(sent) == 0
            assert {name.partition("/")[0] for name in stream.textures} == {"sofa"}

    run(receive())


def test_a_viewer_who_stands_still_is_sent_no_more_than_the_window(shop: Shop) -> None:
    async def receive(line: Proxy) -> None:
        async with AsyncClient(line.address) as client:
            await client.show("slow", "sofa", shop.first)
            before = line.from_server
            stub = client._streams

            async def requests() -> Any:
                yield Request(hello=streams_pb2.Hello(scene="slow", credit=1 << 30))
                await asyncio.sleep(60)

            call = stub.Open(requests())
            await call.read()
            still, last = 0, -1
            while still < 20:  # nothing is read, nothing acknowledged
                await asyncio.sleep(0.05)
                still, last = (still + 1, last) if line.from_server == last else (0, line.from_server)
            assert last - before < 1.1 * WINDOW
            call.cancel()

    with Proxy(shop.server.address) as line:
        run(receive(line))


def test_a_stopping_service_ends_streams_and_the_next_one_goes_on(tmp_path: Path) -> None:
    write(generate("gravel", SIZE, 1), tmp_path / "gravel")

    async def receive() -> None:
        with serving(tmp_path / "data") as server, server.client() as client:
            job = mips(client, tmp_path / "gravel", "quest3")
            client.show("stopped", "sofa", job)
            async with AsyncClient(server.address, patience=0.1) as viewer:
                stream, chunks = TextureStream(viewer, "stopped", credit=1 << 19), 0
                with pytest.raises(ServiceError) as refused:
                    async for event in stream:
                        chunks += event.WhichOneof("event") == "chunk"
                        if chunks == 6:
                            server.process.terminate()
                            chunks += 1
                assert refused.value.code is grpc.StatusCode.UNAVAILABLE
            assert await asyncio.to_thread(server.stop) == 0
        with serving(tmp_path / "data") as server:
            async with AsyncClient(server.address) as viewer:
                held = sum(texture.memory() for texture in stream.textures.values())
                again, sent = TextureStream(viewer, "stopped"), list[int]()
                again.textures = stream.textures
                await until(again, "settled", lambda event: sent.append(blocks_in(event)))
                everything_is(again, "sofa", job, server)
                assert held > 0
                assert sum(sent) == sum(t.memory() for t in again.textures.values()) - held

    run(receive())


def test_a_client_that_leaves_before_its_hello_is_no_failure_of_the_service(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        server, leave = Server(tmp_path / "data", stderr=log), threading.Event()

        def silent() -> Iterator[Request]:
            leave.wait(60)
            yield from ()

        with grpc.insecure_channel(server.address) as channel:
            opened = streams_pb2_grpc.StreamServiceStub(channel).Open(silent())
            with server.client() as client:  # whose answer comes after the stream was opened
                client.scene("empty")
            opened.cancel()
            leave.set()
        assert server.stop() == 0
        log.seek(0)
        assert "Traceback" not in log.read()


HELLO = streams_pb2.Hello(scene="whole", credit=1)


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "hello"),
        ([Request(credit=streams_pb2.Credit(bytes=1))], "hello"),
        ([Request(hello=streams_pb2.Hello(scene=""))], "hello.scene"),
        ([Request(hello=streams_pb2.Hello(scene="a/b"))], "hello.scene"),
        ([Request(hello=streams_pb2.Hello(scene="whole", resume_token=b"[]x"))], "hello.resume_token"),
        ([Request(hello=streams_pb2.Hello(scene="whole", credit=1 << 60))], "credit"),
        ([Request(hello=streams_pb2.Hello(scene="whole", formats=["bc7-srgb"]))], "hello.formats"),
        ([Request(hello=streams_pb2.Hello(scene="whole", order=9))], "hello.order"),
        ([Request(hello=HELLO), Request(hello=HELLO)], "event"),
        ([Request(hello=HELLO), Request()], "event"),
        ([Request(hello=HELLO), Request(gaze=streams_pb2.Gaze(known=True, x=float("nan")))], "gaze"),
        ([Request(hello=HELLO), Request(acknowledgement=streams_pb2.Acknowledgement(sequence=7))], "acknowledgement"),
        (
            [Request(hello=HELLO), Request(view=streams_pb2.View(
                surfaces=[streams_pb2.SeenSurface(surface="sofa", tiles=[Tile()] * 20_000)]))],
            "view",
        ),
        ([Request(hello=HELLO), Request(view=streams_pb2.View(tile_side=257))], "view.tile_side"),
        (
            [Request(hello=HELLO), Request(view=streams_pb2.View(
                surfaces=[streams_pb2.SeenSurface(surface="sofa", tiles=[Tile(level=2)] * 16_000)]))],
            "view",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_field(shop: Shop, requests: list[Request], field: str) -> None:
    with shop.server.client() as client:
        client.show("whole", "sofa", shop.first)
        with pytest.raises(grpc.RpcError) as refused:
            list(client._streams.Open(said(requests)))
    error = ServiceError(refused.value)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(error).startswith(field)
    assert "\n" not in str(error)


def said(requests: list[Request]) -> Iterator[Request]:
    """And then nothing more, unless there was nothing: then all is said."""
    yield from requests
    if requests:
        threading.Event().wait(30)


async def told(shop: Shop, **hello: Any) -> list[streams_pb2.OpenResponse]:
    """Whatever a viewer of the scene "told" is sent until all is there."""
    async with AsyncClient(shop.server.address) as client:
        await client.show("told", "sofa", shop.first)
        call = client.open_stream()
        await call.write(Request(hello=streams_pb2.Hello(scene="told", credit=1 << 30, **hello)))
        found = list[streams_pb2.OpenResponse]()
        while not found or found[-1].WhichOneof("event") != "settled":
            found.append(await call.read())
            if came := chunks_in(found[-1]):
                await call.write(Request(acknowledgement=streams_pb2.Acknowledgement(sequence=came[-1].sequence)))
        call.cancel()
        return found


def chunks_in(response: streams_pb2.OpenResponse) -> list[streams_pb2.StreamedChunk]:
    return [response.chunk] if response.HasField("chunk") else list(response.chunks.chunks)


def test_small_chunks_come_several_in_a_message_where_a_viewer_takes_them_so(shop: Shop) -> None:
    one_by_one, several = run(told(shop)), run(told(shop, batches=True))
    chunks = [each.chunk for each in one_by_one if each.HasField("chunk")]
    batches = [chunks_in(each) for each in several]
    assert [chunk for batch in batches for chunk in batch] == chunks, "the same chunks in the same order"
    assert all(sum(len(chunk.data) for chunk in batch[:-1]) < BATCH for batch in batches)
    assert len(several) * 2 < len(one_by_one)


@pytest.mark.parametrize("batches", [False, True])
def test_levels_that_are_whole_are_told_in_the_chunk_that_made_them_so_where_a_viewer_takes_it(
    shop: Shop, batches: bool
) -> None:
    def levels(responses: list[streams_pb2.OpenResponse]) -> Iterator[tuple[int, int, int]]:
        """Chunks that came before, texture and level."""
        came = 0
        for each in responses:
            if each.HasField("level_complete"):
                yield came, each.level_complete.texture, each.level_complete.level
            for chunk in chunks_in(each):
                came = chunk.sequence
                yield from ((came, chunk.texture, level) for level in chunk.complete)

    apart, within = run(told(shop)), run(told(shop, batches=batches, marks=True))
    assert list(levels(within)) == list(levels(apart)) != []
    assert not any(each.HasField("level_complete") for each in within)
    assert not any(chunk.complete for each in apart for chunk in chunks_in(each))


def test_pictures_are_encoded_once_when_a_scene_shows_them(shop: Shop, tmp_path: Path) -> None:
    with shop.server.client() as client:
        assert client.texture(shop.pictures).blocks_sha256 == ""
        client.show("pictures", "sofa", shop.pictures)
        client.show("pictures", "chair", shop.pictures)
        client.fetch(shop.pictures, tmp_path / "published")

    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            stream = TextureStream(client, "pictures")
            await until(stream, "settled")
            assert {name.split("/")[0] for name in stream.textures} == {"sofa", "chair"}
            for kind in ("albedo", "normal", "roughness", "height"):
                stream.textures[f"sofa/{kind}"].write_ktx2(tmp_path / f"{kind}.ktx2")
                assert levels_of(stream, f"sofa/{kind}") == levels_of(stream, f"chair/{kind}")

    run(receive())
    with shop.server.client() as client:
        encoded = client.texture(shop.pictures).blocks_sha256
        client.show("pictures", "table", shop.pictures)
        assert client.texture(shop.pictures).blocks_sha256 == encoded != ""
    maps = json.loads((tmp_path / "published" / "material.json").read_text())["maps"]
    for kind, entry in maps.items():
        streamed = read_ktx2(tmp_path / f"{kind}.ktx2")
        assert streamed.texel_format is TARGETS["quest3"].texel_format(kind)
        for number, level in enumerate((entry, *entry["mips"])):
            texels, _ = parse_png((tmp_path / "published" / level["file"]).read_bytes())
            assert streamed.level(number) == encode_level(texels, streamed.texel_format)


@pytest.fixture(scope="module")
def large(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    """A job of pictures that take a second or more to encode; those of another number have no block in common."""
    folder = tmp_path_factory.mktemp("large")
    made = generate("gravel", 1024, 11)

    def make(number: int) -> str:
        shifted = {kind: replace(each, texels=np.roll(each.texels, 13 * number, 0)) for kind, each in made.maps.items()}
        write(replace(made, maps=shifted), folder / str(number))
        with server.client() as client:
            return mips(client, folder / str(number), "source")

    return make


def test_pictures_stream_while_finer_levels_of_them_are_encoded(
    shop: Shop, large: Callable[[int], str], tmp_path: Path
) -> None:
    job = large(0)

    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            stream, kinds = TextureStream(client, "grows"), list[str]()
            await until(stream, "announced")
            await client.show("grows", "sofa", job)
            async for event in stream:
                kinds.append(str(event.WhichOneof("event")))
                if kinds[-1] == "chunk":
                    texture = numbered(stream, event.chunk.texture)
                    assert texture.told.map.levels[texture.chunks[event.chunk.index].level].sha256, "told before"
                if kinds[-1] == "settled":
                    break
            assert kinds.index("chunk") < len(kinds) - 1 - kinds[::-1].index("encoded"), "chunks came meanwhile"
            assert kinds.count("settled") == 1
            for kind in ("albedo", "normal", "roughness", "height"):
                levels_of(stream, f"sofa/{kind}")
            everything = {name: each.told.map for name, each in stream.textures.items()}
            later = TextureStream(client, "grows")
            await until(later, "settled")
            assert {name: each.told.map for name, each in later.textures.items()} == everything

    run(receive())


def test_a_restyle_of_pictures_is_shown_before_it_is_whole(shop: Shop, large: Callable[[int], str]) -> None:
    first, second = large(1), large(2)

    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("restyled", "sofa", first)
            stream, kinds = TextureStream(client, "restyled"), list[str]()
            await until(stream, "settled")
            await client.show("restyled", "sofa", second)
            async for event in stream:
                kinds.append(str(event.WhichOneof("event")))
                if kinds[-1] == "settled" and "new_version" in kinds:
                    break
            assert kinds.index("new_version") < kinds.index("encoded")
            for kind in ("albedo", "normal", "roughness", "height"):
                levels_of(stream, f"sofa/{kind}")
                assert stream.textures[f"sofa/{kind}"].told.surface.job == second

    run(receive())


def test_what_is_the_same_in_edited_pictures_is_not_sent_again(shop: Shop) -> None:
    async def receive() -> tuple[int, int]:
        async with AsyncClient(shop.server.address) as client:
            await client.show("edited pictures", "sofa", shop.pictures)
            stream, sent = TextureStream(client, "edited pictures"), list[int]()
            await until(stream, "settled", lambda event: sent.append(blocks_in(event)))
            before = sum(sent)
            sent.clear()
            await client.show("edited pictures", "sofa", shop.edited)
            async for event in stream:
                sent.append(blocks_in(event))
                told = {each.told.surface.job for each in stream.textures.values()}
                if event.WhichOneof("event") == "settled" and told == {shop.edited}:
                    return before, sum(sent)
        raise AssertionError("the stream ended")

    before, again = run(receive())
    whole, changed = shop.sizes()
    assert before == whole
    assert again == changed < whole / 2


def test_pictures_that_are_damaged_end_their_streams_and_come_once_they_are_mended(
    shop: Shop, large: Callable[[int], str]
) -> None:
    job = large(3)
    with shop.server.client() as client:
        level = client.texture(job).maps[0].levels[0].sha256
        file = shop.server.data / "objects" / level[:2] / level
        right = file.read_bytes()
        file.write_bytes(right[:-1] + b"?")

    async def receive() -> None:
        async with AsyncClient(shop.server.address) as client:
            await client.show("damaged", "sofa", job)
            stream = TextureStream(client, "damaged")
            with pytest.raises(ServiceError, match="run texsynth verify --repair"):
                await until(stream, "settled")
            assert any(each.held[0] for each in stream.textures.values()), "what is right came"
            file.write_bytes(right)
            await until(stream, "settled")
            levels_of(stream, "sofa/albedo")

    run(receive())


def test_only_what_gpus_read_is_shown_and_what_is_shown_stays(shop: Shop, gravel: Path) -> None:
    with shop.server.client() as client:
        with pytest.raises(ServiceError, match="make it for quest3, or as PNG"):
            client.show("refused", "sofa", mips(client, gravel, "source", format="exr"))
        with pytest.raises(ServiceError, match="surface"):
            client.show("refused", "so/fa", shop.first)
        with pytest.raises(ServiceError, match="not here"):
            client.show("refused", "sofa", "no such job")
        with pytest.raises(ServiceError, match="not here"):
            client.hide("refused", "sofa")
        assert client.scene("refused") == []
        first, again = (client.show("kept", "sofa", shop.first) for _ in range(2))
        assert first == again
        with pytest.raises(ServiceError, match="surface sofa of scene"):
            client.delete(shop.first)


def test_scenes_belong_to_their_tenant_and_to_who_may_write(guarded: Guarded, tmp_path: Path) -> None:
    write(generate("gravel", 512, 1), tmp_path / "gravel")
    with guarded.client(guarded.ann) as ann, guarded.client(guarded.eve) as eve, guarded.client(guarded.guest) as guest:
        job = mips(ann, tmp_path / "gravel", "quest3")
        ann.show("room", "sofa", job)
        with pytest.raises(ServiceError, match="not here"):
            eve.show("room", "sofa", job)
        assert eve.scene("room") == []
        assert [surface.job for surface in guest.scene("room")] == [job]
        with pytest.raises(ServiceError) as refused:
            guest.show("room", "sofa", job)
        assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED


def test_detail_in_an_index_tells_noise_from_flat_ground(shop: Shop) -> None:
    with shop.server.client() as client:
        albedo = next(made for made in client.texture(shop.first).maps if made.kind == "albedo")
    finest = [chunk for chunk in albedo.chunks if chunk.level == 0]
    assert all(0 < chunk.error < 0.1 for chunk in finest)
    assert all(0 < chunk.entropy < 9 for chunk in finest)
    assert np.mean([chunk.error for chunk in finest]) < albedo.chunks[0].error


def test_the_command_line_shows_streams_and_hides(shop: Shop, tmp_path: Path) -> None:
    def bridge(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "plugin_bridge", "--server", shop.server.address, *words]
        path = os.pathsep.join([str(ROOT), str(ROOT / "grpc")])
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert bridge("show", "told", "sofa", shop.first).stdout == f"sofa  version 1  {shop.first}\n"
    assert bridge("scene", "told").stdout == f"sofa  version 1  {shop.first}\n"
    done = bridge("stream", "told", "-o", "out")
    assert done.stdout.splitlines() == [f"out/sofa/{kind}.ktx2" for kind in ("albedo", "height", "normal", "roughness")]
    assert (read_ktx2(tmp_path / "out" / "sofa" / "normal.ktx2").width, done.returncode) == (SIZE, 0)
    assert bridge("hide", "told", "sofa").returncode == 0
    empty = bridge("stream", "told", "-o", "out")
    assert (empty.returncode, len(empty.stderr.splitlines())) == (2, 1)
