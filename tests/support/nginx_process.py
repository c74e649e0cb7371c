"""nginx with deploy/nginx.conf, on loopback, in front of a service."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"


@contextlib.contextmanager
def proxied(folder: Path, tls: Path, *, address: str, page: str = "127.0.0.1:8080") -> Iterator[int]:
    """The port of the proxy. folder: for its files. tls: the certificates. address, page: where the service listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    block = (DEPLOY / "nginx.conf").read_text()
    block = block.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl").replace("/etc/texsynth/", f"{tls}/")
    block = block.replace("grpc://127.0.0.1:50051", f"grpc://{address}").replace("127.0.0.1:8080", page)
    logs = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = f"pid {folder}/pid; daemon off; events {{}} http {{ access_log off; {logs} {block} }}"
    (folder / "nginx.conf").write_text(whole)
    command = ["nginx", "-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    proxy = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        proxy.terminate()
        proxy.wait(30)
