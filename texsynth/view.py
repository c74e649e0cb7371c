"""`texsynth view OUT`: a finished result in the browser, served to this machine only.

The server knows the files that material.json lists and nothing else: a request names one of them or gets 404, so there
is no path to traverse. It answers GET and HEAD on 127.0.0.1, and only to a Host of that address, so that a page from
elsewhere cannot reach it under a name of its own.
"""

from __future__ import annotations

import html
import json
import logging
import shutil
import urllib.parse
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from texsynth.errors import bad_input, from_os_error
from texsynth.publish import LARGEST_MANIFEST, MANIFEST

ADDRESS = "127.0.0.1"
REPORT = "report.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".exr": "image/x-exr",
    ".glb": "model/gltf-binary",
}
# The report is one page with styles and images inside; nothing else may load, least of all scripts.
_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_LOG = logging.getLogger(__name__)


def serve(out: Path, port: int = 0, open_browser: bool = True) -> None:
    """Serve the result in `out` until Ctrl-C; port 0 takes any free one. Prints the address, opens a browser.

    Raises TexsynthError: no finished result in `out`, port taken.
    """
    with ResultServer(out, port) as server:
        print(f"{out} is at {server.url} (Ctrl-C ends it)", flush=True)
        if open_browser and not webbrowser.open(server.url):
            print("no browser found here; open the address yourself")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            print()


class ResultServer(ThreadingHTTPServer):
    """Serves the listed files of one result folder at `url`; use `serve_forever` and `shutdown` as in socketserver."""

    daemon_threads = True

    def __init__(self, out: Path, port: int = 0) -> None:
        self.out = out
        self.files = _listed(out)
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
        return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><ul>{links}</ul>'.encode()


def _listed(out: Path) -> frozenset[str]:
    """Names of all files that the manifest in `out` lists, and its own."""
    try:
        with (out / MANIFEST).open("rb") as file:
            data = file.read(LARGEST_MANIFEST + 1)
        if len(data) > LARGEST_MANIFEST:
            raise ValueError("too large")
        manifest: dict[str, Any] = json.loads(data)
        names = {str(name) for name in manifest["files"]} | {MANIFEST}
        for entry in manifest["maps"].values():
            names |= {str(entry["file"]), *(str(mip["file"]) for mip in entry["mips"])}
    except FileNotFoundError:
        right = "give the folder that was given as -o, after the run has finished"
        raise bad_input(out, f"holds no finished result ({MANIFEST} is missing)", right) from None
    except OSError as error:
        raise from_os_error(error, out / MANIFEST) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise bad_input(out / MANIFEST, "is damaged", "run texsynth verify on the folder, then make it again") from None
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
        if name == "":
            if REPORT not in self.server.files:
                page = self.server.page()
                self._head(".html", len(page))
                if body:
                    self.wfile.write(page)
                return
            name = REPORT
        path = self.server.out / name
        # The manifest is a file too: one that lists a link or a name outside the folder must not open a way there.
        listed = name in self.server.files
        if not listed or not path.resolve().is_relative_to(self.server.out.resolve()) or not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND, "No such file in this result")
            return
        try:
            with path.open("rb") as file:
                self._head(path.suffix, path.stat().st_size)
                if body:
                    shutil.copyfileobj(file, self.wfile, 1 << 18)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the browser went away

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
