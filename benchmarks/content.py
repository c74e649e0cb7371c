"""What the content slider does: edges kept and distance to the exemplar, from content 0 to content 1.

    python benchmarks/content.py [--data FOLDER] [--pair CONTENT,STYLE ...] [--size 1024] [--values 0,0.25,0.5,0.75,1]

Restyles the albedo of one exemplar folder (the content) with another one (the style) at every value, and plots the
correlation of the edge maps of result and content, and d of the result to the style. Both should rise steadily: a drop
of at most 0.01 (correlation) or 0.15 (d; two halves of the exemplar differ by 1, two seeds by 0.1 to 0.2) between two
values counts as level. Without --pair the exemplars are paired with their neighbours, three pairs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from exemplars import add_arguments, find_exemplars
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "content")
    parser.add_argument("--pair", action="append", metavar="CONTENT,STYLE", help="names of two exemplars")
    parser.add_argument("--values", default="0,0.25,0.5,0.75,1", metavar="A,B,...", help="values of content")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    arguments = parser.parse_args()
    values = [float(value) for value in arguments.values.split(",")]
    details, pictures = {}, []
    for content, style in _pairs(arguments):
        name = f"{content.name} in {style.name}"
        details[name], shown = sweep(content, style, values, arguments)
        pictures.append(shown)
        for value, measured in zip(values, details[name], strict=True):
            print(f"{name:48} content {value:4.2f}  edges {measured['edges']:.3f}  d {measured['d']:.3f}", flush=True)
    plot(arguments.out / "content.png", values, details)
    contact_sheet(arguments.out / "sheet.png", pictures, 256)
    rows = summary(details)
    show(f"content slider, {arguments.size} px, {arguments.preset}", rows)
    write_results(arguments.out, "content", arguments, rows, {"values": values, "pairs": details})
    return 0 if all(line.passed is not False for line in rows) else 1


def _pairs(arguments: argparse.Namespace) -> list[tuple[Path, Path]]:
    if not arguments.pair:
        found = find_exemplars(arguments)
        return [(found[i], found[(i + 1) % len(found)]) for i in range(0, min(6, len(found)), 2)]
    arguments.only = sorted({name for pair in arguments.pair for name in pair.split(",")})
    by_name = {folder.name: folder for folder in find_exemplars(arguments)}
    by_kind = {name.rsplit("_", 1)[0]: folder for name, folder in by_name.items()} | by_name
    return [(by_kind[content], by_kind[style]) for content, style in (pair.split(",") for pair in arguments.pair)]


def sweep(
    content: Path, style: Path, values: list[float], arguments: argparse.Namespace
) -> tuple[list[dict[str, float]], list[tuple[str, Floats]]]:
    """Edge correlation with the content and d to the style at every value, and the pictures."""
    exemplar = load_material(style).maps[MapKind.ALBEDO].encoded()
    kept = load_material(content).maps[MapKind.ALBEDO].encoded()
    kept = cv2.resize(kept, (arguments.size, arguments.size), interpolation=cv2.INTER_AREA)
    measured, shown = [], [(f"content {content.name}", kept), (f"style {style.name}", exemplar)]
    for value in values:
        folder = Path(tempfile.mkdtemp(prefix="texsynth-content-"))
        try:
            options = Options(size=arguments.size, preset=arguments.preset, content=value)
            restyle(content, style, folder, options, Run())
            result = load_material(folder).maps[MapKind.ALBEDO].encoded()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        measured.append({"edges": edge_correlation(kept, result), "d": texture_distance(result, exemplar)})
        shown.append((f"{value:g}", result))
    return measured, shown


def summary(details: dict[str, list[dict[str, float]]]) -> list[Row]:
    """Both curves must rise; also how far they rise."""
    drops, falls, gains = [], [], []
    for name, measured in details.items():
        edges, d = [run["edges"] for run in measured], [run["d"] for run in measured]
        drops.append((name, max(0.0, *(a - b for a, b in pairwise(edges)))))
        falls.append((name, max(0.0, *(a - b for a, b in pairwise(d)))))
        gains.append((name, edges[-1] - edges[0]))
    least = f"<= {LEVEL_CORRELATION}"
    return [
        row("largest drop of the edge correlation", least, drops, lambda v: max(v) <= LEVEL_CORRELATION),
        row("largest drop of d", f"<= {LEVEL_DISTANCE}", falls, lambda v: max(v) <= LEVEL_DISTANCE),
        row("edge correlation gained from 0 to 1", "> 0", gains, lambda v: min(v) > 0, lambda v: -v),
    ]


def plot(path: Path, values: list[float], details: dict[str, Any]) -> None:
    """One line a pair in each of the two diagrams."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, measured in details.items():
        left.plot(values, [run["edges"] for run in measured], marker="o", label=name)
        right.plot(values, [run["d"] for run in measured], marker="o", label=name)
    left.set(xlabel="content", ylabel="correlation of edge maps with the content")
    right.set(xlabel="content", ylabel="d to the exemplar")
    left.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"{path}")


if __name__ == "__main__":
    sys.exit(main())
