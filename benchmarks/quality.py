"""How good the results are: every quality bar of the README, over all exemplars and seeds.

    python benchmarks/quality.py --data FOLDER [--only NAME] [--seeds 4] [--size 1024] [--preset standard]

For each exemplar and seed a tileable texture is synthesised and compared with its exemplar (definitions:
`mipmap/metrics/`). Leaves results.json, sheet.png (exemplar and all seeds) and one sheet an exemplar with details at
full size in OUT, for a person to look at: the numbers do not see everything.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from math import ceil
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from exemplars import add_arguments, find_exemplars
from reporting import Row, contact_sheet, row, show, write_results

from mipmap.metrics import (
    distance_unit,
    diversity,
    edge_agreement,
    evenness,
    join_sharpness,
    largest_verbatim,
    regularity,
    repetition,
    rigid_pieces,
    sharpness_ratio,
    texture_distance,
    wrap_ratio,
)
from texsynth.material import MapKind, Material, load_material
from texsynth.options import Options
from texsynth.restyle import synthesize
from texsynth.run import Run

KINDS = (MapKind.ALBEDO, MapKind.NORMAL, MapKind.ROUGHNESS)
DETAIL = 384  # texels a side of the full-size cut-outs on the sheets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "quality")
    parser.add_argument("--seeds", type=int, default=4, metavar="N", help="seeds 0..N-1 (default 4)")
    parser.add_argument("--size", type=int, default=1024, help="texels a side (default 1024)")
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    parser.add_argument("--keep", action="store_true", help="keep the synthesised materials in OUT/results")
    arguments = parser.parse_args()
    details: dict[str, Any] = {}
    overview = []
    for exemplar in find_exemplars(arguments):
        known = load_material(exemplar)
        units = {kind: distance_unit(_encoded(known, kind)) for kind in KINDS if kind in known.maps}
        made, runs = [], []
        for seed in range(arguments.seeds):
            material, index, seconds = _synthesize(exemplar, seed, arguments)
            made.append(material)
            runs.append(assess(material, known, index, units) | {"seed": seed, "seconds": seconds})
            _print_run(exemplar.name, runs[-1])
        spread = (
            diversity([_encoded(m, MapKind.ALBEDO) for m in made], _encoded(known, MapKind.ALBEDO))
            if len(made) > 1
            else None
        )
        details[exemplar.name] = {"size": list(known.size), "diversity": spread, "runs": runs}
        pictures = [("exemplar", known), *((f"seed {i}", material) for i, material in enumerate(made))]
        _sheet(arguments.out / f"{exemplar.name}.png", exemplar.name, pictures, arguments.size)
        overview.append([(f"{exemplar.name} {label}", _like(material, arguments.size)) for label, material in pictures])
    contact_sheet(arguments.out / "sheet.png", overview, 256)
    rows = summary(details)
    show(f"quality: {len(details)} exemplars x {arguments.seeds} seeds, {arguments.size} px, {arguments.preset}", rows)
    write_results(arguments.out, "quality", arguments, rows, details)
    return 0 if all(line.passed is not False for line in rows) else 1


def _synthesize(
    exemplar: Path, seed: int, arguments: argparse.Namespace
) -> tuple[Material, npt.NDArray[np.integer[Any]], float]:
    """The result, its index field and the seconds it took."""
    options = Options(size=arguments.size, preset=arguments.preset, seed=seed, tileable=True, maps=KINDS)
    if arguments.keep:
        folder = arguments.out / "results" / f"{exemplar.name}_{seed}"
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder = Path(tempfile.mkdtemp(prefix="texsynth-quality-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        began = time.monotonic()
        synthesize(exemplar, folder, options, Run())
        seconds = time.monotonic() - began
        return load_material(folder), np.load(folder / "index.npy"), seconds
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


def assess(
    made: Material, known: Material, index: npt.NDArray[np.integer[Any]], units: dict[MapKind, float]
) -> dict[str, Any]:
    """All measurements of one result. Maps that the exemplar lacks (estimated ones) are not compared.

    units: `distance_unit` of every map of the exemplar.
    """
    kinds = [kind for kind in units if kind in made.maps]
    albedo, exemplar = _encoded(made, MapKind.ALBEDO), _encoded(known, MapKind.ALBEDO)
    structure, repeats = regularity(albedo, exemplar), repetition(albedo, exemplar)
    return {
        "d": {
            str(kind): texture_distance(_encoded(made, kind), _encoded(known, kind), unit=units[kind]) for kind in kinds
        },
        "sharpness": sharpness_ratio(albedo, exemplar),
        "regular": structure.regular,
        "regularity": {"lag": structure.lag, "exemplar": structure.exemplar, "kept": structure.kept},
        "verbatim": largest_verbatim(index, known.size),
        "evenness": evenness(index, known.size),
        "joins": join_sharpness(albedo, rigid_pieces(index, known.size)),
        "repetition": {"excess": repeats.excess, "lag": repeats.lag},
        "wrap": {
            str(kind): [
                {"ratio": edge.ratio, "usual": edge.usual, "seamless": edge.seamless}
                for edge in wrap_ratio(_encoded(made, kind))
            ]
            for kind in kinds
        },
        "edge_agreement": edge_agreement(
            {str(kind): _encoded(made, kind) for kind in kinds}, {str(kind): _encoded(known, kind) for kind in kinds}
        )
        if len(kinds) > 1
        else None,
    }


def summary(details: dict[str, Any]) -> list[Row]:
    """The bars of the README. Values are of single runs, except where the bar speaks of exemplars (median of seeds)."""
    runs = [(f"{name} {run['seed']}", run) for name, found in details.items() for run in found["runs"]]

    def of(name: str) -> list[tuple[str, float]]:
        return [(label, run["d"][name]) for label, run in runs if name in run["d"]]

    sharp = [(name, float(median(run["sharpness"] for run in found["runs"]))) for name, found in details.items()]
    needed = ceil(len(sharp) * 11 / 12)
    wrap = [
        (f"{label} {kind} {axis}", edge["ratio"])
        for label, run in runs
        for kind, edges in run["wrap"].items()
        for axis, edge in zip("yx", edges, strict=True)
    ]
    seamless = [edge["seamless"] for _, run in runs for edges in run["wrap"].values() for edge in edges]
    agree = [(label, run["edge_agreement"]) for label, run in runs if run["edge_agreement"] is not None]
    diverse = [(name, found["diversity"]) for name, found in details.items() if found["diversity"] is not None]
    return [
        row("d albedo", "median <= 0.4, worst <= 1.0", of("albedo"), lambda v: median(v) <= 0.4 and max(v) <= 1.0),
        row("d normal", "median <= 0.6", of("normal"), lambda v: median(v) <= 0.6),
        row("d roughness", "median <= 0.6", of("roughness"), lambda v: median(v) <= 0.6),
        row(
            "sharpness (median of seeds)",
            f"0.85-1.15 for {needed} of {len(sharp)}",
            sharp,
            lambda v: sum(0.85 <= value <= 1.15 for value in v) >= needed,
            lambda value: abs(value - 1),
        ),
        row(
            "regular structure kept",
            "all >= 0.7",
            [(label, run["regularity"]["kept"]) for label, run in runs if run["regular"]],
            lambda v: min(v) >= 0.7,
            lambda value: -value,
        ),
        row("largest verbatim piece", "all <= 0.35", [(n, r["verbatim"]) for n, r in runs], lambda v: max(v) <= 0.35),
        row("evenness", "all >= 0.9", [(n, r["evenness"]) for n, r in runs], lambda v: min(v) >= 0.9, lambda v: -v),
        row("repetition", "all <= 0.1", [(n, r["repetition"]["excess"]) for n, r in runs], lambda v: max(v) <= 0.1),
        row(
            "sharpness at the joins of pieces",
            "-",
            [(n, r["joins"]) for n, r in runs],
            badness=lambda value: abs(np.log(max(value, 1e-6))),
        ),
        row("diversity of seeds", "all >= 0.7", diverse, lambda v: min(v) >= 0.7, lambda v: -v),
        row(
            "wrap edge",
            "median 0.9-1.1",
            wrap,
            lambda v: 0.9 <= median(v) <= 1.1,
            lambda value: abs(np.log(max(value, 1e-6))),
        ),
        row(
            "wrap edge as usual inside",
            "90 % of the edges",
            [(label, float(good)) for (label, _), good in zip(wrap, seamless, strict=True)],
            lambda v: sum(v) >= 0.9 * len(v),
            lambda value: -value,
        ),
        row("edges of the maps agree", "all >= 0.95", agree, lambda v: min(v) >= 0.95, lambda v: -v),
    ]


def _print_run(name: str, run: dict[str, Any]) -> None:
    distances = " ".join(f"{kind} {value:.2f}" for kind, value in run["d"].items())
    kept = f"{run['regularity']['kept']:.2f}" if run["regular"] else "-"
    wrap = "/".join(f"{edge['ratio']:.2f}" for edge in run["wrap"]["albedo"])
    agreement = "-" if run["edge_agreement"] is None else f"{run['edge_agreement']:.2f}"
    print(
        f"{name:24} seed {run['seed']} {run['seconds']:5.1f} s  d {distances}  sharp {run['sharpness']:.2f}"
        f"  kept {kept}  verbatim {run['verbatim']:.2f}  even {run['evenness']:.2f}  joins {run['joins']:.2f}"
        f"  repeat {run['repetition']['excess']:.2f}  wrap {wrap}  edges {agreement}",
        flush=True,
    )


def _sheet(path: Path, name: str, pictures: list[tuple[str, Material]], size: int) -> None:
    """Whole albedo at the result's size, then a full-size cut-out of every map."""
    lines = [[(f"{name} {label}", _like(material, size)) for label, material in pictures]]
    for kind in KINDS:
        lines.append(
            [(f"{label} {kind}", _cut(material, kind)) for label, material in pictures if kind in material.maps]
        )
    contact_sheet(path, [line for line in lines if line], DETAIL)


def _like(material: Material, size: int) -> npt.NDArray[np.float32]:
    """As much of the exemplar's albedo as the result covers, so that both are shown at one scale."""
    return _encoded(material, MapKind.ALBEDO)[:size, :size]


def _cut(material: Material, kind: MapKind) -> npt.NDArray[np.float32]:
    height, width = material.size
    top, left = max(0, (height - DETAIL) // 2), max(0, (width - DETAIL) // 2)
    return _encoded(material, kind)[top : top + DETAIL, left : left + DETAIL]


def _encoded(material: Material, kind: MapKind) -> npt.NDArray[np.float32]:
    return material.maps[kind].encoded()


if __name__ == "__main__":
    sys.exit(main())
