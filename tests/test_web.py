"""The gateway of `texsynth serve --web` over real HTTP, and its page in a real headless Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import forked
import numpy as np
import pytest
import service_process
import typer
from nginx_process import proxied
from texsynth_rpc.certificates import Certificates, generate_certificates
from texsynth_rpc.gate import SCOPES, new_token
from texsynth_rpc.server import Settings
from texsynth_rpc.v1 import streams_pb2
from web_process import JOBS, JSON, WEB, Answer, Server, browser, serving

from plugin_bridge.client import Client
from texsynth.cli import app
from texsynth.errors import TexsynthError
from texsynth.publish import verify
from texsynth.sample_asset import write_sample_asset
from texsynth.train.procedural import generate, write

ROOT = service_process.ROOT
PAGE = ROOT / "plugin_bridge" / "web"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("web") / "data") as started:
        yield started


@pytest.fixture(scope="module")
def job(server: Server, gravel: Path) -> Any:
    return server.finished(gravel, "pictures")


def error(answer: Answer) -> tuple[int, str, str]:
    """Status, code and field of an answer that is an error of ours."""
    status, body, headers = answer
    assert headers["content-type"].startswith("application/json")
    said = json.loads(body)
    assert set(said) == {"code", "message", "reason", "field"}
    assert "\n" not in said["message"]
    assert "Traceback" not in said["message"]
    return status, said["code"], said["field"]


# --- calls --------------------------------------------------------------------------------------------------------


def test_a_job_is_sent_watched_and_fetched_over_http(server: Server, gravel: Path, tmp_path: Path) -> None:
    job = server.finished(gravel, "all of it", seed=5)
    lines = server.watch(job["id"])
    assert [int(line["result"]["number"]) for line in lines] == list(range(len(lines)))
    assert server.watch(job["id"], 2) == lines[2:]
    for file in job["files"]:
        path = tmp_path / file["name"]
        path.parent.mkdir(exist_ok=True)
        status, data, headers = server.ask("GET", f"/files/{file['sha256']}")
        assert (status, len(data), headers["etag"]) == (200, int(file["size"]), f'"{file["sha256"]}"')
        path.write_bytes(data)
    assert verify(tmp_path) == []


@pytest.mark.parametrize("path", sorted(SCOPES))
def test_every_method_of_the_contract_is_there(server: Server, path: str) -> None:
    status, body, _ = server.ask("POST", f"/rpc{path}", "{}", JSON)
    expected = 501 if path.endswith(("/Upload", "/Open")) else (200, 400, 404)
    assert status in np.atleast_1d(expected), body


def test_an_error_of_the_service_keeps_its_code_and_field(server: Server) -> None:
    image = {"name": "a.png", "sha256": "0" * 64}
    body = {"request_id": "x", "work": {"synthesize": {"exemplar": {"files": [image]}}}}
    answer = server.ask("POST", f"{JOBS}/Submit", json.dumps(body), JSON)
    assert error(answer) == (400, "INVALID_ARGUMENT", "work.synthesize.exemplar.files[0].sha256")
    assert error(server.ask("POST", f"{JOBS}/Get", '{"id": "x"}', JSON)) == (404, "NOT_FOUND", "")
    assert error(server.ask("POST", f"{JOBS}/Watch", '{"id": "x"}', JSON)) == (404, "NOT_FOUND", "")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", (400, "INVALID_ARGUMENT", "")),
        (b"[]", (400, "INVALID_ARGUMENT", "")),
        (b"\xff\xfe", (400, "INVALID_ARGUMENT", "")),
        (b'{"unheard_of": 1}', (400, "INVALID_ARGUMENT", "")),
        (b"[" * 100_000, (400, "INVALID_ARGUMENT", "")),
        (b'{"work": {"mips": {"target": -1}}}', (400, "INVALID_ARGUMENT", "work.mips.target")),
        (b'{"request_id": "' + b"x" * (5 << 20) + b'"}', (413, "INVALID_ARGUMENT", "")),
    ],
    ids=["cut", "list", "no text", "unknown", "deep", "negative", "large"],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused_in_one_line(
    server: Server, body: bytes, expected: tuple[int, str, str]
) -> None:
    assert error(server.ask("POST", f"{JOBS}/Submit", body, JSON)) == expected


def test_a_stream_ends_with_a_reason_when_the_service_stops(tmp_path: Path, gravel: Path) -> None:
    with serving(tmp_path / "data") as server:
        job = server.submit(gravel, "long", size=4096)
        connection = server.connect()
        connection.request("POST", f"{JOBS}/Watch", json.dumps({"id": job}), JSON)
        response = connection.getresponse()
        assert "result" in json.loads(response.readline())
        assert server.stop() == 0
        *_, last = response.read().splitlines()
        assert json.loads(last)["error"]["code"] == "UNAVAILABLE"
        connection.close()


def test_it_is_live_at_once_and_ready_later(server: Server, job: Any) -> None:
    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert server.ask("GET", "/healthz")[:2] == (200, b'{"live": true}')
    assert server.ask("GET", "/readyz")[:2] == (200, b'{"ready": true}')


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "status", "first", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=5-9", 206, 5, 10),
        ("bytes=1500000-", 206, 1_500_000, 3_000_000),
        ("bytes=-7", 206, 2_999_993, 3_000_000),
        ("bytes=-9999999", 206, 0, 3_000_000),
        ("bytes=2999999-5000000", 206, 2_999_999, 3_000_000),
        ("bytes=0-1,4-5", 200, 0, 3_000_000),
        ("lines=0-1", 200, 0, 3_000_000),
        ("bytes=-", 200, 0, 3_000_000),
    ],
)
def test_any_part_of_a_file_can_be_asked_for(server: Server, header: str, status: int, first: int, end: int) -> None:
    data = np.random.default_rng(3).bytes(3_000_000)
    digest = server.upload(data)
    found, body, headers = server.ask("GET", f"/files/{digest}", headers={"Range": header})
    assert (found, body == data[first:end], headers["content-length"]) == (status, True, str(end - first))
    if status == 206:
        assert headers["content-range"] == f"bytes {first}-{end - 1}/{len(data)}"


def test_parts_that_are_not_there_and_other_versions(server: Server) -> None:
    digest = server.upload(b"0123456789")
    path = f"/files/{digest}"
    assert error(server.ask("GET", path, headers={"Range": "bytes=10-"})) == (416, "OUT_OF_RANGE", "")
    assert server.ask("GET", path, headers={"Range": "bytes=1-2", "If-Range": '"other"'})[:2] == (200, b"0123456789")
    assert server.ask("GET", path, headers={"If-None-Match": f'"{digest}"'})[:2] == (304, b"")
    status, body, headers = server.ask("HEAD", path)
    assert (status, body, headers["content-length"]) == (200, b"", "10")
    assert "immutable" in headers["cache-control"]
    assert server.ask("GET", f"/files/{server.upload(b'')}")[:2] == (200, b"")


def test_an_upload_that_is_not_what_it_says_is_refused(server: Server) -> None:
    assert error(server.ask("PUT", f"/files/{'0' * 64}", b"abc")) == (400, "INVALID_ARGUMENT", "data")
    assert error(server.ask("PUT", "/files/short", b"abc")) == (400, "INVALID_ARGUMENT", "header.sha256")
    assert error(server.ask("GET", f"/files/{'0' * 64}")) == (404, "NOT_FOUND", "")
    with contextlib.closing(server.connect()) as connection:
        connection.request("PUT", f"/files/{'0' * 64}", iter([b"a", b"b"]), encode_chunked=True)
        assert connection.getresponse().status == 411
    with contextlib.closing(server.connect()) as connection:
        connection.putrequest("PUT", f"/files/{'0' * 64}")
        connection.putheader("Content-Length", str(1 << 40))
        connection.endheaders()
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["field"]) == (400, "header.size")


def test_a_file_that_is_there_already_may_be_sent_again(server: Server) -> None:
    """The service answers at the first bytes; a client that still sends must hear that, not a broken line."""
    data = np.random.default_rng(6).bytes(20_000_000)
    assert len({server.upload(data) for _ in range(5)}) == 1


def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    data = np.random.default_rng(4).bytes(2_000_000)
    digest, incoming = hashlib.sha256(data).hexdigest(), server.data / "objects" / "incoming"
    connection = server.connect()
    connection.putrequest("PUT", f"/files/{digest}")
    connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data[:1_000_000])
    service_process.eventually(lambda: any(incoming.iterdir()))
    connection.close()
    service_process.eventually(lambda: not any(incoming.iterdir()))
    assert server.ask("GET", f"/files/{digest}")[0] == 404
    assert server.upload(data) == digest


def test_large_files_pass_through_without_being_held(server: Server) -> None:
    def peak() -> int:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) >> 10

    server.upload(bytes(1 << 20))
    before, data = peak(), np.random.default_rng(5).bytes(192 << 20)
    digest = server.upload(data)
    status, body, _ = server.ask("GET", f"/files/{digest}")
    assert (status, body == data) == (200, True)
    assert peak() - before < 96, "MiB"


@pytest.mark.parametrize(
    "path",
    [
        "/files/../jobs.sqlite", "/files/..%2f..%2fjobs.sqlite", "/files/%2e%2e%2fjobs.sqlite", "/../lock", "/page.py",
        "/files/%00", "/files/", "/files//etc/hostname", "/index.html/../../web.py", "/levels/../albedo/0", "/files",
        "/levels/0/..%2f..%2fx/0", "/" + "a" * 7000, "/files/" + "%C3%A9" * 64,
    ],
)  # fmt: skip
def test_no_path_leads_to_a_file(server: Server, path: str) -> None:
    answer = server.ask("GET", path)
    assert error(answer)[0] in (400, 404, 405)
    assert b"SQLite" not in answer[1]


def test_a_strangers_file_is_no_document_of_this_origin(server: Server) -> None:
    digest = server.upload(b"<script>alert(1)</script>")
    for name in ("", "?name=a.html", "?name=a.svg", "?name=a.js"):
        headers = server.ask("GET", f"/files/{digest}{name}")[2]
        assert headers["content-type"] in ("application/octet-stream", "text/plain; charset=utf-8")
        assert headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in headers["content-security-policy"]
    named = server.ask("GET", f"/files/{digest}?name=%22%0d%0aX:%20y%3b%20%C3%A9.png")[2]
    assert named["content-disposition"] == "attachment; filename*=UTF-8''%22%0D%0AX%3A%20y%3B%20%C3%A9.png"


# --- levels that no browser reads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["quest3", "desktop"])
def test_levels_in_blocks_are_shown_as_pictures(server: Server, gravel: Path, target: str) -> None:
    plain = server.finished(gravel, "plain")
    packed = server.finished(gravel, target, target=target)
    files = {file["name"]: file["sha256"] for file in plain["files"]}
    for level, name in ((0, "normal.png"), (2, "mips/normal.2.png")):
        status, data, headers = server.ask("GET", f"/levels/{packed['id']}/normal/{level}")
        assert (status, headers["content-type"]) == (200, "image/png")
        shown, wanted = picture(data), picture(server.ask("GET", f"/files/{files[name]}")[1])
        assert shown.shape == wanted.shape == (64 >> level, 64 >> level, 3)
        assert np.abs(shown - wanted).mean() < 8
        assert server.ask("GET", f"/levels/{packed['id']}/normal/{level}")[1] == data


def picture(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)).astype(int)


@pytest.mark.parametrize("name", ["normal/7", "normal/99", "paint/0", "opacity/0"])
def test_levels_that_are_not_there(server: Server, job: Any, name: str) -> None:
    assert error(server.ask("GET", f"/levels/{job['id']}/{name}"))[0] == 404
    assert error(server.ask("GET", f"/levels/{'0' * 32}/normal/0")) == (404, "NOT_FOUND", "")


# --- who may call -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.1"])
def test_a_name_that_was_made_to_point_here_is_refused(server: Server, host: str) -> None:
    for path in ("/", "/healthz", "/files/x"):
        assert error(server.ask("GET", path, headers={"Host": host}))[0] == 403
    assert server.ask("GET", "/", headers={"Host": "localhost:9999"})[0] == 200  # through a tunnel


def test_pages_from_elsewhere_may_not_call(server: Server) -> None:
    for origin in ("https://evil.example", "null", f"http://{server.host}.evil.example", "http://127.0.0.1:1"):
        answer = server.ask("POST", f"{JOBS}/List", "{}", JSON | {"Origin": origin})
        assert error(answer)[0] == 403
        assert "access-control-allow-origin" not in answer[2]
    assert server.ask("POST", f"{JOBS}/List", "{}", JSON | {"Origin": f"http://{server.host}"})[0] == 200
    for kind in ("text/plain", "application/x-www-form-urlencoded"):  # what is sent without asking first
        assert error(server.ask("POST", f"{JOBS}/List", "{}", {"Content-Type": kind}))[0] == 415
    assert error(server.ask("OPTIONS", f"{JOBS}/List"))[0] == 405


def test_every_answer_says_what_browsers_may_do(server: Server) -> None:
    for path in ("/", "/index.js", "/report.html", "/healthz", "/nothing", f"/files/{server.upload(b'x')}"):
        headers = server.ask("GET", path)[2]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "aiohttp" not in headers.get("server", "")
    assert "unsafe-inline" not in server.ask("GET", "/")[2]["content-security-policy"]


def test_the_way_to_the_service_is_this_users_alone(server: Server) -> None:
    names = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()]
    ours = [Path(name) for name in names if re.fullmatch(r".*/texsynth-\w+/grpc", name) and Path(name).exists()]
    assert ours
    for path in ours:
        assert path.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("web", ["0.0.0.0:8080", "192.168.1.2:8080", "[::]:8080", "studio.lan:8080"])
def test_beyond_this_machine_it_wants_tokens_and_encryption(tmp_path: Path, web: str) -> None:
    with pytest.raises(TexsynthError, match=r"web: .* is not loopback; give --tokens, and --certificate"):
        Settings(web=web)
    with pytest.raises(TexsynthError, match="is not loopback"):
        Settings(web=web, tokens=tmp_path)
    Settings(web=web, tokens=tmp_path, certificates=Certificates(tmp_path, tmp_path))


@pytest.mark.parametrize("web", ["8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_that_is_none_is_refused(web: str) -> None:
    with pytest.raises(TexsynthError, match=r"web: got .*; use HOST:PORT such as"):
        Settings(web=web)


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = "--listen", "127.0.0.1:0", "--web", where, "--data", tmp_path / "data"
        done = forked.texsynth("serve", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"texsynth: error: web: {where} cannot be bound")
    assert len(done.stderr.splitlines()) == 1


def test_tokens_tenants_and_encryption_are_those_of_grpc(tmp_path: Path, gravel: Path) -> None:
    tls, tokens = tmp_path / "tls", tmp_path / "tokens.json"
    generate_certificates(tls, ["localhost", "127.0.0.1"])
    ann = new_token(tokens, "ann", "studio", ("read", "write"))
    eve = new_token(tokens, "eve", "other", ("read", "write"))
    guest = new_token(tokens, "guest", "studio", ("read",))
    files = ["--tokens", str(tokens), "--certificate", str(tls / "server.pem"), "--key", str(tls / "server.key")]
    with serving(tmp_path / "data", *files, tls=tls, token=ann) as server:
        assert server.url.startswith("https://")
        job = server.finished(gravel, "private")
        paths = [f"/files/{job['files'][0]['sha256']}", f"/levels/{job['id']}/albedo/0"]

        def read(token: str | None) -> list[int]:
            server._token = token
            calls = [server.ask("POST", f"{JOBS}/Get", json.dumps({"id": job["id"]}), JSON)]
            return [answer[0] for answer in calls + [server.ask("GET", path) for path in paths]]

        assert read(ann) == read(guest) == [200, 200, 200]
        assert read(eve) == [404, 404, 404]
        for nobody in (None, "", "wrong", ann[:-1]):
            assert read(nobody) == [401, 401, 401]
        server._token = guest
        assert error(server.ask("POST", f"{JOBS}/Cancel", json.dumps({"id": job["id"]}), JSON))[0] == 403
        assert error(server.ask("PUT", f"/files/{'0' * 64}", b"abc"))[0] == 403
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            plain = http.client.HTTPConnection(server.host, timeout=10)
            plain.request("GET", "/")
            plain.getresponse()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_the_page_and_grpc_share_a_name_behind_a_proxy(tmp_path: Path, gravel: Path) -> None:
    generate_certificates(tmp_path / "tls", ["localhost", "127.0.0.1"])
    token = new_token(tmp_path / "tokens.json", "ann", "studio", ("read", "write"))
    tls, tokens = tmp_path / "tls", str(tmp_path / "tokens.json")
    with (
        serving(tmp_path / "data", "--tokens", tokens, token=token) as server,
        proxied(tmp_path, tls, address=server.address, page=server.host) as port,
    ):
        server.host = f"127.0.0.1:{port}"
        server._tls = ssl.create_default_context(cafile=tls / "ca.pem")
        service_process.eventually(lambda: answers(port))
        own = JSON | {"Origin": f"https://127.0.0.1:{port}"}
        assert server.ask("GET", "/")[0] == 200
        assert server.ask("POST", f"{JOBS}/List", "{}", own)[0] == 200
        job = server.finished(gravel, "through nginx")
        server.upload(bytes(3 << 20))
        with Client(f"127.0.0.1:{port}", ca=tls / "ca.pem", token=token, patience=20) as client:
            assert client.get(job["id"]).files
        assert asyncio.run(first_response(server, token)) == "announced"


async def first_response(server: Server, token: str) -> str | None:
    """What a viewer's stream begins with."""
    at = f"https://{server.host}/stream"
    async with aiohttp.ClientSession() as session, session.ws_connect(at, ssl=server._tls) as line:
        await line.send_str(token)
        opened = streams_pb2.OpenRequest(hello=streams_pb2.Hello(scene="nothing"))
        await line.send_bytes(opened.SerializeToString())
        return streams_pb2.OpenResponse.FromString(await line.receive_bytes(timeout=30)).WhichOneof("event")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_client_without_the_agreed_certificate_is_refused(tmp_path: Path) -> None:
    tls, tokens = tmp_path / "tls", tmp_path / "tokens.json"
    generate_certificates(tls, ["localhost", "127.0.0.1"])
    new_token(tokens, "ann", "studio", ("read", "write"))
    files = ["--tokens", str(tokens), "--certificate", str(tls / "server.pem"), "--key", str(tls / "server.key")]
    with serving(tmp_path / "data", *files, "--client-ca", str(tls / "ca.pem"), tls=tls) as server:
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            server.ask("GET", "/healthz")
        assert server._tls is not None
        server._tls.load_cert_chain(tls / "client.pem", tls / "client.key")
        assert server.ask("GET", "/healthz")[0] == 200


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_says_what_the_command_line_says() -> None:
    helps = {}
    for name in ("synthesize", "restyle"):
        command: Any = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
        helps |= {parameter.name: getattr(parameter, "help", "") for parameter in command.params}
    same = {"normals": "directx", "nonfinite": "clamp_nonfinite"}
    for option in json.loads((PAGE / "src" / "options.json").read_text()):
        assert option["help"] == helps[same.get(option["name"], option["name"])], option["name"]


@pytest.mark.skipif(not (PAGE / "node_modules").is_dir() or not browser.node(), reason="plugin_bridge/web: npm ci")
def test_the_page_in_the_package_is_what_its_sources_give(tmp_path: Path) -> None:
    node, bins = str(browser.node()), PAGE / "node_modules"
    checked = subprocess.run(
        [node, str(bins / "typescript" / "bin" / "tsc"), "--noEmit"], cwd=PAGE, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    built = subprocess.run(
        [node, str(bins / "vite" / "bin" / "vite.js"), "build", "--logLevel", "warn"], cwd=PAGE, capture_output=True,
        text=True, check=False, env=os.environ | {"TEXSYNTH_PAGE_OUT": str(tmp_path)},
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    shipped = ROOT / "grpc" / "texsynth_rpc" / "page"
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {p.name: p.read_bytes() for p in shipped.iterdir()}
    assert sum(path.stat().st_size for path in shipped.iterdir()) < 1_000_000


SCENARIOS = re.findall(r'^  async "(.+)"\(page\)', (WEB / "page_scenarios.mjs").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What went wrong in each scenario, "" for nothing."""
    needed = {
        "Node.js": browser.node(), "Chromium": browser.chromium(),
        "playwright-core (npm ci in tests/web)": (WEB / "node_modules" / "playwright-core").is_dir(),
    }  # fmt: skip
    absent = [name for name, found in needed.items() if not found]
    if absent:
        pytest.skip(f"{' and '.join(absent)} missing")
    folder = tmp_path_factory.mktemp("page")
    write(generate("gravel", 96, 1), folder / "gravel")
    write_sample_asset(folder / "asset", 256)
    (folder / "asset" / "notes.txt").write_text("not a picture")
    token = new_token(folder / "tokens.json", "ann", "studio", ("read", "write"))
    guarded = serving(folder / "guarded", "--tokens", str(folder / "tokens.json"), token=token)
    lent = [f"--models=painterly={folder / 'gravel'}", f"--models=sdxl={folder / 'asset'}"]
    with serving(folder / "data", *lent) as server, guarded as other:
        other.finished(folder / "gravel", "guarded")
        files = [{"name": p.name, "sha256": server.upload(p.read_bytes())} for p in (folder / "gravel").iterdir()]
        mesh = {"name": "asset.glb", "sha256": server.upload((folder / "asset" / "asset.glb").read_bytes())}
        work = {"asset": {"files": [mesh]}, "exemplar": {"files": files}, "options": {"size": 128, "preset": "draft"}}
        job = server.call("Submit", request_id="mesh", work={"restyle": work})["job"]["id"]
        assert server.watch(job)[-1]["result"]["state"]["state"] == "JOB_STATE_SUCCEEDED"
        albedo = {f["name"]: f["sha256"] for f in server.call("Get", id=job)["job"]["files"]}["albedo.png"]
        settings = {
            "chromium": browser.chromium(), "url": server.url, "guarded": other.url, "token": token, "job": job,
            "albedo": albedo, "out": str(folder),
            "inputs": {"exemplar": str(folder / "gravel"), "mesh": str(folder / "asset" / "asset.glb")},
        }  # fmt: skip
        (folder / "settings.json").write_text(json.dumps(settings))
        done = subprocess.run(
            [str(browser.node()), str(WEB / "page_scenarios.mjs"), str(folder / "settings.json")], capture_output=True,
            text=True, check=False, timeout=400,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_in_chromium(walked: dict[str, str], scenario: str) -> None:
    assert walked[scenario] == ""
