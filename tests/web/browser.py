"""Runs page.html in headless Chromium and takes what it sends back.

The page and its files are served on loopback, and the page itself posts its result: so no driver has to match the
browser's version. Chromium draws with SwiftShader, its own software renderer, which needs neither a GPU nor a display.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers; only our own page is opened
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-dev-shm-usage",  # containers have 64 MB there
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-port=0",  # without it some versions end as soon as the page is there
)


@cache
def chromium() -> str | None:
    """A Chromium or Chrome that starts: the variable CHROMIUM, else of the search path, else the one unpacked here."""
    for name in filter(None, (os.environ.get("CHROMIUM"), *NAMES, HERE / "chromium" / "unpacked" / "chromium")):
        path = shutil.which(name)
        # Ubuntu's chromium-browser may be a script that only tells of its snap.
        if path and subprocess.run([path, "--version"], capture_output=True, check=False).returncode == 0:
            return path
    return None


def node() -> str | None:
    """Node.js of the search path, else the one beside this Python."""
    return shutil.which("node") or shutil.which("node", path=Path(sys.executable).parent)


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript", ".mjs": "text/javascript"}

    def __init__(self, *args: Any, served: Mapping[str, bytes], results: "Queue[Any]", **kwargs: Any) -> None:
        self._served, self._results = served, results
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        body = self._served.get(self.path)
        if body is None:
            super().do_GET()
        else:
            self._answer(body)

    def do_POST(self) -> None:
        self._results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def render(files: Mapping[str, tuple[bytes, int]], timeout: float = 120) -> dict[str, Any]:
    """What page.mjs sends back for KTX2 files by name, each with the level to render.

    Raises RuntimeError, with the end of Chromium's own messages, where no result comes within `timeout` seconds or the
    page fails as a whole; what fails for one file stands in its own result.
    """
    program = chromium()
    if program is None:
        raise RuntimeError(f"none of {', '.join(NAMES)} is there and starts")
    cases = [{"name": name, "url": f"files/{name}.ktx2", "level": level} for name, (_, level) in files.items()]
    served = {f"/files/{name}.ktx2": data for name, (data, _) in files.items()}
    served["/cases.json"] = json.dumps(cases).encode()
    results: Queue[Any] = Queue()
    handler = partial(_Handler, directory=str(HERE), served=served, results=results)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, tempfile.TemporaryDirectory() as folder:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/page.html"
            result = _result_of(
                [program, *FLAGS, f"--user-data-dir={folder}/profile", url], Path(folder), results, timeout
            )
        finally:
            server.shutdown()
    if "error" in result:
        raise RuntimeError(f"the page failed: {result['error']}")
    return dict(result)


def _result_of(command: list[str], folder: Path, results: "Queue[Any]", timeout: float) -> Any:
    messages = folder / "messages"
    with messages.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(round(timeout * 4)):
            try:
                return results.get(timeout=0.25)
            except Empty:
                if process.poll() is not None:
                    break
        state = "still runs" if process.poll() is None else f"ended with {process.returncode}"
        raise RuntimeError(
            f"no result from {command[0]}, which {state}: {messages.read_text(errors='replace')[-2000:]}"
        )
    finally:
        # Its whole session, for the renderers are processes of their own and write into the folder till they end.
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
