"""Which worker processes there are: one a GPU, or one on the CPU with all cores."""

from __future__ import annotations

import os
import shutil
import subprocess

from mipmap.encode import usable_cores

VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")


def worker_environments(count: int = 0) -> dict[str, dict[str, str]]:
    """The environment variables of each worker, by its name. count: of workers; 0: as many as there are GPUs, else 1.

    Workers that share the CPU share its cores; workers that share GPUs take turns among them.
    """
    gpus = visible_gpus()
    count = count or len(gpus) or 1
    if gpus:
        return {f"gpu{gpus[k % len(gpus)]}.{k}": {VISIBLE: gpus[k % len(gpus)]} for k in range(count)}
    threads = str(max(1, usable_cores() // count))
    share = dict.fromkeys(THREADS, threads) if count > 1 else {}
    return {f"cpu.{k}": share for k in range(count)}


def visible_gpus() -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name: from the variable itself, else from nvidia-smi (costs no CUDA context)."""
    if VISIBLE in os.environ:
        return [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip() not in ("", "-1")]
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return []
    try:
        told = subprocess.run([smi, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(k) for k in range(sum(line.startswith("GPU ") for line in told.stdout.splitlines()))]
