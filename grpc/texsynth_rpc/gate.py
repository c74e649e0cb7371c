"""Who may call what: bearer tokens with scopes, each of one tenant, known to the server by their SHA-256 alone.

The file of tokens is JSON: a list of {"name", "tenant", "scopes", "sha256"}. `texsynth serve --new-token` makes one and
shows it once. Without a file everyone is the same tenant, which is for loopback only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from google.rpc import code_pb2

import grpc
from mipmap.atomic import atomic_file
from texsynth.errors import bad_input
from texsynth_rpc.failures import Context, refuse

audit = logging.getLogger("texsynth.audit")

READ, WRITE = "read", "write"
SCOPES = {
    "/texsynth.v1.AssetService/Upload": WRITE,
    "/texsynth.v1.AssetService/Download": READ,
    "/texsynth.v1.AssetService/Describe": READ,
    "/texsynth.v1.JobService/Submit": WRITE,
    "/texsynth.v1.JobService/Get": READ,
    "/texsynth.v1.JobService/List": READ,
    "/texsynth.v1.JobService/Watch": READ,
    "/texsynth.v1.JobService/Cancel": WRITE,
    "/texsynth.v1.JobService/Retry": WRITE,
    "/texsynth.v1.JobService/Delete": WRITE,
    "/texsynth.v1.JobService/ListModels": READ,
    "/texsynth.v1.TextureService/GetManifest": READ,
    "/texsynth.v1.TextureService/GetReport": READ,
    "/texsynth.v1.TextureService/Fetch": READ,
    "/texsynth.v1.StreamService/Show": WRITE,
    "/texsynth.v1.StreamService/Hide": WRITE,
    "/texsynth.v1.StreamService/GetScene": READ,
    "/texsynth.v1.StreamService/Open": READ,
}
# Whether the service lives and is ready is told to everyone; reflection is there on loopback only.
OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.")
DEFAULT_TENANT = "default"
KEY = "authorization"
SCHEME = "Bearer "


@dataclass(frozen=True)
class Token:
    """name: for the log. sha256: of the secret."""

    name: str
    tenant: str
    scopes: tuple[str, ...]
    sha256: str


ANYONE = Token("anyone", DEFAULT_TENANT, (READ, WRITE), "")


class Gate(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Lets calls through whose token has the method's scope. tokens None: all calls, as ANYONE."""

    def __init__(self, tokens: Iterable[Token] | None) -> None:
        self._tokens = None if tokens is None else list(tokens)

    def caller(self, metadata: Iterable[tuple[str, str | bytes]]) -> Token | None:
        """Whose secret the call's metadata holds."""
        if self._tokens is None:
            return ANYONE
        given = next((str(value) for key, value in metadata if key == KEY), "")
        digest = hashlib.sha256(given.removeprefix(SCHEME).encode()).hexdigest()
        found = None
        for token in self._tokens:  # all of them, whichever matches
            if hmac.compare_digest(token.sha256, digest) and given.startswith(SCHEME):
                found = token
        return found

    def tenant(self, context: Context) -> str:
        """Whose call this is; only of calls that were let through."""
        caller = self.caller(context.invocation_metadata())
        assert caller is not None
        return caller.tenant

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Called by grpc for every call."""
        method = handler_call_details.method
        if method.startswith(OPEN):
            return await continuation(handler_call_details)
        caller, scope = self.caller(handler_call_details.invocation_metadata), SCOPES.get(method)
        if caller is None:
            return _refusing(code_pb2.UNAUTHENTICATED, "the call has no token that is known here", "NO_TOKEN")
        if scope is None or scope not in caller.scopes:
            audit.warning("%s of %s was refused %s", caller.name, caller.tenant, method)
            return _refusing(code_pb2.PERMISSION_DENIED, f"the token may not {scope or 'call this'}", "NO_SCOPE")
        if scope == WRITE:
            audit.info("%s of %s calls %s", caller.name, caller.tenant, method)
        return await continuation(handler_call_details)


def _refusing(code: int, message: str, reason: str) -> Any:
    async def handler(_: Any, context: Context) -> None:
        await refuse(context, code, message, reason=reason)

    return grpc.unary_unary_rpc_method_handler(handler)


def load_tokens(path: Path) -> list[Token]:
    """The tokens in a file. Raises TexsynthError for a file that is none."""
    try:
        return [Token(t["name"], t["tenant"], tuple(t["scopes"]), t["sha256"]) for t in json.loads(path.read_text())]
    except OSError as error:
        raise bad_input(path, error.strerror or "cannot be read", "make one with --new-token") from None
    except (ValueError, TypeError, KeyError):
        raise bad_input(path, "is no file of tokens", "make one with --new-token NAME") from None


def new_token(path: Path, name: str, tenant: str, scopes: tuple[str, ...]) -> str:
    """Add a token to the file at `path`, which only its owner may read; returns the secret, which nobody keeps."""
    for scope in scopes:
        if scope not in (READ, WRITE):
            raise bad_input("scopes", f"'{scope}' is none", f"use {READ} or {WRITE}")
    known = load_tokens(path) if path.exists() else []
    secret = secrets.token_urlsafe(32)
    known.append(Token(name, tenant, scopes, hashlib.sha256(secret.encode()).hexdigest()))
    with atomic_file(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(json.dumps([asdict(token) for token in known], indent=2).encode())
    return secret
