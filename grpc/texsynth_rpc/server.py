"""`texsynth serve`: the stores, the supervisor and the gRPC server, put together, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import logging
import signal
from dataclasses import dataclass
from pathlib import Path

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from grpc import aio
from texsynth.errors import TexsynthError, bad_input
from texsynth_rpc.certificates import Certificates
from texsynth_rpc.gate import Gate, load_tokens
from texsynth_rpc.jobs import JobStore
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.services import Assets, Bell, Jobs, add
from texsynth_rpc.supervisor import Supervisor
from texsynth_rpc.v1 import assets_pb2, jobs_pb2
from texsynth_rpc.web import WebGateway

log = logging.getLogger(__name__)

LARGEST_MESSAGE = 4 << 20
DRAIN = 20.0  # seconds that calls get to end in


@dataclass(frozen=True)
class Settings:
    """listen: HOST:PORT, port 0 for any. data: the folder of everything. queue: jobs that may wait. tokens: file of
    those that are known (None: no token is asked for). certificates: what the server shows (None: no encryption).

    web: HOST:PORT of the page (None: no page). Beyond loopback tokens and certificates are needed.
    Raises TexsynthError(BAD_INPUT).
    """

    listen: str = "127.0.0.1:50051"
    data: Path = Path("texsynth-data")
    queue: int = 1000
    tokens: Path | None = None
    certificates: Certificates | None = None
    web: str | None = None

    def __post_init__(self) -> None:
        self._check("listen", self.listen, 50051)
        if self.web is not None:
            self._check("web", self.web, 8080)

    def _check(self, option: str, address: str, example: int) -> None:
        host, colon, port = address.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise bad_input(option, f"got '{address}'", f"use HOST:PORT such as 127.0.0.1:{example}")
        if not _loopback(host.strip("[]")) and (self.tokens is None or self.certificates is None):
            raise bad_input(
                option, f"'{host}' is not loopback", "give --tokens, and --certificate with --key, or use 127.0.0.1"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return _loopback(self.listen.rpartition(":")[0].strip("[]"))


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then drain. Raises TexsynthError for a folder in use or a taken port."""
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    settings.data.mkdir(parents=True, exist_ok=True)
    lock = (settings.data / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise bad_input(settings.data, "is in use by another texsynth serve", "stop that one or use --data") from None
    bell, gate = Bell(), Gate(None if settings.tokens is None else load_tokens(settings.tokens))
    credentials = None if settings.certificates is None else settings.certificates.credentials()
    objects = ObjectStore(settings.data / "objects")
    jobs = JobStore(settings.data / "jobs.sqlite", settings.queue, bell.ring)
    supervisor = Supervisor(jobs, objects, settings.data / "work")
    stop = asyncio.Event()
    server = aio.server(
        interceptors=[gate],
        options=[
            ("grpc.max_receive_message_length", LARGEST_MESSAGE),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
        ],
    )
    add(server, Assets(objects, jobs, gate), Jobs(jobs, objects, supervisor, bell, gate, stop.is_set))
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if settings.loopback:
        names = [s.full_name for f in (assets_pb2, jobs_pb2) for s in f.DESCRIPTOR.services_by_name.values()]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    await healthy.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    page = _gateway(settings, objects)
    if page is not None:
        server.add_insecure_port(page.socket)
    try:
        port = (
            server.add_insecure_port(settings.listen)
            if credentials is None
            else server.add_secure_port(settings.listen, credentials)
        )
    except RuntimeError:
        raise bad_input(
            "listen", f"{settings.listen} cannot be bound", "use another port, or stop what uses it"
        ) from None
    await _start(server, page)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host = settings.listen.rpartition(":")[0]
    print(f"texsynth: listening on {host}:{port}", flush=True)
    if page is not None:
        print(f"texsynth: the page is at {page.url}", flush=True)
    working = asyncio.create_task(supervisor.run())
    watching = asyncio.create_task(_report_health(healthy, supervisor, stop))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
    watching.cancel()
    await healthy.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    stop.set()
    await supervisor.stop()
    if page is not None:
        await page.stop()
    await server.stop(DRAIN)
    await working  # raises what ended it
    jobs.close()
    lock.close()


def _gateway(settings: Settings, objects: ObjectStore) -> WebGateway | None:
    if settings.web is None:
        return None
    return WebGateway(settings.web, objects, settings.certificates, open_to_all=settings.tokens is None)


async def _start(server: aio.Server, page: WebGateway | None) -> None:
    await server.start()
    if page is not None:
        try:
            await page.start()
        except TexsynthError:
            await server.stop(None)
            raise


async def _report_health(healthy: health.aio.HealthServicer, supervisor: Supervisor, stop: asyncio.Event) -> None:
    """SERVING once the worker is ready, and for good: a worker that is being replaced does not lose jobs."""
    await supervisor.ready.wait()
    if not stop.is_set():
        await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
