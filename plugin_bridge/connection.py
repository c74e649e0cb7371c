"""How both clients reach the service: address, encryption, options of the line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Union

from texsynth_rpc.v1 import assets_pb2_grpc, jobs_pb2_grpc, streams_pb2_grpc, textures_pb2_grpc

import grpc

PathLike = Union[str, "os.PathLike[str]"]

# Bytes that the service may send ahead of a reader that stands still. grpc lets twice the lookahead pass, and with its
# own estimate of the line (bdp_probe) much more: 6.8 MB were measured by default, 0.50 MB with these.
WINDOW = 512 << 10
OPTIONS = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),  # retries.py decides
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", WINDOW // 2),
)


HEALTH, SERVING = "/grpc.health.v1.Health/Check", b"\x08\x01"


class Connection:
    """One connection to a service at `server` (HOST:PORT): what both clients are.

    token: secret of a token, sent with every call. ca, certificate, key: PEM files; with any of them the line is
    encrypted, `ca` is whom the server's certificate must be of (else whom this machine trusts), the others are what
    the client shows. patience: seconds during which a lost line is mended, or a full queue waited for. Raises OSError
    and ValueError for PEM files that are not there, or are something else.
    """

    _grpc: Any  # the module whose channels it uses: grpc or grpc.aio

    def __init__(
        self,
        server: str = "127.0.0.1:50051",
        *,
        token: str | None = None,
        ca: PathLike | None = None,
        certificate: PathLike | None = None,
        key: PathLike | None = None,
        patience: float = 60.0,
    ) -> None:
        if ca or certificate or key:
            credentials = _credentials(ca, certificate, key)
            self._channel = self._grpc.secure_channel(server, credentials, OPTIONS)
        else:
            self._channel = self._grpc.insecure_channel(server, OPTIONS)
        self._metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self.patience = patience
        self._assets: Any = assets_pb2_grpc.AssetServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._jobs: Any = jobs_pb2_grpc.JobServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._textures: Any = textures_pb2_grpc.TextureServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._streams: Any = streams_pb2_grpc.StreamServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._health: Any = self._channel.unary_unary(HEALTH)  # its messages are a library's; these bytes say it all

    def open_stream(self) -> Any:
        """The bare call of StreamService.Open to read from and write to, as grpc.aio has it: for `TextureStream`."""
        return self._streams.Open(metadata=self._metadata)


def _credentials(ca: PathLike | None, certificate: PathLike | None, key: PathLike | None) -> grpc.ChannelCredentials:
    """grpc's own check of these files ends the whole process, an editor with it, so they are looked at before."""
    if (certificate is None) != (key is None):
        raise ValueError("certificate and key: one is missing; give both, or none")
    pem = [_pem(ca, b"CERTIFICATE"), _pem(key, b"PRIVATE KEY"), _pem(certificate, b"CERTIFICATE")]
    return grpc.ssl_channel_credentials(*pem)


def _pem(path: PathLike | None, kind: bytes) -> bytes | None:
    if path is None:
        return None
    data = Path(path).read_bytes()
    if not re.search(rb"-----BEGIN [A-Z ]*" + kind + b"-----", data):
        raise ValueError(f"{path}: holds no {kind.decode().lower()}; give a PEM file that has one")
    return data
