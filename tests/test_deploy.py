"""What lies in deploy/: nginx with a job through it, systemd's own check, and what Docker's files name."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from nginx_process import DEPLOY, proxied
from service_process import QUICK, ROOT, serving
from texsynth_rpc.certificates import generate_certificates

from plugin_bridge.client import Client
from texsynth.cli import app
from texsynth.train.procedural import generate, write


def serve_options() -> set[str]:
    command = typer.main.get_command(app)
    return {option for parameter in command.commands["serve"].params for option in parameter.opts}


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_a_job_passes_through_nginx_with_its_encryption(tmp_path: Path) -> None:
    write(generate("gravel", 96, 1), tmp_path / "gravel")
    tls = tmp_path / "tls"
    generate_certificates(tls, ["localhost", "127.0.0.1"])
    with (
        serving(tmp_path / "data") as server,
        proxied(tmp_path, tls, address=server.address) as port,
        Client(f"127.0.0.1:{port}", ca=tls / "ca.pem", patience=20) as client,
    ):
        job = client.wait(client.synthesize(tmp_path / "gravel", **QUICK).id)
        assert len(client.fetch(job.id, tmp_path / "out")) == len(job.files)
        large = tmp_path / "large.bin"
        large.write_bytes(bytes(3 << 20))
        client.upload(large)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "texsynth.service"
    unit.write_text((DEPLOY / "texsynth.service").read_text().replace("/opt/texsynth/bin/texsynth", "/bin/true"))
    told = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.jetson", "texsynth.service"])
def test_the_command_that_is_started_has_these_options(name: str) -> None:
    text = (DEPLOY / name).read_text().replace("\\\n", " ")
    lines = re.findall(r"^(?:ENTRYPOINT|CMD|ExecStart=)(.*)$", text, re.MULTILINE)
    words = shlex.split(" ".join(lines))
    given = {word.strip('[],"') for word in words if word.strip('[],"').startswith("--")} - {"--"}
    assert given
    assert given <= serve_options()


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.jetson"])
def test_an_image_gets_every_package_that_is_built(name: str) -> None:
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (DEPLOY / name).read_text(), re.MULTILINE)
    names = {word for line in copied for word in line.split()}
    assert {"texsynth", "mipmap", "plugin_bridge", "grpc", "pyproject.toml", "README.md"} == names
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not names & set(ignored)
    assert all((ROOT / word).exists() for word in names)
