"""Is 8K worth it? The 8K synthesis against the two ways to get 8K without one.

    python benchmarks/baselines_8k.py [--data FOLDER] [--only NAME] [--preset standard]

Baselines: the 1K result of the same exemplar and seed, enlarged 8 times by Lanczos; and the exemplar simply tiled. d of
albedo is measured on 4 x 4 windows of 512 texels spread over the whole 8K texture, repetition on its centre (three
exemplars wide), so that a few hundred megabytes suffice. The exemplars are those of `--only`, else the first three.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from exemplars import add_arguments, find_exemplars
from PIL import Image
from reporting import Row, contact_sheet, row, show, write_results

from mipmap.metrics import distance_unit, repetition, sharpness_ratio, texture_distance
from texsynth.material import MapKind, TextureMap, load_material
from texsynth.options import Options
from texsynth.restyle import synthesize
from texsynth.run import Run

LARGE, SMALL = 8192, 1024
WINDOW, WINDOWS = 512, 4

Floats = npt.NDArray[np.float32]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "baselines_8k")
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=LARGE, help="texels a side of the large result (default 8192)")
    arguments = parser.parse_args()
    found = find_exemplars(arguments)
    details, pictures = {}, []
    for exemplar in found if arguments.only else found[:3]:
        measured, shown = compare(exemplar, arguments)
        details[exemplar.name] = measured
        pictures.append(shown)
        print(f"{exemplar.name:24} " + "  ".join(f"{name} {value:.3f}" for name, value in measured.items()), flush=True)
    rows = summary(details)
    show(f"{arguments.size} px against Lanczos and tiling, {arguments.preset}", rows)
    contact_sheet(arguments.out / "sheet.png", pictures, WINDOW)
    write_results(arguments.out, "baselines_8k", arguments, rows, details)
    return 0 if all(line.passed is not False for line in rows) else 1


def compare(exemplar: Path, arguments: argparse.Namespace) -> tuple[dict[str, float], list[tuple[str, Floats]]]:
    """d, sharpness and repetition of the large result and of both baselines, and a cut-out of each."""
    known = load_material(exemplar).maps[MapKind.ALBEDO].encoded()
    large = _albedo(exemplar, arguments.size, arguments)
    small = _albedo(exemplar, SMALL, arguments)
    factor = arguments.size // SMALL
    unit = distance_unit(known)
    corners = np.linspace(0, arguments.size - WINDOW, WINDOWS).astype(int)
    ours, enlarged, tiled = [], [], []
    for y in corners:
        band = large.encoded(slice(y, y + WINDOW))
        for x in corners:
            ours.append(band[:, x : x + WINDOW])
            enlarged.append(lanczos_window(small, factor, (y, x), WINDOW))
            tiled.append(_tiled_window(known, (y, x), WINDOW))
    side = min(arguments.size, 3 * max(known.shape[:2]))
    middle = (arguments.size - side) // 2
    centre = large.encoded(slice(middle, middle + side))[:, middle : middle + side]
    measured = {
        "d": texture_distance(ours, known, unit=unit),
        "d_lanczos": texture_distance(enlarged, known, unit=unit),
        "d_tiled": texture_distance(tiled, known, unit=unit),
        "sharpness": float(np.mean([sharpness_ratio(window, known) for window in ours])),
        "sharpness_lanczos": float(np.mean([sharpness_ratio(window, known) for window in enlarged])),
        "repetition": repetition(centre, known).excess,
        "repetition_tiled": repetition(_tiled_window(known, (middle, middle), side), known).excess,
    }
    label = exemplar.name
    shown = [("exemplar", known[:WINDOW, :WINDOW]), ("ours", ours[5]), ("Lanczos", enlarged[5]), ("tiled", tiled[5])]
    return measured, [(f"{label} {name}", picture) for name, picture in shown]


def _albedo(exemplar: Path, size: int, arguments: argparse.Namespace) -> TextureMap:
    """The albedo of a synthesis; its folder is removed again."""
    folder = Path(tempfile.mkdtemp(prefix="texsynth-8k-"))
    try:
        synthesize(exemplar, folder, Options(size=size, preset=arguments.preset, seed=arguments.seed), Run())
        return load_material(folder).maps[MapKind.ALBEDO]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lanczos_window(small: TextureMap, factor: int, corner: tuple[int, int], side: int) -> Floats:
    """The `side` x `side` window at `corner` (y, x) of the image enlarged `factor` times by Lanczos (a = 3)."""
    y, x = corner
    image = small.encoded()
    box = (x / factor, y / factor, (x + side) / factor, (y + side) / factor)
    planes = [
        np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.LANCZOS, box=box))
        for plane in np.moveaxis(image, 2, 0)
    ]
    return np.clip(np.stack(planes, axis=2), 0, 1)


def _tiled_window(image: Floats, corner: tuple[int, int], side: int) -> Floats:
    rows = (corner[0] + np.arange(side)) % image.shape[0]
    columns = (corner[1] + np.arange(side)) % image.shape[1]
    return image[np.ix_(rows, columns)]


def summary(details: dict[str, Any]) -> list[Row]:
    """The bars, and the baselines' values beside ours."""

    def of(name: str) -> list[tuple[str, float]]:
        return [(exemplar, measured[name]) for exemplar, measured in details.items()]

    share = [(exemplar, measured["d"] / max(measured["d_lanczos"], 1e-9)) for exemplar, measured in details.items()]
    return [
        row("d", "-", of("d")),
        row("d of Lanczos", "-", of("d_lanczos")),
        row("d of tiling", "-", of("d_tiled")),
        row("d over d of Lanczos", "all <= 0.5", share, lambda v: max(v) <= 0.5),
        row("sharpness", "-", of("sharpness"), badness=lambda value: abs(value - 1)),
        row("sharpness of Lanczos", "-", of("sharpness_lanczos"), badness=lambda value: abs(value - 1)),
        row("repetition", "all <= 0.1", of("repetition"), lambda v: max(v) <= 0.1),
        row("repetition of tiling", "-", of("repetition_tiled")),
    ]


if __name__ == "__main__":
    sys.exit(main())
