"""What a process of its own takes: wall and processor seconds, and peak resident memory."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measured_run(command: str, given: str, *options: str) -> dict[str, float]:
    """`texsynth COMMAND GIVEN -o FOLDER OPTIONS`, whose result is thrown away; as `measured_process`."""
    out = Path(tempfile.mkdtemp(prefix="texsynth-benchmark-"))
    try:
        return measured_process("-m", "texsynth", command, given, "-o", str(out), "--json", *options)
    finally:
        shutil.rmtree(out, ignore_errors=True)


def measured_process(*arguments: str) -> dict[str, float]:
    """Of `python ARGUMENTS`: seconds, cpu_seconds, and peak_gb, 10^9 bytes (`ru_maxrss`). Ends the benchmark if it
    fails."""
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(arguments)}: exit status {process.returncode}\n{errors.read().decode()}")
    unit = 1 if sys.platform == "darwin" else 1024
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gb": usage.ru_maxrss * unit / 1e9}
