"""A headset that leaves the network without a word."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from service_process import ROOT

APART = ["unshare", "--user", "--map-root-user", "--net", "true"]
GENEROUS = 25  # seconds: a service that asked after 20 as by default would take 30


def test_a_vanished_headset_is_noticed_and_its_stream_is_freed(tmp_path: Path) -> None:
    try:
        allowed = subprocess.run(APART, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("network namespaces are not allowed here")
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "grpc", "benchmarks"))
    program = [sys.executable, str(ROOT / "tests" / "support" / "vanished_headset.py"), str(tmp_path)]
    with subprocess.Popen(
        program, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "1.0\n"
            assert process.communicate(timeout=GENEROUS)[0] == "0.0\n"
        finally:
            with contextlib.suppress(ProcessLookupError):  # all has ended
                os.killpg(process.pid, signal.SIGKILL)
