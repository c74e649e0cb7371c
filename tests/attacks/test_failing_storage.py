"""Every call of the storage fails once, and once for good, for Python and SQLite alike; the service lives on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from service_process import QUICK, ROOT, Server

import grpc
from plugin_bridge.client import Client, JobFailed, ServiceError
from texsynth.train.procedural import generate, write

SUPPORT = ROOT / "tests" / "support"
COMPILER = shutil.which("cc")
pytestmark = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="needs a C compiler on Linux")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shim") / "failing_io.so"
    source = SUPPORT / "failing_io.c"
    subprocess.run([str(COMPILER), "-O1", "-Wall", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


@pytest.mark.parametrize(("often", "code"), [("once", "EIO"), ("ever", "ENOSPC")])
def test_no_failing_call_leaves_anything_half_done(shim: Path, tmp_path: Path, often: str, code: str) -> None:
    folder = tmp_path / "data"
    environment = os.environ | {
        "LD_PRELOAD": str(shim), "FAILING_FOLDER": str(folder), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'grpc'}",
    }  # fmt: skip
    command = [sys.executable, str(SUPPORT / "storage_scenario.py"), str(folder), often, code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["calls"] > 100
    assert set(told["came_up"]) >= {"OSError", "OperationalError"}


@pytest.mark.parametrize(("number", "often"), [(60, 0), (90, 1)])
def test_a_service_whose_storage_fails_says_so_and_lives(shim: Path, tmp_path: Path, number: int, often: int) -> None:
    data = tmp_path / "data"
    write(generate("gravel", 96, 1), tmp_path / "gravel")
    program = """if True:
        import ctypes, os, sys, threading
        from texsynth.cli import main
        shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
        def obey():
            for line in sys.stdin:
                shim.fail_at(*map(int, line.split()))
                print("obeyed", flush=True)
        threading.Thread(target=obey, daemon=True).start()
        sys.exit(main(sys.argv[1:]))
    """
    environment = {"LD_PRELOAD": str(shim), "FAILING_FOLDER": str(data)}
    server = Server(data, environment=environment, program=["-c", program])
    try:
        with Client(server.address, patience=2) as client:
            client.wait(client.synthesize(tmp_path / "gravel", **QUICK, seed=1).id)
            obeyed(server, f"{number} {errno.EIO} {often}")
            taken, failures = [], []
            for seed in range(2, 6):
                try:
                    taken.append(client.synthesize(tmp_path / "gravel", **QUICK, seed=seed).id)
                    time.sleep(1)  # some of it is done
                except ServiceError as error:
                    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
                    failures.append(str(error))
            obeyed(server, "0 0 0")
            for job in taken:
                try:
                    client.wait(job)
                except JobFailed as failed:
                    failures.append(str(failed))
            done = client.wait(client.synthesize(tmp_path / "gravel", **QUICK, seed=9).id)
            client.fetch(done.id, tmp_path / "out")
        assert failures or not often
        assert all("disk" in failure and "\n" not in failure for failure in failures)
    finally:
        assert server.stop() == 0


def obeyed(server: Server, line: str) -> None:
    """Say it and wait until it is done."""
    server.say(line)
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == "obeyed\n"
