"""How well a result follows a lead, the picture by which a user's checkpoint steers the layout (`--model`).

    python benchmarks/lead.py [--data FOLDER --only NAME] [--size 1024] [--preset standard] [--seed 0]

No checkpoint is needed: the lead is the exemplar itself with its quadrants exchanged, blurred and faded, so what should
lie where is known. Each exemplar is made with the lead and without. Leaves results.json and sheet.png (exemplar, lead,
led, free) in OUT.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from exemplars import add_arguments, find_exemplars
from numpy.typing import NDArray
from reporting import contact_sheet, row, show, write_results

from mipmap.metrics import distance_unit, texture_distance
from texsynth.exemplar import Exemplar, prepare_exemplar
from texsynth.layer import Texels, make_layer
from texsynth.material import MapKind, load_material
from texsynth.options import Options
from texsynth.profiles import ON_CPU
from texsynth.run import Run

Floats = NDArray[np.float32]

BLUR, FADED = 1 / 128, 0.8  # of the side; of the contrast
SIDE = 16  # of the pictures that are correlated


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "lead")
    parser.add_argument("--size", type=int, default=1024, help="texels a side (default 1024)")
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    cells = []
    for folder in find_exemplars(arguments):
        exemplar = prepare_exemplar(load_material(folder), (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS))
        albedo = np.ascontiguousarray(exemplar.stack[:, :, :3])
        lead = leading(albedo, arguments.size)
        led, free = made(exemplar, lead, arguments), made(exemplar, None, arguments)
        unit = distance_unit(albedo)
        runs.append(
            {"exemplar": folder.name}
            | {"led": correlation(led, lead), "free": correlation(free, lead)}
            | {f"d {name}": texture_distance(p, albedo, unit=unit) for name, p in (("led", led), ("free", free))}
        )
        print(" ".join(f"{k} {v if isinstance(v, str) else round(v, 2)}" for k, v in runs[-1].items()), flush=True)
        cells.append([(folder.name, albedo), ("lead", lead), ("led", led), ("free", free)])
        contact_sheet(arguments.out / "sheet.png", cells)
    rows = [
        row("correlation with the lead, led", ">= 0.5", of(runs, "led"), lambda v: min(v) >= 0.5, lambda v: -v),
        row("the same, not led", "-", of(runs, "free")),
        row("d albedo, led", "<= 1.0", of(runs, "d led"), lambda v: max(v) <= 1.0),
        row("d albedo, not led", "-", of(runs, "d free")),
    ]
    show(f"lead: {len(runs)} exemplars, {arguments.size} px, {arguments.preset}", rows)
    write_results(arguments.out, "lead", arguments, rows, runs)
    return 0


def leading(albedo: Floats, size: int) -> Floats:
    """`size` texels a side of it, repeated where it is smaller; quadrants exchanged, blurred and faded."""
    rows, columns = ((np.arange(size) + size // 2) % size % length for length in albedo.shape[:2])
    blurred = cv2.GaussianBlur(np.ascontiguousarray(albedo[rows][:, columns]), (0, 0), BLUR * size)
    return np.asarray(blurred * np.float32(FADED) + np.float32((1 - FADED) * 0.75), np.float32)


def made(exemplar: Exemplar, lead: Floats | None, arguments: argparse.Namespace) -> Floats:
    """Encoded albedo of a result."""
    options = Options(size=arguments.size, preset=arguments.preset, seed=arguments.seed)
    with tempfile.TemporaryDirectory(prefix="texsynth-lead-") as folder:
        layer = make_layer(
            exemplar, None, None, options.size, options, ON_CPU, Path(folder), Run(), torus=(False, False), lead=lead,
            span=(0.0, 1.0), show=lambda *_: None,
        )  # fmt: skip
        return Texels(layer, 1.0).rows(0, options.size)[:, :, :3]


def correlation(one: Floats, other: Floats) -> float:
    """Of two pictures averaged to SIDE x SIDE, the mean of the three channels."""
    small = [cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(-1, 3) for p in (one, other)]
    return float(np.mean([np.corrcoef(small[0][:, c], small[1][:, c])[0, 1] for c in range(3)]))


def of(runs: list[dict[str, Any]], name: str) -> list[tuple[str, float]]:
    return [(run["exemplar"], run[name]) for run in runs]


if __name__ == "__main__":
    sys.exit(main())
