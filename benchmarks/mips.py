"""Mip chains: seconds and memory of ours, OpenCV's and OpenImageIO's, and the bound that copying memory sets.

    python benchmarks/mips.py [--size 8192] [--repeat 5] [--skip-openimageio]

One process measures everything in turn and the fastest run of each counts, so that ratios compare like with like:
- ours: 8-bit sRGB codes in, 8-bit sRGB codes of every level out, averaged in linear light, threads on all cores;
- OpenCV: INTER_AREA from level to level in float32, given the already linear image (which costs time not counted here);
- OpenImageIO: make_texture with its box filter and no colour conversion, from memory to an uncompressed file;
- the bound: what a plain copy needs to read the texels and write the levels once.
Memory is how far the peak of a fresh process that holds the texels rises while the chain is made and kept. The rows
without a bar are the other maps, filters and the whole material, streamed. Close other programs first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from reporting import Row, row, show, write_results

from mipmap.chain import box_chain, decoding_table
from mipmap.material_chain import FILTERING, ChainOptions, map_chain, material_chain

LARGEST_RATIO_TO_OPENCV = 0.7
LEAST_RATIO_OF_OPENIMAGEIO = 15.0
LARGEST_ADDED_GB = 0.4
BAND_ROWS = 256
CHART_SIDE = 128


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, metavar="N", help="texels a side; the bars are for 8192")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each; the fastest counts")
    parser.add_argument("--skip-openimageio", action="store_true", help="leave out the slowest contender")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks/mips"), metavar="FOLDER")
    parser.add_argument("--measure-memory", type=Path, metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure_memory:
        print(added_memory(arguments.measure_memory, arguments.size))
        return 0
    texels = np.random.default_rng(0).integers(0, 256, (arguments.size, arguments.size, 3), dtype=np.uint8)
    seconds = race(texels, arguments.repeat, arguments.skip_openimageio)
    added_gb = memory_of_a_process(texels)
    streamed = stream_seconds(texels)
    rows = summary(seconds, added_gb, streamed, texels)
    show(f"mips: {arguments.size} x {arguments.size} x 3, {len(os.sched_getaffinity(0))} cores", rows)
    details = {"seconds": seconds, "added_gb": added_gb, "streamed_seconds": streamed}
    write_results(arguments.out, "mips", arguments, rows, details)
    return 0 if all(line.passed is not False for line in rows) else 1


def race(texels: Any, repeat: int, skip_openimageio: bool) -> dict[str, list[float]]:
    """Seconds of every run of every contender, in turn."""
    linear = decoding_table(texels.dtype, "colour")[texels]
    target = np.empty_like(texels)
    contenders: dict[str, Callable[[], Any]] = {
        "copy": lambda: np.copyto(target, texels),  # its first run also makes the pages of `target`
        "ours": lambda: our_chain(texels),
        "ours, one thread": lambda: our_chain(texels, workers=1),
        "OpenCV": lambda: opencv_chain(linear),
    }
    our_chain(texels[:BAND_ROWS, :BAND_ROWS])  # compile, or load what was compiled
    seconds: dict[str, list[float]] = {}
    for _ in range(repeat):
        for name, run in contenders.items():
            seconds.setdefault(name, []).append(timed(run))
    if not skip_openimageio:
        seconds["OpenImageIO"] = [timed(lambda: openimageio_chain(texels))]
    for name, values in seconds.items():
        print(f"{name:18} {min(values):8.3f} s   ({', '.join(f'{value:.3f}' for value in values)})", flush=True)
    return seconds


def timed(run: Callable[[], Any]) -> float:
    began = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - began
    del result
    return seconds


def our_chain(texels: Any, workers: int = 0) -> list[Any]:
    """Every level above 0, in bands that are kept."""
    height, width = texels.shape[:2]
    rows = BAND_ROWS if workers != 1 else BAND_ROWS // 4  # one thread is fastest where a band stays in its own cache
    bands = (texels[y : y + rows] for y in range(0, height, rows))
    chain = box_chain(bands, height, width, "colour", workers=workers or len(os.sched_getaffinity(0)))
    return [part for level, _, part in chain if level > 0]


def opencv_chain(linear: Any) -> list[Any]:
    levels = [linear]
    while max(levels[-1].shape[:2]) > 1:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA))
    return levels


def openimageio_chain(texels: Any) -> None:
    import OpenImageIO as oiio

    with tempfile.TemporaryDirectory(prefix="texsynth-mips-") as folder:
        config = oiio.ImageSpec()
        config.attribute("maketx:filtername", "box")
        config.attribute("compression", "none")
        source = oiio.ImageBuf(texels)
        if not oiio.ImageBufAlgo.make_texture(oiio.MakeTxTexture, source, f"{folder}/chain.tif", config):
            raise SystemExit(f"OpenImageIO: {oiio.geterror()}")


def memory_of_a_process(texels: Any) -> float:
    """GB that making and keeping the chain adds to a fresh process that holds the texels."""
    with tempfile.TemporaryDirectory(prefix="texsynth-mips-") as folder:
        path = Path(folder) / "texels"
        texels.tofile(path)
        command = [sys.executable, __file__, "--size", str(len(texels)), "--measure-memory", str(path)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def added_memory(path: Path, size: int) -> float:
    texels = np.fromfile(path, np.uint8).reshape(size, size, 3)
    our_chain(texels[:BAND_ROWS, :BAND_ROWS])
    before = peak_gb()
    kept = our_chain(texels)
    return peak_gb() - before if kept else 0.0


def peak_gb() -> float:
    """Peak resident set of this process alone; `ru_maxrss` would start at that of the process that forked it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e9


def stream_seconds(texels: Any) -> dict[str, float]:
    """Seconds of the other chains, streamed and dropped, one run each."""
    side, one = len(texels), np.ascontiguousarray(texels[..., :1])
    maps = {kind: texels if kind in ("albedo", "normal") else one for kind in FILTERING}
    tiles = np.random.default_rng(1).integers(0, 9, (side // CHART_SIDE + 1,) * 2).astype(np.uint8)
    charts = np.kron(tiles, np.ones((CHART_SIDE, CHART_SIDE), np.uint8))[:side, :side]
    chains: dict[str, Callable[[], Iterator[Any]]] = {
        "normal, box": lambda: map_chain("normal", maps),
        "roughness over normals, box": lambda: map_chain("roughness", maps),
        "albedo, Kaiser, repeating": lambda: map_chain("albedo", maps, ChainOptions("kaiser", "repeat")),
        "albedo, Lanczos-3, clamped": lambda: map_chain("albedo", maps, ChainOptions("lanczos3", "clamp")),
        "albedo, box, charts": lambda: map_chain("albedo", maps, charts=charts),
        "albedo, Kaiser, charts": lambda: map_chain("albedo", maps, ChainOptions("kaiser"), charts=charts),
        "material of six maps, box": lambda: material_chain(maps),
    }
    seconds = {}
    for name, chain in chains.items():
        seconds[name] = timed(lambda chain=chain: [None for _ in chain()])  # type: ignore[misc]
        print(f"{name:28} {seconds[name]:8.3f} s", flush=True)
    return seconds


def summary(seconds: dict[str, list[float]], added_gb: float, streamed: dict[str, float], texels: Any) -> list[Row]:
    best = {name: min(values) for name, values in seconds.items()}
    # A copy reads and writes all texels; the chain must read them once and write a third as much.
    bound = best["copy"] * (1 + 1 / 3) / 2
    judged = len(texels) == 8192
    ours = best["ours"]
    rows = [
        row("seconds, sRGB-correct 8-bit chain", "-", [("all cores", ours), ("one thread", best["ours, one thread"])]),
        row("seconds, OpenCV float32 INTER_AREA, given linear", "-", [("OpenCV", best["OpenCV"])]),
        row(
            "ours over OpenCV",
            f"<= {LARGEST_RATIO_TO_OPENCV}",
            [("ours", ours / best["OpenCV"])],
            (lambda v: v[0] <= LARGEST_RATIO_TO_OPENCV) if judged else None,
        ),
        row("ours over the memory-copy bound", "-", [(f"bound {1000 * bound:.1f} ms", ours / bound)]),
        row(
            "added memory, GB, the kept levels included",
            f"<= {LARGEST_ADDED_GB}",
            [("ours", added_gb)],
            (lambda v: v[0] <= LARGEST_ADDED_GB) if judged else None,
        ),
    ]
    if "OpenImageIO" in best:
        rows.insert(
            3,
            row(
                "OpenImageIO make_texture over ours",
                f">= {LEAST_RATIO_OF_OPENIMAGEIO:.0f}",
                [("OpenImageIO", best["OpenImageIO"] / ours)],
                (lambda v: v[0] >= LEAST_RATIO_OF_OPENIMAGEIO) if judged else None,
            ),
        )
    return rows + [row(f"seconds, {name}", "-", [("streamed", value)]) for name, value in streamed.items()]


if __name__ == "__main__":
    sys.exit(main())
