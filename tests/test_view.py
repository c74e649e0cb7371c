import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from texsynth.errors import TexsynthError
from texsynth.view import ResultServer, serve

CONTENT = {
    "albedo.png": b"the albedo",
    "mips/albedo.1.png": b"a mip",
    "report.html": b"<!doctype html><title>report</title>",
    "asset.glb": b"glTF....",
    "preview.png": b"preview",
}


def result(folder: Path, drop: str = "") -> Path:
    out = folder / "out"
    (out / "mips").mkdir(parents=True)
    for name, data in CONTENT.items():
        (out / name).write_bytes(data)
    (out / "work.raw").write_bytes(b"not published")
    (folder / "secret.txt").write_bytes(b"secret")
    files = {name: {"sha256": "", "bytes": 0} for name in ("report.html", "asset.glb", "preview.png") if name != drop}
    maps = {"albedo": {"file": "albedo.png", "mips": [{"file": "mips/albedo.1.png"}]}}
    (out / "material.json").write_text(json.dumps({"schema": 1, "maps": maps, "files": files}))
    return out


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ResultServer]:
    yield from running(result(tmp_path))


def running(out: Path) -> Iterator[ResultServer]:
    with ResultServer(out) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: ResultServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    response = connection.getresponse()
    answer = response.status, response.read(), dict(response.getheaders())
    connection.close()
    return answer


def test_the_report_is_at_the_root(server: ResultServer) -> None:
    status, body, headers = ask(server, "/")
    assert status == 200
    assert body == CONTENT["report.html"]
    assert headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", ["albedo.png", "mips/albedo.1.png", "asset.glb", "preview.png"])
def test_listed_files_are_served(server: ResultServer, name: str) -> None:
    assert ask(server, f"/{name}")[:2] == (200, CONTENT[name])


def test_the_manifest_itself_is_served(server: ResultServer) -> None:
    status, body, headers = ask(server, "/material.json")
    assert status == 200
    assert json.loads(body)["schema"] == 1
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        "/work.raw",
        "/../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/mips/../../secret.txt",
        "//etc/hostname",
        "/etc/hostname",
        "/mips/",
        "/mips",
        "/albedo.png%00.html",
        "/" + "a" * 3000,
        "/%ff%fe",
    ],
)
def test_anything_else_is_not_found(server: ResultServer, path: str) -> None:
    status, body, _ = ask(server, path)
    assert status == 404
    assert b"secret" not in body


def test_a_head_request_gives_the_size_and_no_body(server: ResultServer) -> None:
    status, body, headers = ask(server, "/asset.glb", "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(CONTENT["asset.glb"])))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server: ResultServer, method: str) -> None:
    assert ask(server, "/", method)[0] == 501


def test_a_foreign_host_name_is_refused(server: ResultServer) -> None:
    assert ask(server, "/", host="evil.example")[0] == 403
    assert ask(server, "/", host=f"localhost:{server.server_port}")[0] == 200


def test_pages_may_load_nothing_from_outside(server: ResultServer) -> None:
    headers = ask(server, "/")[2]
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_only_this_machine_is_listened_to(server: ResultServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.url == f"http://127.0.0.1:{server.server_port}/"


def test_a_listed_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    out = result(tmp_path)
    (out / "preview.png").unlink()
    (out / "preview.png").symlink_to(tmp_path / "secret.txt")
    for server in running(out):
        assert ask(server, "/preview.png")[0] == 404


def test_a_manifest_that_lists_names_outside_opens_no_way(tmp_path: Path) -> None:
    out = result(tmp_path)
    manifest = json.loads((out / "material.json").read_text())
    manifest["files"] |= {"../secret.txt": {}, str(tmp_path / "secret.txt"): {}, "a\0b": {}}
    (out / "material.json").write_text(json.dumps(manifest))
    for server in running(out):
        for path in ("/../secret.txt", f"/{tmp_path}/secret.txt", "/a%00b"):
            assert ask(server, path)[0] == 404


def test_a_result_without_a_report_shows_its_files(tmp_path: Path) -> None:
    for server in running(result(tmp_path, drop="report.html")):
        status, body, _ = ask(server, "/")
        assert status == 200
        assert b'href="mips/albedo.1.png"' in body


def test_a_listed_file_that_is_gone_is_not_found(tmp_path: Path) -> None:
    out = result(tmp_path)
    (out / "albedo.png").unlink()
    for server in running(out):
        assert ask(server, "/albedo.png")[0] == 404


def test_a_folder_without_a_result_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TexsynthError, match=r"holds no finished result \(material\.json is missing\)"):
        serve(tmp_path, open_browser=False)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"maps": 3, "files": {}}', "null", '{"files": {}}'])
def test_a_damaged_manifest_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "material.json").write_text(text)
    with pytest.raises(TexsynthError, match="is damaged"):
        ResultServer(tmp_path)


def test_a_taken_port_is_refused_in_one_line(tmp_path: Path) -> None:
    out = result(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(TexsynthError, match="choose another port"):
            ResultServer(out, taken.getsockname()[1])


def test_ctrl_c_ends_the_server_cleanly(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from texsynth.view import serve; serve(Path(sys.argv[1]), 0, False)"
    command = [sys.executable, "-c", code, str(result(tmp_path))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as child:
        assert child.stdout is not None
        assert "http://127.0.0.1:" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=20)
    assert child.returncode == 0
    assert errors == ""
