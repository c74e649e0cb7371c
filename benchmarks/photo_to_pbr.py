"""What one photo gives: normal and roughness estimated from the albedo alone, against those that were published.

    python benchmarks/photo_to_pbr.py [--data FOLDER --only NAME] [--model FOLDER]

Exemplars are reduced to 1024 texels a side at most. Errors are the mean angle between normals and the mean difference
of roughness, over those of constant maps: the flat normal and the roughness that suits all training materials best,
which is what one knows without a model; `own` is the best constant for the very exemplar, which nobody knows who has
its photo alone. Ratios are of the sums over all exemplars, and of each. Leaves results.json and a sheet (albedo,
published and estimated normal, published and estimated roughness) in OUT.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from exemplars import add_arguments, find_exemplars
from reporting import Floats, Row, contact_sheet, row, show, write_results

from texsynth.material import MapKind, load_material
from texsynth.model.map_estimator import MapEstimator
from texsynth.model.stack import SLICES
from texsynth.model.weights import load_model
from texsynth.train.corpus import TrainingMaterial, to_training
from texsynth.train.evaluation import Guess, by_luminance, by_network, estimation, reduced

BARS = {"normal": 0.6, "roughness": 0.7}
CONSTANTS = {"normal": "normal_flat", "roughness": "roughness_common"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "photo_to_pbr")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="FOLDER",
        help="weights of an estimator (default: no network, what the main job does)",
    )
    arguments = parser.parse_args()
    guess = by_luminance if arguments.model is None else by_network(load_model(MapEstimator, arguments.model))
    runs, pictures = [], []
    for folder in find_exemplars(arguments):
        material = reduced(to_training(load_material(folder), folder.name))
        runs.append({"exemplar": folder.name} | estimation(guess, material))
        pictures.append(shown(folder.name, guess, material))
        figures = ", ".join(f"{name} {value:.3f}" for name, value in runs[-1].items() if name != "exemplar")
        print(f"{folder.name:24} {figures}", flush=True)
    contact_sheet(arguments.out / "sheet.png", pictures, 256)
    rows = [line for what in BARS for line in summary(what, runs)]
    show(f"one photo to PBR: {len(runs)} exemplars", rows)
    write_results(arguments.out, "photo_to_pbr", arguments, rows, runs)
    return 0 if all(line.passed is not False for line in rows) else 1


def summary(what: str, runs: list[dict[str, Any]]) -> list[Row]:
    known = [run for run in runs if what in run]
    constant, own = CONSTANTS[what], f"{what}_own"
    total = sum(run[what] for run in known) / sum(run[constant] for run in known)
    return [
        row(
            f"{what}: error of all over that of a constant",
            f"<= {BARS[what]}",
            [("all", total)],
            lambda v: v[0] <= BARS[what],
        ),
        row(f"{what}: of each", "-", [(run["exemplar"], run[what] / max(run[constant], 1e-6)) for run in known]),
        row(
            f"{what}: over the best own constant",
            "-",
            [(run["exemplar"], run[what] / max(run[own], 1e-6)) for run in known],
        ),
    ]


def shown(name: str, guess: Guess, material: TrainingMaterial) -> list[tuple[str, Floats]]:
    stack = np.divide(material.texels, 255, dtype=np.float32)
    albedo = np.ascontiguousarray(stack[..., SLICES[MapKind.ALBEDO]])
    normals, roughness = guess(albedo)
    xy = stack[..., SLICES[MapKind.NORMAL]]
    z = np.sqrt(np.maximum(1 - np.square(xy * 2 - 1).sum(axis=2, keepdims=True), 0))
    return [
        (name, albedo),
        ("normal", np.concatenate([xy, z * 0.5 + 0.5], axis=2)),
        ("estimated", normals * 0.5 + 0.5),
        ("roughness", stack[..., SLICES[MapKind.ROUGHNESS]]),
        ("estimated", roughness[..., None]),
    ]


if __name__ == "__main__":
    sys.exit(main())
