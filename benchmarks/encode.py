"""What the targets cost and keep: bytes, signal-to-noise ratio and seconds of every map of every target.

    python benchmarks/encode.py [--data FOLDER] [--size 8192] [--targets quest3,desktop,source] [--quality fast]

Each map is a patchwork of all exemplars, turned and shifted at random so that no piece meets its own copy on the same
blocks. Seconds are wall-clock time from texels in memory to the finished file: mip chain, all levels encoded, zstd,
fsync. PSNR is that of level 0 in the stored 8-bit codes, for each patch by itself: the median patch and the worst; of a
normal it is that of X and Y, beside the median of each patch's mean angle to the original. Prints the table of the
README. Close other programs first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from exemplars import add_arguments, find_exemplars
from reporting import row, write_results

from mipmap.chain import Filtering, box_chain
from mipmap.dds import read_dds, write_dds
from mipmap.encode import Quality, decode_level, encode_chain, normals_from_xy, psnr
from mipmap.formats import TexelFormat
from mipmap.ktx2 import read_ktx2, write_ktx2
from mipmap.material_chain import FILTERING
from mipmap.mip_set import write_mip_set
from mipmap.targets import TARGETS, Target
from texsynth.material import CHANNELS, MapKind, load_material

Texels = npt.NDArray[Any]
PATCH = 1024  # texels a side at most; a quarter of the map, where that is less
BAND = 256
MIB = 1 << 20


@dataclass(frozen=True)
class Result:
    """One map of one target in one container; no PSNR for pictures. angle: degrees, of normals only."""

    target: str
    container: str
    kind: str
    texel_format: str
    bytes: int
    seconds: float
    psnr_median: float | None = None
    psnr_worst: float | None = None
    angle: float | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "encode")
    parser.add_argument("--size", type=int, default=8192, metavar="N", help="texels a side (default 8192)")
    parser.add_argument("--targets", default=",".join(TARGETS), metavar="T,T")
    parser.add_argument("--maps", default="albedo,normal,roughness", metavar="M,M")
    parser.add_argument("--quality", choices=("fast", "medium", "slow"), default="fast")
    arguments = parser.parse_args()
    materials = [load_material(folder) for folder in find_exemplars(arguments)]
    results: list[Result] = []
    warm_up()
    for kind in arguments.maps.split(","):
        pieces = [material.maps[MapKind(kind)].texels for material in materials if MapKind(kind) in material.maps]
        if not pieces:
            raise SystemExit(f"no exemplar has a map {kind}")
        texels, side = patchwork(pieces, arguments.size)
        for name in arguments.targets.split(","):
            target = TARGETS[name]
            for container in target.containers:
                results.append(measure(target, container, kind, texels, side, arguments.quality))
                print(results[-1], flush=True)
    print(f"\n{table(results)}\n")
    rows = [row(f"seconds, {r.target} {r.container} {r.kind}", "-", [(r.kind, r.seconds)]) for r in results]
    write_results(arguments.out, "encode", arguments, rows, [asdict(result) for result in results])
    return 0


def warm_up() -> None:
    """Compile the chain, which is cached on disk, before the clock runs."""
    for filtering in sorted(set(FILTERING.values())):
        for dtype in (np.uint8, np.uint16):
            for as_float in (False, True):
                list(box_chain([np.zeros((4, 4, 3), dtype)], 4, 4, filtering, as_float=as_float))


def patchwork(pieces: list[Texels], size: int) -> tuple[Texels, int]:
    """(size, size, C) texels of one dtype, and the side of its square patches, each a part of one of the pieces."""
    rng = np.random.default_rng(0)
    side = min(PATCH, max(1, size // 4), *(min(piece.shape[:2]) for piece in pieces))
    out = np.empty((size, size, pieces[0].shape[2]), np.uint8)
    for number, (y, x) in enumerate((y, x) for y in range(0, size, side) for x in range(0, size, side)):
        piece = pieces[number % len(pieces)]
        shifted = np.roll(piece, rng.integers(0, piece.shape[:2]), (0, 1))[:side, :side]
        turned = np.rot90(shifted, rng.integers(4))[:: rng.choice([-1, 1])]
        part = turned[: size - y, : size - x]
        narrow = part if part.dtype == np.uint8 else (part.astype(np.uint32) + 128) // 257
        out[y : y + side, x : x + side] = narrow
    return out, side


def measure(target: Target, container: str, kind: str, texels: Texels, side: int, quality: Quality) -> Result:
    """Write the map with all its levels into a temporary folder, and look at what came out."""
    height, width = texels.shape[:2]
    filtering = FILTERING[kind]
    picture = container in ("png", "exr")
    chain = box_chain(bands(texels), height, width, filtering, as_float=container == "exr")
    with tempfile.TemporaryDirectory(prefix="texsynth-encode-") as name:
        folder = Path(name)
        path = folder / f"{kind}.{container}"
        began = time.monotonic()
        if picture:
            srgb = filtering == "colour" and container == "png"
            shape = (height, width, CHANNELS[MapKind(kind)])
            write_mip_set(folder, kind, chain, shape, "exr" if container == "exr" else "png", srgb=srgb)
        else:
            texel_format = target.texel_format(kind)
            encoded = encode_chain(chain, height, width, texel_format, quality=quality)
            if container == "ktx2":
                write_ktx2(path, encoded, texel_format, height, width, compress=target.compress)
            else:
                write_dds(path, encoded, texel_format, height, width)
        seconds = time.monotonic() - began
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if picture:
            stored = "8 bit" if container == "png" else "half float"
            return Result(target.name, container, kind, stored, size, seconds)
        blocks = read_ktx2(path).level(0) if container == "ktx2" else read_dds(path).level(0)
        decoded = decode_level(blocks, height, width, texel_format)
    return Result(
        target.name,
        container + (" + zstd" if container == "ktx2" and target.compress else ""),
        kind,
        texel_format.name,
        size,
        seconds,
        *fidelity(texels, decoded, texel_format, filtering, side),
    )


def bands(texels: Texels) -> Any:
    return (texels[y : y + BAND] for y in range(0, texels.shape[0], BAND))


def fidelity(
    texels: Texels, decoded: Texels, texel_format: TexelFormat, filtering: Filtering, side: int
) -> tuple[float, float, float | None]:
    """(median, worst) PSNR of the patches, and for normals the median of their mean angles in degrees."""
    ratios, angles = [], []
    channels = 2 if filtering == "normal" else texels.shape[2]
    for y in range(0, texels.shape[0], side):
        for x in range(0, texels.shape[1], side):
            before, after = texels[y : y + side, x : x + side], decoded[y : y + side, x : x + side]
            ratios.append(psnr(before[..., :channels], after[..., :channels]))
            if filtering == "normal":
                shown = normals_from_xy(after) if texel_format.channels == 2 else unit(after[..., :3])
                cosine = np.einsum("...c,...c->...", unit(before), shown)
                angles.append(float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()))
    return median(ratios), min(ratios), median(angles) if angles else None


def unit(encoded: Texels) -> npt.NDArray[np.float32]:
    vectors = encoded.astype(np.float32) * np.float32(2 / 255) - 1
    unit_vectors: npt.NDArray[np.float32] = vectors / np.maximum(
        np.sqrt(np.einsum("...c,...c->...", vectors, vectors))[..., None], np.float32(1e-6)
    )
    return unit_vectors


def table(results: list[Result]) -> str:
    """The table of the README."""
    lines = ["| target | file | map | stored as | MiB | PSNR, median (worst) | s |", "|---|---|---|---|---|---|---|"]
    for r in results:
        ratio = "exact" if r.container == "png" else "half float"
        if r.psnr_median is not None:
            ratio = f"{r.psnr_median:.1f} dB ({r.psnr_worst:.1f})"
        if r.angle is not None:
            ratio += f", {r.angle:.1f} degrees"
        lines.append(
            f"| `{r.target}` | {r.container} | {r.kind} | {r.texel_format} | {r.bytes / MIB:.1f} | {ratio} "
            f"| {r.seconds:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
