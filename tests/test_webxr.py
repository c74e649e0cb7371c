"""Streams through the gateway's WebSocket; the viewer in a real headless Chromium, with iwer in place of a headset."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import signal
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import google_crc32c
import numpy as np
import pytest
from gltf_builder import QUAD_POSITIONS, Builder, png, textured
from texsynth_rpc.certificates import generate_certificates
from texsynth_rpc.gate import new_token
from texsynth_rpc.v1 import streams_pb2
from web_process import JSON, WEB, Server, browser, serving

from mipmap.encode import decode_level
from mipmap.ktx2 import parse_ktx2
from texsynth.sample_asset import write_sample_asset
from texsynth.train.procedural import generate, write

SCENE, STUDIO = "room", "studio"
MESH, FLAT = "urn", "wall"
QUEST = {"preset": "draft", "target": "quest3"}
SMALL = 256  # texels a side of what is restyled in the viewer
MAPS = ("albedo", "normal", "roughness")
ENOUGH = 1 << 30  # bytes of credit
WINDOW = 512 * 1024  # bytes that the service sends without an acknowledgement


def files(server: Server, folder: Path) -> list[dict[str, str]]:
    return [{"name": path.name, "sha256": server.upload(path.read_bytes())} for path in sorted(folder.iterdir())]


def done(server: Server, name: str, work: dict[str, Any]) -> Any:
    job = server.call("Submit", request_id=name, work=work)["job"]["id"]
    assert server.watch(job)[-1]["result"]["state"]["state"] == "JOB_STATE_SUCCEEDED"
    return server.call("Get", id=job)["job"]


def show(server: Server, surface: str, job: str, scene: str = SCENE) -> None:
    body = json.dumps({"scene": scene, "surface": surface, "job": job})
    status, answer, _ = server.ask("POST", "/rpc/texsynth.v1.StreamService/Show", body, JSON)
    assert status == 200, answer


@pytest.fixture(scope="module")
def metrics() -> str:
    """Where the service tells what it counts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def server(metrics: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("webxr") / "data", "--metrics", metrics) as started:
        yield started


@pytest.fixture(scope="module")
def jobs(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the scene shows: a mesh that was restyled, and a texture of its own. And an exemplar to change it for."""
    folder = tmp_path_factory.mktemp("inputs")
    write(generate("stone_wall", 192, 3), folder / "stone")
    write(generate("brick", 192, 1), folder / "brick")
    write_sample_asset(folder / "asset", 256)
    stone = {"files": files(server, folder / "stone"), "name": "stone"}
    asset = {"files": [{"name": "a.glb", "sha256": server.upload((folder / "asset" / "asset.glb").read_bytes())}]}
    other = {"files": files(server, folder / "brick"), "name": "other"}

    def pair(scene: str, mesh: int, flat: int) -> dict[str, Any]:
        task = {"asset": asset, "exemplar": stone, "options": QUEST | {"size": mesh}}
        made = {
            MESH: done(server, f"{scene} {MESH}", {"restyle": task}),
            FLAT: done(
                server, f"{scene} {FLAT}", {"synthesize": {"exemplar": stone, "options": QUEST | {"size": flat}}}
            ),
        }
        for surface, job in made.items():
            show(server, surface, job["id"], scene)
        return made

    done(server, "other", {"synthesize": {"exemplar": other, "options": {"size": 64, "preset": "draft"}}})
    pair(STUDIO, SMALL, SMALL)
    return pair(SCENE, 1024, 512)


GATE = """v -1 0 0\nv 0 0 0\nv 0 1 0\nv -1 1 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 0.5 0\nvt 0.5 1\nvt 0 1\nvt 1 0\nvt 1 1
usemtl left\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\nusemtl right\nf 2/2 5/5 6/6\nf 2/2 6/6 3/3
"""  # two materials, no texture


def house() -> bytes:
    """The largest material has no texture; the next one places its texture in the right half."""
    made = Builder()
    placed = made.texture(png((200, 100, 50)))
    placed["extensions"] = {"KHR_texture_transform": {"offset": [0.5, 0], "scale": [0.5, 1]}}  # type: ignore[assignment]
    corners = np.array(QUAD_POSITIONS)
    made.quad(made.material(name="plaster"), corners * 3 - [0, 0, 1], name="plaster")
    made.quad(made.material(name="walls", pbrMetallicRoughness={"baseColorTexture": placed}), corners, name="walls")
    made.quad(textured(made, (60, 60, 160), name="roof"), corners * 0.5 + [0, 1.5, 0], name="roof")
    made.tree["extensionsUsed"] = ["KHR_texture_transform"]
    return made.bytes()


@pytest.fixture(scope="module")
def village(server: Server, jobs: dict[str, Any]) -> None:
    """Scene "village": two materials of one mesh, the second restyled on what the job of the first left; and a mesh
    that is no .glb."""
    exemplar = jobs[FLAT]["work"]["synthesize"]["exemplar"]

    def restyled(surface: str, name: str, digest: str, **options: Any) -> Any:
        task = {"exemplar": exemplar, "options": QUEST | {"size": 64} | options}
        made = done(server, surface, {"restyle": task | {"asset": {"files": [{"name": name, "sha256": digest}]}}})
        show(server, surface, made["id"], "village")
        return made

    walls = restyled("walls", "house.glb", server.upload(house()))
    left = next(file["sha256"] for file in walls["files"] if file["name"] == "asset.glb")
    restyled("roof", "asset.glb", left, material="1")
    restyled("gate", "gate.obj", server.upload(GATE.encode()))


# --- the line -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def line(server: Server, token: str = "", **options: Any) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket after its first message. What is unsent at the end is dropped; the connection is closed."""
    connections: list[socket.socket] = []

    def opened(address: tuple[Any, ...]) -> socket.socket:
        connections.append(socket.socket(*address[:3]))
        connections[-1].setblocking(False)
        return connections[-1]

    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=opened)) as session,
            session.ws_connect(f"{server.url}stream", **options) as web_socket,
        ):
            await web_socket.send_str(token)
            yield web_socket
    finally:
        for connection in connections:
            with contextlib.suppress(OSError):  # it is closed already
                connection.shutdown(socket.SHUT_RDWR)
        while any(connection.fileno() >= 0 for connection in connections):
            await asyncio.sleep(0.01)


def hello(scene: str = SCENE, credit: int = ENOUGH) -> bytes:
    return streams_pb2.OpenRequest(hello=streams_pb2.Hello(scene=scene, credit=credit)).SerializeToString()


async def ending(socket: aiohttp.ClientWebSocketResponse) -> tuple[int, dict[str, str]]:
    """Code and reason with which a line ends."""
    while True:
        message = await socket.receive(60)
        if message.type is aiohttp.WSMsgType.CLOSE:
            reason = message.extra or ""
            assert len(reason.encode()) <= 120
            return int(message.data), json.loads(reason) if reason else {}
        if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
            return socket.close_code or 0, {}


def test_messages_pass_one_to_one_until_the_scene_is_whole(server: Server, jobs: dict[str, Any]) -> None:
    async def walk() -> tuple[list[str], int]:
        kinds, bytes_ = [], 0
        async with line(server) as socket:
            await socket.send_bytes(hello())
            while kinds[-1:] != ["settled"]:
                response = streams_pb2.OpenResponse.FromString(await socket.receive_bytes(timeout=60))
                kinds.append(response.WhichOneof("event"))
                if kinds[-1] == "chunk":
                    assert google_crc32c.value(response.chunk.data) == response.chunk.crc32c
                    bytes_ += len(response.chunk.data)
                    took = streams_pb2.Acknowledgement(sequence=response.chunk.sequence)
                    await socket.send_bytes(streams_pb2.OpenRequest(acknowledgement=took).SerializeToString())
        return kinds, bytes_

    kinds, bytes_ = asyncio.run(walk())
    assert kinds.count("new_version") == len(MAPS) * len(jobs)
    stored = [file for job in jobs.values() for file in job["files"] if file["name"].endswith(".ktx2")]
    published = [parse_ktx2(server.ask("GET", f"/files/{file['sha256']}")[1]) for file in stored]
    assert bytes_ == sum(len(each.level(level)) for each in published for level in range(len(each.stored)))


@pytest.mark.usefixtures("jobs")
def test_nothing_comes_beyond_the_credit(server: Server) -> None:
    async def walk() -> int:
        bytes_ = 0
        async with line(server) as socket:
            await socket.send_bytes(hello(credit=100_000))
            with contextlib.suppress(TimeoutError):
                while True:
                    response = streams_pb2.OpenResponse.FromString(await socket.receive_bytes(timeout=2))
                    bytes_ += len(response.chunk.data)
        return bytes_

    assert 0 < asyncio.run(walk()) <= 100_000


def test_a_page_from_elsewhere_cannot_open_a_stream(server: Server) -> None:
    async def opened(origin: str) -> int:
        try:
            async with line(server, origin=origin):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status

    own = server.url.rstrip("/")
    foreign = ("http://evil.example", f"http://evil.example#{own}", "null", own + "1")
    assert [asyncio.run(opened(origin)) for origin in foreign] == [403] * len(foreign)
    assert asyncio.run(opened(own)) == 101


@pytest.mark.parametrize(
    ("say", "code", "name"),
    [
        (b"\xff\xff\xff", 4003, "INVALID_ARGUMENT"),
        ("text", 4003, "INVALID_ARGUMENT"),
        (streams_pb2.OpenRequest(view=streams_pb2.View()).SerializeToString(), 4003, "INVALID_ARGUMENT"),
        (hello("a/b"), 4003, "INVALID_ARGUMENT"),
        (hello("\N{SNOWMAN}" * 400), 4003, "INVALID_ARGUMENT"),
        (bytes((256 << 10) + 1), 1009, ""),
    ],
    ids=["no message", "text", "no hello", "a slash", "a long name", "too large"],
)  # fmt: skip
def test_what_cannot_be_is_told_in_one_line(server: Server, say: bytes | str, code: int, name: str) -> None:
    async def walk() -> tuple[int, dict[str, str]]:
        async with line(server) as socket:
            await (socket.send_str(say) if isinstance(say, str) else socket.send_bytes(say))
            return await ending(socket)

    found, reason = asyncio.run(walk())
    assert (found, reason.get("code", "")) == (code, name)
    assert "\n" not in reason.get("message", "")


def test_the_first_message_is_the_token(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    guest = new_token(tokens, "guest", "studio", ("read",))

    async def walk(server: Server, token: str) -> tuple[int, dict[str, str]] | str | None:
        async with line(server, token) as socket:
            await socket.send_bytes(hello())
            message = await socket.receive(30)
            if message.type is aiohttp.WSMsgType.BINARY:
                return streams_pb2.OpenResponse.FromString(message.data).WhichOneof("event")
            return int(message.data), json.loads(message.extra or "{}")

    with serving(tmp_path / "data", "--tokens", str(tokens)) as server:
        assert asyncio.run(walk(server, guest)) == "announced"
        for wrong in ("", "wrong", guest[:-1], "a\nb", "\N{SNOWMAN}"):
            found = asyncio.run(walk(server, wrong))
            assert isinstance(found, tuple)
            assert (found[0], found[1]["code"]) == (4016, "UNAUTHENTICATED")


def test_a_stream_over_tls_wants_the_authority_that_signed_the_certificate(tmp_path: Path) -> None:
    tls, tokens = tmp_path / "tls", tmp_path / "tokens.json"
    generate_certificates(tls, ["localhost", "127.0.0.1"])
    ann = new_token(tokens, "ann", "studio", ("read",))

    async def walk(server: Server, trust: ssl.SSLContext) -> str | None:
        async with line(server, ann, ssl=trust) as socket:
            await socket.send_bytes(hello())
            return streams_pb2.OpenResponse.FromString(await socket.receive_bytes(timeout=30)).WhichOneof("event")

    async def refused(server: Server) -> None:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await walk(server, ssl.create_default_context())

    files = ["--tokens", str(tokens), "--certificate", str(tls / "server.pem"), "--key", str(tls / "server.key")]
    with serving(tmp_path / "data", *files, tls=tls) as server:
        assert asyncio.run(walk(server, ssl.create_default_context(cafile=tls / "ca.pem"))) == "announced"
        asyncio.run(refused(server))


def test_a_stream_ends_with_a_reason_when_the_service_stops(tmp_path: Path) -> None:
    async def walk(server: Server) -> tuple[int, dict[str, str]]:
        async with line(server) as socket:
            await socket.send_bytes(hello())
            await socket.receive(30)
            server.process.send_signal(signal.SIGTERM)
            return await ending(socket)

    with serving(tmp_path / "data") as server:
        code, reason = asyncio.run(walk(server))
        assert (code, reason["code"]) == (4014, "UNAVAILABLE")
        assert server.stop() == 0


def test_a_headset_that_vanished_is_noticed(server: Server) -> None:
    async def walk() -> tuple[int, dict[str, str]]:
        async with line(server, autoping=False) as socket:
            await socket.send_bytes(hello())
            return await ending(socket)  # within 60 s, though it never answers a ping

    assert asyncio.run(walk())[1] == {}


def test_a_reader_who_stands_still_costs_the_gateway_no_more_than_the_window(
    server: Server, jobs: dict[str, Any], metrics: str
) -> None:
    def sent() -> float:
        with urllib.request.urlopen(f"http://{metrics}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith("texsynth_sent_bytes_total ")).split()[1])

    async def walk() -> float:
        before = sent()
        reader, writer = await asyncio.open_connection(*server.host.split(":"))  # nothing reads but us
        key = base64.b64encode(bytes(16)).decode()
        asked = f"GET /stream HTTP/1.1\r\nHost: {server.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        writer.write(f"{asked}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        for kind, payload in ((1, b""), (2, hello())):
            writer.write(bytes([0x80 | kind, 0x80 | len(payload), 0, 0, 0, 0]) + payload)  # a mask of zeros
        last, still = -1.0, 0
        while still < 20:
            await asyncio.sleep(0.05)
            last, still = (last, still + 1) if (now := sent()) == last else (now, 0)
        writer.transport.abort()
        return last - before

    total = sum(int(file["size"]) for job in jobs.values() for file in job["files"] if file["name"].endswith(".ktx2"))
    assert total > 2 * WINDOW
    assert 0.5 * WINDOW < asyncio.run(walk()) <= WINDOW


# --- the viewer ---------------------------------------------------------------------------------------------------


SCENARIOS = re.findall(r'^  async "(.+)"\(page\)', (WEB / "webxr_scenarios.mjs").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def walked(
    server: Server, jobs: dict[str, Any], village: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What went wrong in each scenario, "" for nothing; what was measured; and the folder of pictures and texels."""
    needed = {
        "Node.js": browser.node(), "Chromium": browser.chromium(),
        "playwright-core and iwer (npm ci in tests/web)": (WEB / "node_modules" / "iwer").is_dir(),
    }  # fmt: skip
    absent = [name for name, found in needed.items() if not found]
    if absent:
        pytest.skip(f"{' and '.join(absent)} missing")
    folder = tmp_path_factory.mktemp("viewer")
    token = new_token(folder / "tokens.json", "ann", "studio", ("read", "write"))
    with serving(folder / "guarded", "--tokens", str(folder / "tokens.json")) as guarded:
        settings = {
            "chromium": browser.chromium(), "url": server.url, "guarded": guarded.url, "token": token, "scene": SCENE,
            "studio": STUDIO, "mesh": MESH, "flat": FLAT, "maps": MAPS, "out": str(folder),
        }  # fmt: skip
        (folder / "settings.json").write_text(json.dumps(settings))
        done = subprocess.run(
            [str(browser.node()), str(WEB / "webxr_scenarios.mjs"), str(folder / "settings.json")],
            capture_output=True, text=True, check=False, timeout=1200,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(done.stderr, done.stdout, folder)
    return {**json.loads(done.stdout), "folder": folder, "jobs": jobs}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_in_chromium(walked: dict[str, Any], scenario: str) -> None:
    assert walked["scenarios"][scenario] == ""


@pytest.mark.parametrize("kind", MAPS)
def test_a_region_painted_with_the_grip_changes_and_what_is_around_it_stays_to_the_bit(
    server: Server, walked: dict[str, Any], kind: str
) -> None:
    told = json.loads((walked["folder"] / "region.json").read_text())
    painted = server.ask("GET", f"/files/{told['region']}")[1]
    mask = cv2.imdecode(np.frombuffer(painted, np.uint8), cv2.IMREAD_GRAYSCALE)
    before, after = (
        np.frombuffer(base64.b64decode(told[when][kind]["texels"]), np.uint8).reshape(SMALL, SMALL, 4)
        for when in ("before", "after")
    )
    inside = cv2.resize(mask, (SMALL, SMALL)) >= 128
    near = cv2.dilate(inside.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0  # a block of 6 texels holds both
    changed = (before != after).any(axis=2)
    assert 0.001 < inside.mean() < 0.5
    assert not changed[~near].any()
    assert changed[inside].mean() > 0.3


@pytest.mark.parametrize("kind", MAPS)
def test_texels_on_the_gpu_are_the_published_ones(server: Server, walked: dict[str, Any], kind: str) -> None:
    """As far as a GPU decodes to light and the test encodes it again: within one step of 255."""
    digests = {file["name"]: file["sha256"] for file in walked["jobs"][MESH]["files"]}
    published = parse_ktx2(server.ask("GET", f"/files/{digests[f'{kind}.ktx2']}")[1])
    read = json.loads((walked["folder"] / "texels.json").read_text())
    levels = [entry for name, entry in read.items() if name.startswith(f"{kind}/")]
    assert len(levels) == len(published.stored)
    for number, entry in enumerate(levels):
        height, width = max(1, published.height >> number), max(1, published.width >> number)
        assert (entry["height"], entry["width"]) == (height, width)
        seen = np.frombuffer(base64.b64decode(entry["texels"]), np.uint8).reshape(height, width, 4)
        expected = decode_level(published.level(number), height, width, published.texel_format)
        channels = [0, 3] if published.texel_format.swizzle == "ra01" else list(range(expected.shape[2]))
        difference = np.abs(seen[..., channels].astype(int) - expected.astype(int))
        assert difference.max() <= 1
