"""Two exemplars in one result: does the second cover the share that it is given?

    python benchmarks/blend.py --data FOLDER [--pair FIRST,SECOND] [--shares 0.25,0.5,0.75] [--size 1024] [--seeds 2]

Besides, d of the part inside and of the part outside a mask, each to its own exemplar. Leaves results.json and
sheet.png (both exemplars, every share, and a disc as mask) in OUT.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from exemplars import add_arguments, add_pairs, find_pairs
from reporting import Row, contact_sheet, row, show, write_results

from mipmap.metrics import texture_distance
from texsynth.image_io import save_image
from texsynth.material import MapKind, load_material
from texsynth.options import Options
from texsynth.restyle import synthesize
from texsynth.run import Run

Floats = npt.NDArray[np.float32]

MAPS = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "blend")
    add_pairs(parser, "FIRST,SECOND")
    parser.add_argument("--shares", default="0.25,0.5,0.75", metavar="A,B,...")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="seeds 0..N-1 (default 2)")
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    arguments = parser.parse_args()
    shares = [float(share) for share in arguments.shares.split(",")]
    mask = arguments.out / "mask.png"
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_image(mask, disc(arguments.size))
    details, pictures = {}, []
    for first, second in find_pairs(arguments):
        name = f"{second.name} over {first.name}"
        runs, shown = blends(first, second, shares, mask, arguments)
        details[name] = runs
        pictures.append(shown)
        for run in runs:
            print(f"{name:48} seed {run['seed']} " + "  ".join(f"{k} {v:.3f}" for k, v in run.items() if k != "seed"))
    contact_sheet(arguments.out / "sheet.png", pictures, 288)
    rows = summary(details)
    show(f"blend: {len(details)} pairs x {arguments.seeds} seeds, {arguments.size} px, {arguments.preset}", rows)
    write_results(arguments.out, "blend", arguments, rows, details)
    return 0 if all(line.passed is not False for line in rows) else 1


def disc(size: int) -> npt.NDArray[np.uint8]:
    """(size, size, 1): white inside a circle of a third of the side."""
    mask = np.zeros((size, size, 1), np.uint8)
    cv2.circle(mask, (size // 2, size // 2), size // 3, 255, -1)
    return mask


def blends(
    first: Path, second: Path, shares: list[float], mask: Path, arguments: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[tuple[str, Floats]]]:
    """What every seed and share measures, and the first seed's pictures."""
    known = [load_material(path).maps[MapKind.ALBEDO].encoded() for path in (first, second)]
    runs, shown = [], [(path.name, picture) for path, picture in zip((first, second), known, strict=True)]
    for seed in range(arguments.seeds):
        make = {"size": arguments.size, "preset": arguments.preset, "seed": seed, "maps": MAPS}
        for share in shares:
            picture, covered = _blended(first, Options(**make, second=second, blend=share))
            runs.append({"seed": seed, "share": share, "covered": covered})
            if seed == 0:
                shown.append((f"{share:g}", picture))
        picture, covered = _blended(first, Options(**make, second=second, blend=mask))
        inside, outside = _windows(picture)
        d = [texture_distance(window, exemplar) for window, exemplar in zip((outside, inside), known, strict=True)]
        wished = float((disc(arguments.size) > 0).mean())
        runs.append({"seed": seed, "share": wished, "covered": covered, "d outside": d[0], "d inside": d[1]})
        if seed == 0:
            shown.append(("a disc", picture))
    return runs, shown


def _blended(first: Path, options: Options) -> tuple[Floats, float]:
    """The albedo, encoded, and the share of it that the second exemplar covers."""
    folder = Path(tempfile.mkdtemp(prefix="texsynth-blend-"))
    try:
        manifest = synthesize(first, folder, options, Run())
        return load_material(folder).maps[MapKind.ALBEDO].encoded(), float(manifest["second_share"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _windows(picture: Floats) -> tuple[Floats, Floats]:
    """The largest square inside the disc without its border, and the upper left corner outside of it."""
    size = picture.shape[0]
    half = round(size / 3 * 0.66)
    middle, corner = size // 2, round(size * 0.24)
    return picture[middle - half : middle + half, middle - half : middle + half], picture[:corner, :corner]


def summary(details: dict[str, list[dict[str, Any]]]) -> list[Row]:
    """Shares against what was wished, and each part against its exemplar."""
    runs = [(f"{name} {run['seed']}", run) for name, found in details.items() for run in found]
    return [
        row(
            "share covered, minus share wished",
            "within 0.06",
            [(f"{name} {run['share']:.2f}", run["covered"] - run["share"]) for name, run in runs],
            lambda v: max(map(abs, v)) <= 0.06,
            abs,
        ),
        *(
            row(f"d of albedo {part} the mask", "-", [(n, run[f"d {part}"]) for n, run in runs if f"d {part}" in run])
            for part in ("inside", "outside")
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
