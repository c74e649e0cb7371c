"""A headset that vanishes without a goodbye: a service and a viewer in two networks, and the line goes down.

    python vanished_headset.py FOLDER

prints how many streams the service counts before and, once that is 0, afterwards. Its path holds benchmarks/, for
`shaped_link`. Needs unshare, nsenter and ip.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from shaped_link import HERE, Link, run_apart
from texsynth_rpc.certificates import Certificates, generate_certificates
from texsynth_rpc.gate import new_token
from texsynth_rpc.server import Settings, serve

from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.stream_client import TextureStream

KEEPALIVE = 1.0  # seconds: the service asks after that time and waits half of it
METRICS = "127.0.0.1:9464"  # nobody else is in this network


def main() -> None:
    folder = Path(sys.argv[1])
    run_apart()
    generate_certificates(folder / "tls", [HERE])
    token = new_token(folder / "tokens.json", "ann", "studio", ("read",))
    with Link() as link:
        service = subprocess.Popen([sys.executable, __file__, str(folder), "serve"], stdout=subprocess.PIPE, text=True)
        assert service.stdout is not None
        address = service.stdout.readline().split()[-1]
        viewer = link.start([sys.executable, __file__, str(folder), "view", address, token])
        assert viewer.stdout is not None
        assert viewer.stdout.readline() == "streams\n"
        print(streams(), flush=True)
        link.break_silently()
        while now := streams():
            time.sleep(0.1)
        print(now, flush=True)
        viewer.kill()
        service.terminate()
        viewer.wait()
        service.wait()


def streams() -> float:
    """How many are open, as the service counts them."""
    with urllib.request.urlopen(f"http://{METRICS}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("texsynth_streams ")).split()[1])


def be_service(folder: Path) -> None:
    tls = folder / "tls"
    shown = Certificates(tls / "server.pem", tls / "server.key")
    tokens, data = folder / "tokens.json", folder / "data"
    serve(
        Settings(
            f"{HERE}:0", data, tokens=tokens, certificates=shown, metrics=METRICS, keepalive=KEEPALIVE
        )
    )  # fmt: skip


async def be_viewer(folder: Path, address: str, token: str) -> None:
    """Of a scene that shows nothing: nothing is on the way when the line goes down."""
    async with AsyncClient(address, token=token, ca=folder / "tls" / "ca.pem") as client:
        async for event in TextureStream(client, "room"):
            if event.WhichOneof("event") == "settled":
                print("streams", flush=True)


if __name__ == "__main__":
    if sys.argv[2:3] == ["serve"]:
        be_service(Path(sys.argv[1]))
    elif sys.argv[2:3] == ["view"]:
        asyncio.run(be_viewer(Path(sys.argv[1]), *sys.argv[3:]))
    else:
        main()
