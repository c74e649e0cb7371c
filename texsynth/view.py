"""`texsynth view OUT`: a finished result in the browser, served to this machine only.

The server knows the files that material.json lists, pictures of each mip level of its maps, and nothing else: a request
names one of them or gets 404, so there is no path to traverse. It answers GET and HEAD on 127.0.0.1, and only to a Host
of that address, so that a page from elsewhere cannot reach it under a name of its own.
"""

from __future__ import annotations

import html
import logging
import shutil
import urllib.parse
import webbrowser
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from texsynth.errors import TexsynthError, bad_input, from_os_error
from texsynth.levels_page import level_image, levels_page
from texsynth.publish import MANIFEST, read_manifest
from texsynth.published import Published

ADDRESS = "127.0.0.1"
REPORT = "report.html"
LEVELS = "levels"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".webp": "image/webp",
    ".exr": "image/x-exr",
    ".glb": "model/gltf-binary",
    ".ktx2": "image/ktx2",
    ".dds": "image/vnd-ms.dds",
}
# The report is one page with styles and images inside; nothing else may load, least of all scripts.
_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LOG = logging.getLogger(__name__)


def serve(out: Path, port: int = 0, open_browser: bool = True) -> None:
    """Serve the result in `out` until Ctrl-C; port 0 takes any free one. Prints the address, opens a browser.

    Raises TexsynthError: no finished result in `out`, port taken.
    """
    with ResultServer(out, port) as server, suppress(KeyboardInterrupt):
        print(f"{out} is at {server.url} (every mip level at /{LEVELS}; Ctrl-C ends it)", flush=True)
        if open_browser and not webbrowser.open(server.url):
            print("no browser found here; open the address yourself")
        server.serve_forever(poll_interval=0.2)


class ResultServer(ThreadingHTTPServer):
    """Serves the listed files of one result folder at `url`; use `serve_forever` and `shutdown` as in socketserver."""

    daemon_threads = True

    def __init__(self, out: Path, port: int = 0) -> None:
        self.out = out
        manifest = _manifest(out)
        self.files = _listed(manifest)
        self.published = Published(out, manifest["maps"])
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            what = error.strerror if isinstance(error, OSError) else "no such port"
            raise bad_input(f"port {port}", f"{what}", "choose another port, or 0 for any free one") from None

    @property
    def url(self) -> str:
        """http address of the report."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news for the terminal."""
        _LOG.debug("request from %s failed", client_address, exc_info=True)

    def page(self) -> bytes:
        """What `/` shows when the result has no report: its files as links."""
        links = "".join(
            f'<li><a href="{html.escape(urllib.parse.quote(name))}">{html.escape(name)}</a></li>' for name in self.files
        )
        title = html.escape(self.out.name)
        body = f'<p><a href="{LEVELS}">Every mip level</a></p><ul>{links}</ul>'
        return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{body}'.encode()


def _manifest(out: Path) -> dict[str, Any]:
    """The manifest in `out`, with the files of its maps where they must be."""
    try:
        manifest: dict[str, Any] = read_manifest(out / MANIFEST)
        _listed(manifest)
    except FileNotFoundError:
        right = "give the folder that was given as -o, after the run has finished"
        raise bad_input(out, f"holds no finished result ({MANIFEST} is missing)", right) from None
    except OSError as error:
        raise from_os_error(error, out / MANIFEST) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise bad_input(out / MANIFEST, "is damaged", "run texsynth verify on the folder, then make it again") from None
    return manifest


def _listed(manifest: dict[str, Any]) -> frozenset[str]:
    """Names of all files that the manifest lists, and its own. Raises KeyError, TypeError, AttributeError."""
    names = {str(name) for name in manifest["files"]} | {MANIFEST}
    for entry in manifest["maps"].values():
        names |= {str(entry["file"]), *(str(mip["file"]) for mip in entry["mips"])}
    return frozenset(name for name in names if "\0" not in name)


class _Handler(BaseHTTPRequestHandler):
    """One request to a ResultServer."""

    server: ResultServer
    server_version = "texsynth"
    sys_version = ""
    timeout = 60

    def do_GET(self) -> None:
        """Send one listed file, or the report for `/`."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """The headers of the same."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        host = self.headers.get("Host", "")
        if host not in (f"{ADDRESS}:{self.server.server_port}", f"localhost:{self.server.server_port}"):
            self.send_error(HTTPStatus.FORBIDDEN, "Only this machine is served")
            return
        name = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path.removeprefix("/"))
        try:
            if name == "" and REPORT not in self.server.files:
                self._send(".html", self.server.page(), body)
            elif name.split("/")[0] == LEVELS:
                self._send_levels(name.split("/")[1:], body)
            else:
                self._send_file(name or REPORT, body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the browser went away

    def _send(self, suffix: str, data: bytes, body: bool) -> None:
        self._head(suffix, len(data))
        if body:
            self.wfile.write(data)

    def _send_file(self, name: str, body: bool) -> None:
        path = self.server.out / name
        if not self._may_be_read(name) or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND, "No such file in this result")
            return
        if name == REPORT:
            link = f'<p><a href="/{LEVELS}">Every mip level</a></p>'.encode()
            self._send(path.suffix, path.read_bytes().replace(b"<!--levels-->", link, 1), body)
            return
        with path.open("rb") as file:
            self._head(path.suffix, path.stat().st_size)
            if body:
                shutil.copyfileobj(file, self.wfile, 1 << 18)

    def _send_levels(self, parts: list[str], body: bool) -> None:
        published = self.server.published
        try:
            files = (each["file"] for entry in published.entries.values() for each in (entry, *entry["mips"]))
            if not all(self._may_be_read(str(name)) for name in files):
                data = None
            elif parts:
                data = level_image(published, parts)
            else:
                data = levels_page(self.server.out.resolve().name, published)
        except (TexsynthError, KeyError, TypeError, ValueError) as error:
            _LOG.debug("level %s", parts, exc_info=True)
            reason = str(error) if isinstance(error, TexsynthError) else "material.json is damaged"
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "This level cannot be read", reason)
            return
        if data is None:
            self.send_error(HTTPStatus.NOT_FOUND, "No such level in this result")
        else:
            self._send(".png" if parts else ".html", data, body)

    def _may_be_read(self, name: str) -> bool:
        """The manifest is a file too: one that lists a link or a name outside the folder must not open a way there."""
        path, root = self.server.out / name, self.server.out.resolve()
        return name in self.server.files and path.resolve().is_relative_to(root)

    def _head(self, suffix: str, size: int) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests go to the log, not to the terminal."""
        _LOG.debug(format, *args)
