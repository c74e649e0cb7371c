"""`texsynth doctor`: what this machine can do, what is missing, and what to do about it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from texsynth.processor import FEATURES, multiplies_bfloat16, processor_flags

OLDEST_PYTHON = (3, 11)
# An 8K run keeps raw canvases (0.5 GB for three maps) beside its checkpoints and the published files with their mips.
DISK_FOR_8K_GB = 3.0
# The bar for 8K is 4 GB resident; less memory still serves smaller sizes.
MEMORY_FOR_8K_GB = 4.0
MEMORY_AT_LEAST_GB = 1.5
# The libraries of the main job: the module, the distribution that brings it, and what it is there for.
LIBRARIES = (
    ("numpy", "numpy", "arrays"),
    ("scipy", "scipy", "filters"),
    ("numba", "numba", "compiled kernels"),
    ("PIL", "pillow", "PNG, JPEG and WebP"),
    ("cv2", "opencv-python-headless", "16-bit PNG and Radiance HDR"),
    ("tifffile", "tifffile", "TIFF"),
    ("OpenEXR", "OpenEXR", "EXR"),
    ("isal", "isal", "compression"),
    ("astc_encoder", "astc-encoder-py", "ASTC"),
    ("ispc_texcomp", "ispc-texcomp", "BC7, BC5 and BC4"),
    ("etcpak", "etcpak", "ETC2 and EAC"),
    ("texture2ddecoder", "texture2ddecoder", "reading blocks back"),
    ("zstandard", "zstandard", "zstd in KTX2"),
    ("google_crc32c", "google-crc32c", "CRC-32C of chunks"),
    ("safetensors", "safetensors", "weights of models"),
    ("trimesh", "trimesh", "meshes"),
    ("grpc", "grpcio", "the service"),
    ("grpc_health", "grpcio-health-checking", "health of the service"),
    ("grpc_status", "grpcio-status", "errors of the service"),
    ("aiohttp", "aiohttp", "the service's web page"),
    ("cryptography", "cryptography", "certificates of the service"),
    ("prometheus_client", "prometheus-client", "figures of the service"),
)
# What an extra brings: the name of what it is for, the module, and the remedy where it is absent.
EXTRAS = (
    ("Stable Diffusion", "diffusers", "optional, for --model FOLDER: pip install 'texsynth[diffusers]'"),
    ("TensorRT", "tensorrt", "optional, for NVIDIA devices: pip install 'texsynth[tensorrt]'"),
    ("Ray", "ray", "optional, for baking on a cluster: pip install 'texsynth[cluster]'"),
    ("xatlas", "xatlas", "optional, for meshes without UVs: pip install 'texsynth[unwrap]'"),
    ("S3", "s3fs", "optional, for baking from and to s3:// URLs: pip install 'texsynth[cluster]'"),
)
_PROBE_TIMEOUT_S = 30


@dataclass(frozen=True)
class Finding:
    """One thing examined. A finding that is `needed` and not `ok` keeps the main job from working."""

    name: str
    ok: bool
    needed: bool
    detail: str
    remedy: str = ""

    def line(self) -> str:
        """The finding as one line: OK, MISSING (needed) or `no` (optional), what was found, what to do."""
        mark = "OK" if self.ok else "MISSING" if self.needed else "no"
        remedy = f"; {self.remedy}" if self.remedy and not self.ok else ""
        return f"{mark:<8}{self.name:<28}{self.detail}{remedy}"


def examine(folder: Path) -> list[Finding]:
    """Examine this machine, for work in `folder`. Starts short-lived child processes; changes nothing that stays."""
    return list(_findings(folder))


def is_ready(findings: Iterable[Finding]) -> bool:
    """Whether everything is there that the main job needs."""
    return all(finding.ok or not finding.needed for finding in findings)


def _findings(folder: Path) -> Iterator[Finding]:
    yield _python()
    yield from _torch()
    for module, distribution, purpose in LIBRARIES:
        yield _library(module, distribution, purpose)
    yield _cores()
    yield _cpu_features()
    yield _memory()
    yield _disk(folder)
    yield _writable("output folder", folder, needed=True)
    yield _kernel_cache()
    yield _gl()
    for name, module, remedy in EXTRAS:
        there = importlib.util.find_spec(module) is not None
        yield Finding(name, there, False, "installed" if there else "not installed", remedy)


def _python() -> Finding:
    return Finding(
        "Python",
        sys.version_info[:2] >= OLDEST_PYTHON,
        True,
        f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "install Python 3.11 or newer",
    )


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", False, True, _one_line(error), "run: pip install torch")
        return
    threads = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    yield Finding("torch", True, True, f"{torch.__version__}, {threads}")
    from texsynth.profiles import choose_compute, cuda_fault

    fault = cuda_fault()
    if fault is not None:
        remedy = "with an NVIDIA GPU install its driver and a CUDA torch"
        yield Finding("CUDA", False, False, f"{fault}, so the CPU is used", remedy)
    else:
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            memory = f"{device.total_memory / 1e9:.1f} GB"
            capability = f"capability {device.major}.{device.minor}"
            yield Finding(f"CUDA {index}", True, False, f"{device.name}, {memory}, {capability}")
    chosen = choose_compute("auto").facts()
    precision = f"attention in {chosen['attention']} at high noise"
    yield Finding("--profile auto", True, False, f"the layout runs on {chosen['name']}, {precision}")


def _library(module: str, distribution: str, purpose: str) -> Finding:
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        return Finding(purpose, False, True, _one_line(error), f"run: pip install {distribution}")
    return Finding(purpose, True, True, f"{distribution} {importlib.metadata.version(distribution)}")


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    detail = f"{usable} usable" if quota is None else f"{usable} usable, the container allows {quota:g}"
    return Finding("cores", True, False, detail)


def _cgroup_cores() -> float | None:
    """The CPU quota of this container in cores (cgroup v2), or None."""
    words = _read("/sys/fs/cgroup/cpu.max").split()
    if len(words) != 2 or words[0] == "max":
        return None
    return float(words[0]) / float(words[1])


def _cpu_features() -> Finding:
    """The instructions that make bfloat16 attention fast."""
    flags = processor_flags()
    found = [name for flag, name in FEATURES.items() if flag in flags]
    lack = "" if multiplies_bfloat16(flags) else "; no bfloat16, so float32 is used"
    detail = (", ".join(found) or "unknown") + lack
    return Finding("CPU", bool(found), False, detail, "nothing to do; it may be slow")


def _memory() -> Finding:
    fields = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    if "MemAvailable" not in fields:
        return Finding("memory", True, False, "unknown on this system")
    free = int(fields["MemAvailable"].split()[0]) * 1024 / 1e9
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    if limit.isdigit():
        free = min(free, (int(limit) - int(_read("/sys/fs/cgroup/memory.current").strip() or 0)) / 1e9)
    enough = "enough for 8K" if free >= MEMORY_FOR_8K_GB else f"8K wants {MEMORY_FOR_8K_GB:g} GB, smaller sizes less"
    return Finding(
        "memory", free >= MEMORY_AT_LEAST_GB, True, f"{free:.1f} GB available, {enough}", "close other programs"
    )


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    return Finding(
        "disk",
        free >= DISK_FOR_8K_GB,
        True,
        f"{free:.1f} GB free in {folder}, an 8K run wants {DISK_FOR_8K_GB:g} GB",
        "free some space or work in another folder",
    )


def _writable(name: str, folder: Path, needed: bool) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding(name, False, needed, f"{folder}: {error.strerror}", "make it writable")
    return Finding(name, True, needed, f"{folder} is writable")


def _kernel_cache() -> Finding:
    """Numba keeps compiled kernels beside our code, or where that is read-only in the user's cache folder."""
    here = Path(__file__).parent
    home_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    candidates = [Path(os.environ["NUMBA_CACHE_DIR"])] if "NUMBA_CACHE_DIR" in os.environ else [here, home_cache]
    for folder in candidates:
        if os.access(_nearest_existing(folder), os.W_OK):
            return Finding("kernel cache", True, False, f"compiled kernels are kept in or below {folder}")
    return Finding(
        "kernel cache",
        False,
        False,
        "no place to keep compiled kernels, so each start compiles them again",
        "set NUMBA_CACHE_DIR to a writable folder",
    )


def _nearest_existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _gl() -> Finding:
    """A windowless GL context in a child process, because a broken driver may crash whoever asks it."""
    egl = (
        "from OpenGL import EGL; import sys;"
        " display = EGL.eglGetDisplay(EGL.EGL_DEFAULT_DISPLAY); major, minor = EGL.EGLint(), EGL.EGLint();"
        " sys.exit(not EGL.eglInitialize(display, major, minor))"
    )
    osmesa = (
        "from OpenGL import GL, osmesa; import sys;"
        " sys.exit(not osmesa.OSMesaCreateContextExt(GL.GL_RGBA, 24, 0, 0, None))"
    )
    attempts = (
        ("EGL", egl, {"PYOPENGL_PLATFORM": "egl"}),
        ("EGL", egl, {"PYOPENGL_PLATFORM": "egl", "EGL_PLATFORM": "surfaceless"}),  # Mesa without X or Wayland
        ("OSMesa", osmesa, {"PYOPENGL_PLATFORM": "osmesa"}),
    )
    for name, code, environment in attempts:
        if _probe(code, environment):
            return Finding("GL", True, False, f"{name} draws without a window; not needed, the CPU draws the previews")
    remedy = "for other programs' sake only: apt-get install libegl1 libgl1-mesa-dri"
    return Finding("GL", False, False, "no windowless GL; not needed, the CPU draws the previews", remedy)


def _probe(code: str, environment: dict[str, str]) -> bool:
    """Whether `code` runs to the end with status 0 in a fresh interpreter."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | environment,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _read(path: str) -> str:
    """The text of a small system file, empty where there is none (macOS, Windows, old kernels)."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
