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

import numpy as np
import pytest

from mipmap.material_chain import material_levels
from texsynth.errors import TexsynthError
from texsynth.image_io import decode_image
from texsynth.material import MapKind, TextureMap, unit_normals
from texsynth.publish import publish_maps
from texsynth.run import Run
from texsynth.storage import choose_storage
from texsynth.view import ResultServer, serve

NORMAL, ROUGHNESS = MapKind.NORMAL, MapKind.ROUGHNESS
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


# --- mip levels


Leveled = tuple[ResultServer, dict[str, list[np.ndarray]]]


@pytest.fixture(params=["png", "exr", "ktx2", "dds"])
def leveled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Leveled]:
    """A server of a result of 300 x 300 texels, and the 8-bit texels of every level that it should show."""
    y, x = np.mgrid[0:300, 0:300] / 300
    slopes = np.stack([0.3 * np.sin(9 * x), 0.3 * np.cos(7 * y), np.ones_like(x)], axis=2).astype(np.float32)
    texels = {
        NORMAL: TextureMap.from_linear(NORMAL, unit_normals(slopes)).texels,
        ROUGHNESS: np.rint(255 * (x * y))[..., None].astype(np.uint8),
    }
    maps = publish_maps(tmp_path, texels, choose_storage(None, request.param), Run())
    (tmp_path / "material.json").write_text(json.dumps({"schema": 1, "maps": maps, "files": {}}))
    shown = material_levels({str(kind): rows for kind, rows in texels.items()})
    for server in running(tmp_path):
        yield server, shown


def test_every_level_is_shown_as_its_file_holds_it(leveled: Leveled) -> None:
    server, shown = leveled
    status, page, headers = ask(server, "/levels")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    exact = 1 if server.published.entries["normal"]["format"] in ("png", "exr") else 16
    for kind, levels in shown.items():
        for number, texels in enumerate(levels):
            assert f'src="/levels/{kind}/{number}/middle"'.encode() in page
            for name, wanted in ((f"{kind}/{number}", texels), (f"{kind}/{number}/middle", middle(texels))):
                status, data, headers = ask(server, f"/levels/{name}")
                assert (status, headers["Content-Type"]) == (200, "image/png")
                image = decode_image(data, name).texels
                assert image.shape == wanted.shape
                assert np.abs(image.astype(int) - wanted).max() <= exact


def middle(texels: np.ndarray) -> np.ndarray:
    top, left = (max(0, (side - 256) // 2) for side in texels.shape[:2])
    return texels[top : top + 256, left : left + 256]


@pytest.mark.parametrize(
    "name", ["normal/99", "albedo/0", "normal", "normal/-1", "normal/0/whole", "../x/0", "normal/0/"]
)
def test_a_level_that_is_not_there_is_not_found(leveled: Leveled, name: str) -> None:
    assert ask(leveled[0], f"/levels/{name}")[0] == 404


def test_a_damaged_level_is_an_error_of_this_level_alone(
    leveled: Leveled,
) -> None:
    server, _ = leveled
    path = server.out / server.published.entries["normal"]["file"]
    path.write_bytes(path.read_bytes()[:100])
    assert ask(server, "/levels/normal/0")[0] == 500
    assert ask(server, "/levels/roughness/0")[0] == 200
    assert ask(server, "/levels")[0] == 200


def test_a_map_that_is_a_link_out_of_the_folder_shows_no_level(
    leveled: Leveled, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server, _ = leveled
    path = server.out / server.published.entries["normal"]["file"]
    away = tmp_path_factory.mktemp("away") / path.name
    path.replace(away)
    path.symlink_to(away)
    assert ask(server, "/levels/normal/0")[0] == 404


def test_a_mip_that_is_a_link_out_of_the_folder_shows_no_level(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    maps = publish_maps(tmp_path, {ROUGHNESS: np.zeros((8, 8, 1), np.uint8)}, choose_storage(None, "png"), Run())
    (tmp_path / "material.json").write_text(json.dumps({"schema": 1, "maps": maps, "files": {}}))
    mip = tmp_path / "mips" / "roughness.1.png"
    away = tmp_path_factory.mktemp("away") / mip.name
    mip.replace(away)
    mip.symlink_to(away)
    for server in running(tmp_path):
        assert ask(server, "/levels/roughness/1")[0] == 404
        assert ask(server, "/levels/roughness/1/middle")[0] == 404


def test_the_report_links_to_the_levels(tmp_path: Path) -> None:
    out = result(tmp_path)
    (out / "report.html").write_text("<!doctype html><title>report</title><!--levels--><p>")
    for server in running(out):
        assert b'<a href="/levels">' in ask(server, "/")[1]
        assert b'<a href="/levels">' in ask(server, "/report.html")[1]
