"""`texsynth serve --web`: the page and its way to the service, on the service's own loop.

The page's files are read once, when it starts; no request ever names a path. Calls go to the gRPC server over a socket
that only this user can reach, with the token that the browser sent.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import logging
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc import aio
from texsynth.errors import bad_input
from texsynth_rpc.certificates import Certificates
from texsynth_rpc.gate import SCOPES
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.transcoding import PREFIX, Refused, Transcoder, methods
from texsynth_rpc.web_files import Files
from texsynth_rpc.web_levels import Levels
from texsynth_rpc.web_streams import Streams

log = logging.getLogger(__name__)

LARGEST_BODY = 4 << 20  # of a request in JSON, as of a message of gRPC
LARGEST_ANSWER = 64 << 20  # of the service's own
ENDING = 5.0  # seconds that transfers get to end in
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob:; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
VIEWER_PAGE = "xr.html"
VIEWER_POLICY = PAGE_POLICY.replace("trusted-types 'none'", "trusted-types texsynth-worker")
"""Its worker is a script by URL, which only the policy of this name may make."""
REPORT_PAGE = "report.html"
"""A document without an origin that shows a report; its only script is the inline one that receives it."""
SECURITY = {
    "Server": "texsynth",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
LOCAL = ("127.0.0.1", "localhost", "[::1]")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class _PageFile:
    data: bytes
    packed: bytes
    headers: dict[str, str]


def page_files() -> dict[str, _PageFile]:
    """The files of the page by their URL. Raises FileNotFoundError where the package was built without them."""
    found = {}
    for file in resources.files("texsynth_rpc").joinpath("page").iterdir():
        data, suffix = file.read_bytes(), file.name[file.name.rfind(".") :]
        headers = {
            "Content-Type": _TYPES[suffix],
            "Content-Security-Policy": _policy(file.name, data),
            "Cache-Control": "no-cache",
            "ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"',
            "Vary": "Accept-Encoding",
        }
        found["/" if file.name == "index.html" else f"/{file.name}"] = _PageFile(data, gzip.compress(data), headers)
    return found


def _policy(name: str, page: bytes) -> str:
    return _report_policy(page) if name == REPORT_PAGE else VIEWER_POLICY if name == VIEWER_PAGE else PAGE_POLICY


def _report_policy(page: bytes) -> str:
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-scripts"
    )


class WebGateway:
    """Serves the page at `address` (HOST:PORT). open_to_all: no token is asked for, so only this machine's own pages
    may call. Use: `socket` is to be a port of the gRPC server; `start` after it, `stop` before it."""

    def __init__(
        self, address: str, objects: ObjectStore, certificates: Certificates | None, *, open_to_all: bool
    ) -> None:
        self._host, _, port = address.rpartition(":")
        self._port, self._certificates, self._open = int(port), certificates, open_to_all
        self._objects = objects
        # not in the data folder: the name of a socket has 107 bytes at most
        self._folder = tempfile.TemporaryDirectory(prefix="texsynth-")  # mode 0700
        self._ending = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._channel: aio.Channel | None = None

    @property
    def socket(self) -> str:
        """The address for the gRPC server to listen at, without encryption."""
        return f"unix:{self._folder.name}/grpc"

    @property
    def url(self) -> str:
        """Of the page, once it is started."""
        assert self._runner is not None
        port = self._runner.addresses[0][1]
        return f"http{'' if self._certificates is None else 's'}://{self._host}:{port}/"

    async def start(self) -> None:
        """Listen. Raises TexsynthError."""
        limits = [("grpc.max_receive_message_length", LARGEST_ANSWER), ("grpc.enable_http_proxy", 0)]
        self._channel = aio.insecure_channel(self.socket, options=limits)
        app = web.Application(client_max_size=LARGEST_BODY, middlewares=[self._guard])
        app.on_response_prepare.append(_secured)
        files, levels = Files(self._channel), Levels(self._channel, self._objects)
        app.router.add_get("/healthz", _alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/files/{digest}", files.get)
        app.router.add_put("/files/{digest}", files.put)
        app.router.add_get(r"/levels/{job:[0-9a-f-]+}/{kind:[a-z]+}/{level:\d{1,2}}", levels.get)
        app.router.add_get("/stream", Streams(self._channel, self._ending).get)
        app.router.add_post(
            PREFIX + "/{service}/{method}", Transcoder(self._channel, methods(SCOPES), self._ending).answer
        )
        for path, file in page_files().items():
            app.router.add_get(path, _page_handler(file))
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=ENDING)
        await self._runner.setup()
        secure = None if self._certificates is None else _ssl_context(self._certificates)
        try:
            site = web.TCPSite(self._runner, self._host.strip("[]"), self._port, ssl_context=secure)
            await site.start()
        except OSError as error:
            await self.stop()
            what = f"{self._host}:{self._port} cannot be bound ({os.strerror(error.errno or 0)})"
            raise bad_input("web", what, "use another port, or stop what uses it") from None

    async def stop(self) -> None:
        """End streams at once and transfers soon."""
        self._ending.set()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._channel is not None:
            await self._channel.close()
        self._folder.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuses what comes from elsewhere; every error is JSON; every answer says what browsers may do with it."""
        try:
            self._check_origin(request)
            response = await handler(request)
        except Refused as error:
            response = error.response()
        except web.HTTPException as error:
            code = {404: "NOT_FOUND", 405: "UNIMPLEMENTED", 413: "INVALID_ARGUMENT"}.get(error.status, "UNKNOWN")
            response = Refused(code, error.reason, f"HTTP_{error.status}", status=error.status).response()
            response.headers.update({k: v for k, v in error.headers.items() if k == "Allow"})
        except (ConnectionError, TimeoutError):
            raise  # the client went away
        except Exception:
            log.exception("%s %s", request.method, request.path)
            response = Refused("INTERNAL", "a defect of texsynth; the server's log has more", "INTERNAL").response()
        return response

    def _check_origin(self, request: web.Request) -> None:
        if not self._open:
            return  # nobody else has the token, and behind a proxy the names are its own
        host = request.headers.get("Host", "")
        if _name(host) not in (*LOCAL, self._host):
            # a name that was made to point here would let its page read all
            raise Refused("PERMISSION_DENIED", "only this machine's own names are served", "HOST", status=403)
        origin = request.headers.get("Origin")
        foreign = origin is not None and urlsplit(origin).netloc != host
        # a WebSocket is a GET that does more than read, and browsers open it for any page
        acts = request.method not in ("GET", "HEAD") or "Upgrade" in request.headers
        if acts and foreign:
            raise Refused("PERMISSION_DENIED", "a page from elsewhere may not call this service", "ORIGIN", status=403)

    async def _ready(self, _: web.Request) -> web.Response:
        stub = health_pb2_grpc.HealthStub(self._channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest())
        except aio.AioRpcError:
            answer = None
        ready = answer is not None and answer.status == health_pb2.HealthCheckResponse.SERVING
        return web.json_response({"ready": ready}, status=200 if ready else 503)


async def _alive(_: web.Request) -> web.Response:
    return web.json_response({"live": True})


def _page_handler(file: _PageFile) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        if file.headers["ETag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=file.headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=file.packed, headers={**file.headers, "Content-Encoding": "gzip"})
        return web.Response(body=file.data, headers=file.headers)

    return answer


async def _secured(_: web.Request, response: web.StreamResponse) -> None:
    """Called before each answer's headers are sent."""
    response.headers.update(SECURITY)
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; sandbox")
    response.headers.setdefault("Cache-Control", "no-store")


def _name(host: str) -> str:
    """Of a Host header, without the port."""
    return host if host.endswith("]") else host.rpartition(":")[0] or host


def _ssl_context(files: Certificates) -> ssl.SSLContext:
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.chain, files.key)
    if files.client_ca is not None:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context  # type: ignore[no-any-return]
