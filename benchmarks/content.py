"""What the content slider does: edges kept and distance to the exemplar, from content 0 to content 1.

    python benchmarks/content.py [--data FOLDER] [--pair CONTENT,STYLE ...] [--size 1024]
                                 [--values 0,0.25,0.5,0.75,1] [--seeds 4]

Restyles the albedo of one exemplar folder (the content) with another one (the style) at every value and with every
seed, and plots the correlation of the edge maps of result and content, and d of the result to the style. Both should
rise steadily. Of the means over the seeds no step from one value to the next may fall by more than 0.01 (correlation)
or 0.15 (d; two halves of the exemplar differ by 1), and that of d by no more than chance explains: twice the standard
error of the mean step, which few seeds make large. Without --pair the exemplars
are paired with their neighbours, three pairs.
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
from matplotlib.figure import Figure
from reporting import Row, contact_sheet, row, show, write_results

from mipmap.metrics import edge_correlation, texture_distance
from texsynth.material import MapKind, load_material
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run

Floats = npt.NDArray[np.float32]

LEVEL_CORRELATION = 0.01
LEVEL_DISTANCE = 0.15
STANDARD_ERRORS = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "content")
    add_pairs(parser, "CONTENT,STYLE")
    parser.add_argument("--values", default="0,0.25,0.5,0.75,1", metavar="A,B,...", help="values of content")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=4, metavar="N", help="seeds 0..N-1, at least 2 (default 4)")
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds {arguments.seeds}: the error of a mean takes at least 2")
    values = [float(value) for value in arguments.values.split(",")]
    details, pictures = {}, []
    for content, style in find_pairs(arguments):
        name = f"{content.name} in {style.name}"
        details[name], shown = sweep(content, style, values, arguments)
        pictures.append(shown)
        for value, measured in zip(values, details[name], strict=True):
            edges, d = float(np.mean(measured["edges"])), float(np.mean(measured["d"]))
            print(f"{name:48} content {value:4.2f}  edges {edges:.3f}  d {d:.3f}", flush=True)
    plot(arguments.out / "content.png", values, details)
    contact_sheet(arguments.out / "sheet.png", pictures, 256)
    rows = summary(details)
    show(f"content slider, {arguments.size} px, {arguments.preset}", rows)
    write_results(arguments.out, "content", arguments, rows, {"values": values, "pairs": details})
    return 0 if all(line.passed is not False for line in rows) else 1


def sweep(
    content: Path, style: Path, values: list[float], arguments: argparse.Namespace
) -> tuple[list[dict[str, list[float]]], list[tuple[str, Floats]]]:
    """Edge correlation with the content and d to the style at every value and seed, and the first seed's pictures."""
    exemplar = load_material(style).maps[MapKind.ALBEDO].encoded()
    kept = load_material(content).maps[MapKind.ALBEDO].encoded()
    kept = cv2.resize(kept, (arguments.size, arguments.size), interpolation=cv2.INTER_AREA)
    measured, shown = [], [(f"content {content.name}", kept), (f"style {style.name}", exemplar)]
    for value in values:
        edges, d = [], []
        for seed in range(arguments.seeds):
            result = restyled(
                content, style, Options(size=arguments.size, preset=arguments.preset, content=value, seed=seed)
            )
            edges.append(edge_correlation(kept, result))
            d.append(texture_distance(result, exemplar))
            if seed == 0:
                shown.append((f"{value:g}", result))
        measured.append({"edges": edges, "d": d})
    return measured, shown


def restyled(content: Path, style: Path, options: Options) -> Floats:
    """The albedo of a result, encoded."""
    folder = Path(tempfile.mkdtemp(prefix="texsynth-content-"))
    try:
        restyle(content, style, folder, options, Run())
        return load_material(folder).maps[MapKind.ALBEDO].encoded()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def summary(details: dict[str, list[dict[str, list[float]]]]) -> list[Row]:
    """Both curves must rise; also how far they rise."""
    drops, falls, errors, gains = [], [], [], []
    for name, measured in details.items():
        edges = np.array([run["edges"] for run in measured])
        steps = np.diff(np.array([run["d"] for run in measured]), axis=0)  # (values - 1, seeds)
        error = steps.std(axis=1, ddof=1) / np.sqrt(steps.shape[1])
        drops.append((name, max(0.0, float(-np.diff(edges.mean(axis=1)).min()))))
        falls.append((name, max(0.0, float(-steps.mean(axis=1).min()))))
        errors.append((name, max(0.0, float((-steps.mean(axis=1) / error).max()))))
        gains.append((name, float(edges[-1].mean() - edges[0].mean())))
    least = f"<= {LEVEL_CORRELATION}"
    return [
        row("largest drop of the edge correlation", least, drops, lambda v: max(v) <= LEVEL_CORRELATION),
        row("largest drop of d", f"<= {LEVEL_DISTANCE}", falls, lambda v: max(v) <= LEVEL_DISTANCE),
        row("its standard errors", f"<= {STANDARD_ERRORS:g}", errors, lambda v: max(v) <= STANDARD_ERRORS),
        row("edge correlation gained from 0 to 1", "> 0", gains, lambda v: min(v) > 0, lambda v: -v),
    ]


def plot(path: Path, values: list[float], details: dict[str, Any]) -> None:
    """One line a pair in each of the two diagrams."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, measured in details.items():
        left.plot(values, [np.mean(run["edges"]) for run in measured], marker="o", label=name)
        right.plot(values, [np.mean(run["d"]) for run in measured], marker="o", label=name)
    left.set(xlabel="content", ylabel="correlation of edge maps with the content")
    right.set(xlabel="content", ylabel="d to the exemplar")
    left.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"{path}")


if __name__ == "__main__":
    sys.exit(main())
