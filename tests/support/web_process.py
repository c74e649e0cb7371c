"""A `texsynth serve --web` in a process of its own, one who calls it over HTTP, and the browser of the tests."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import service_process

WEB = service_process.ROOT / "tests" / "web"
QUICK = {"size": 64, "preset": "draft"}
JSON = {"Content-Type": "application/json"}
JOBS = "/rpc/texsynth.v1.JobService"
Answer = tuple[int, bytes, dict[str, str]]


def module(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


browser = module(WEB / "browser.py")


class Server(service_process.Server):
    """A `texsynth serve --web` of its own, and one who calls it."""

    def __init__(self, data: Path, *more: str, tls: Path | None = None, token: str | None = None) -> None:
        super().__init__(data, "--web", "127.0.0.1:0", *more)
        self._token = token
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert "the page is at" in line, line
        self.url = line.split()[-1]
        self.host = self.url.split("/")[2]
        self._tls = None if tls is None else ssl.create_default_context(cafile=tls / "ca.pem")

    def connect(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self.host, timeout=60, context=self._tls)
        return http.client.HTTPConnection(self.host, timeout=60)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """One request; its status, body and headers (names in lower case)."""
        token = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, body, token | (headers or {}))
            response = connection.getresponse()
            return response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}

    def call(self, method: str, **fields: Any) -> Any:
        """A method of JobService that succeeds."""
        status, body, _ = self.ask("POST", f"{JOBS}/{method}", json.dumps(fields), JSON)
        assert status == 200, body
        return json.loads(body)

    def upload(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        status, body, _ = self.ask("PUT", f"/files/{digest}", data)
        assert (status, json.loads(body)) == (200, {"asset": {"sha256": digest, "size": str(len(data))}})
        return digest

    def submit(self, folder: Path, name: str, **options: Any) -> str:
        files = [{"name": path.name, "sha256": self.upload(path.read_bytes())} for path in sorted(folder.iterdir())]
        work = {"synthesize": {"exemplar": {"files": files}, "options": QUICK | options}}
        return str(self.call("Submit", request_id=name, work=work)["job"]["id"])

    def watch(self, job: str, start: int = 0) -> list[Any]:
        """The lines of a stream until it ends."""
        status, body, headers = self.ask("POST", f"{JOBS}/Watch", json.dumps({"id": job, "from_event": start}), JSON)
        assert (status, headers["content-type"]) == (200, "application/x-ndjson")
        return [json.loads(line) for line in body.splitlines() if line]

    def finished(self, folder: Path, name: str, **options: Any) -> Any:
        """A job that has succeeded."""
        job = self.submit(folder, name, **options)
        assert self.watch(job)[-1]["result"]["state"]["state"] == "JOB_STATE_SUCCEEDED"
        return self.call("Get", id=job)["job"]


@contextlib.contextmanager
def serving(data: Path, *more: str, tls: Path | None = None, token: str | None = None) -> Iterator[Server]:
    server = Server(data, *more, tls=tls, token=token)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
