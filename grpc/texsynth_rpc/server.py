"""`texsynth serve`: the stores, the supervisor and the gRPC server, put together, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import logging
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from grpc import aio
from texsynth.checks import require_choice
from texsynth.errors import TexsynthError, bad_input
from texsynth_rpc.bell import Bell
from texsynth_rpc.calls import Calls
from texsynth_rpc.caretaker import Caretaker
from texsynth_rpc.certificates import Certificates
from texsynth_rpc.database import Database
from texsynth_rpc.devices import worker_environments
from texsynth_rpc.gate import Gate, load_tokens
from texsynth_rpc.jobs import JobStore, Limits
from texsynth_rpc.ledger import Ledger
from texsynth_rpc.lent_models import Models, for_workers
from texsynth_rpc.logs import Format, log_to_stderr
from texsynth_rpc.meters import Meters, on_loop
from texsynth_rpc.objects import ObjectStore
from texsynth_rpc.quota import Quota
from texsynth_rpc.results import Results
from texsynth_rpc.scenes import SceneStore
from texsynth_rpc.services import Assets, Jobs, add
from texsynth_rpc.stream_service import GROWN, Streams, scene_key
from texsynth_rpc.supervisor import Supervisor
from texsynth_rpc.texture_index import TextureIndex
from texsynth_rpc.texture_service import Textures
from texsynth_rpc.v1 import assets_pb2, jobs_pb2, streams_pb2, streams_pb2_grpc, textures_pb2, textures_pb2_grpc
from texsynth_rpc.web import WebGateway

log = logging.getLogger(__name__)

DATABASE = "jobs.sqlite"
CONTRACT = (assets_pb2, jobs_pb2, streams_pb2, textures_pb2)
LARGEST_MESSAGE = 4 << 20
DRAIN = 20.0  # seconds that calls get to end in


@dataclass(frozen=True)
class Settings:
    """listen: HOST:PORT, port 0 for any. data: the folder of everything. tenant_bytes: of one tenant's files, 0: any.
    keep: seconds for which an ended job is kept, 0: for ever. workers: processes, 0: one a GPU, or one. worker_jobs:
    after which one is replaced. metrics:
    HOST:PORT of Prometheus' page. tokens: file of those that are known (None: no token is asked for). certificates:
    what the server shows (None: no encryption). web: HOST:PORT of the page (None: none). keepalive: seconds after which
    a silent client is asked whether it is still there, and half as many that it has to answer in.
    models: the checkpoints that clients may name (`texsynth_rpc.lent_models`).

    Beyond loopback tokens and certificates are needed. Raises TexsynthError(BAD_INPUT).
    """

    listen: str = "127.0.0.1:50051"
    data: Path = Path("texsynth-data")
    limits: Limits = field(default_factory=Limits)
    tenant_bytes: int = 0
    keep: float = 0.0
    workers: int = 0
    worker_jobs: int = 200
    metrics: str | None = None
    log_format: Format = "text"
    tokens: Path | None = None
    certificates: Certificates | None = None
    web: str | None = None
    keepalive: float = 20.0
    models: Models = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._require_trust("listen", self.listen)
        if self.web is not None:
            self._require_trust("web", self.web)
        if self.metrics is not None:
            address_of("metrics", self.metrics)
        require_choice("log-format", self.log_format, get_args(Format))

    def _require_trust(self, option: str, address: str) -> None:
        host, _ = address_of(option, address)
        if not _loopback(host) and (self.tokens is None or self.certificates is None):
            raise bad_input(
                option, f"'{host}' is not loopback", "give --tokens, and --certificate with --key, or use 127.0.0.1"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        return _loopback(address_of("listen", self.listen)[0])


def address_of(name: str, text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT. Raises TexsynthError that names the option."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise bad_input(name, f"got '{text}'", "use HOST:PORT such as 127.0.0.1:50051")
    return host.strip("[]"), int(port)


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
    with (settings.data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            right = "stop that one or use --data"
            raise bad_input(settings.data, "is in use by another texsynth serve", right) from None
        log_to_stderr(settings.log_format)
        database = Database(settings.data / DATABASE)
        try:
            await _Service(settings, database).run()
        finally:
            database.close()


class _Service:
    """All the parts of a service, put together."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._stop, meters, bell = settings, asyncio.Event(), Meters(), Bell()
        gate = Gate(None if settings.tokens is None else load_tokens(settings.tokens))
        objects = ObjectStore(settings.data / "objects")
        ledger, jobs = Ledger(database), JobStore(database, settings.limits, bell.ring)
        told, quota = for_workers(settings.models), Quota(ledger, settings.tenant_bytes)
        workers = {name: own | told for name, own in worker_environments(settings.workers).items()}
        self._supervisor = Supervisor(
            jobs, ledger, objects, settings.data / "work", workers, settings.worker_jobs, meters
        )
        scenes = SceneStore(database, lambda tenant, scene: bell.ring(scene_key(tenant, scene)))
        self._index = index = TextureIndex(objects, jobs, ledger, lambda: bell.ring(GROWN))
        self._caretaker = Caretaker(jobs, ledger, objects, self._supervisor, scenes, settings.keep, index.unfinished)
        self._jobs, self._meters, self._gate = jobs, meters, gate
        self._assets = Assets(objects, ledger, gate, quota, meters)
        self._work = Jobs(
            jobs, objects, ledger, self._supervisor, self._caretaker, bell, gate, quota, self._stop.is_set,
            settings.models,
        )  # fmt: skip
        results = Results(jobs, index, gate)
        self._textures = Textures(objects, jobs, results, meters)
        self._streams = Streams(scenes, results, objects, index, gate, meters, bell, self._stop)
        self._health = health.aio.HealthServicer()
        self._page = None
        if settings.web is not None:
            self._page = WebGateway(settings.web, objects, settings.certificates, open_to_all=settings.tokens is None)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises what ends the supervisor."""
        server = self._server()
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        port = self._bind(server)
        await server.start()
        await self._open_page(server)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        if self._settings.metrics is not None:
            page = address_of("metrics", self._settings.metrics)
            self._meters.serve(*page, lambda: on_loop(self._jobs.counts, loop))
        print(f"texsynth: listening on {self._settings.listen.rpartition(':')[0]}:{port}", flush=True)
        if self._page is not None:
            print(f"texsynth: the page is at {self._page.url}", flush=True)
        working = asyncio.create_task(self._supervisor.run())
        stopped = asyncio.create_task(self._stop.wait())
        beside = [asyncio.create_task(each) for each in (self._caretaker.run(), self._report_health(), self._warm_up())]
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in beside:
            task.cancel()
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        self._stop.set()
        self._index.stop()
        await self._supervisor.stop()
        await asyncio.wait({working}, timeout=DRAIN)  # meanwhile calls are answered, and new work is refused as such
        if self._page is not None:
            await self._page.stop()
        await server.stop(DRAIN)
        await working  # raises what ended it

    def _server(self) -> aio.Server:
        server = aio.server(
            interceptors=[Calls(self._meters), self._gate],
            options=[
                ("grpc.max_receive_message_length", LARGEST_MESSAGE),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
                # whoever vanished is noticed: a headset that left the Wi-Fi says no goodbye
                ("grpc.keepalive_time_ms", int(1e3 * self._settings.keepalive)),
                ("grpc.keepalive_timeout_ms", int(1e3 * self._settings.keepalive / 2)),
                ("grpc.http2.max_pings_without_data", 0),
            ],
        )
        add(server, self._assets, self._work)
        textures_pb2_grpc.add_TextureServiceServicer_to_server(self._textures, server)  # type: ignore[no-untyped-call]
        streams_pb2_grpc.add_StreamServiceServicer_to_server(self._streams, server)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.loopback:
            names = [service.full_name for file in CONTRACT for service in file.DESCRIPTOR.services_by_name.values()]
            reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
        return server

    def _bind(self, server: aio.Server) -> int:
        """The port."""
        listen, shown = self._settings.listen, self._settings.certificates
        if self._page is not None:
            server.add_insecure_port(self._page.socket)
        try:
            if shown is None:
                return int(server.add_insecure_port(listen))
            return int(server.add_secure_port(listen, shown.credentials()))
        except RuntimeError:
            right = "use another port, or stop what uses it"
            raise bad_input("listen", f"{listen} cannot be bound", right) from None

    async def _open_page(self, server: aio.Server) -> None:
        if self._page is not None:
            try:
                await self._page.start()
            except TexsynthError:
                await server.stop(None)
                raise

    async def _warm_up(self) -> None:
        """Once a worker is ready, which is waited for before anything is shown."""
        await self._supervisor.ready.wait()
        await self._index.warm_up()

    async def _report_health(self) -> None:
        """SERVING once a worker is ready, and for good: one that is being replaced does not lose jobs."""
        await self._supervisor.ready.wait()
        if not self._stop.is_set():
            await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
