"""Meshes of many triangles: the seconds and the memory of their maps, and of a restyle, with growing numbers of them.

    python benchmarks/large_meshes.py [--data FOLDER --only NAME] [--size 2048]

Each is a fresh process, start-up included. The maps are those of a 4096 px texture: chart, place, normal, tangent and
texel size at every texel, band by band, and what lies across the seams on every level. Restyles are `draft`, with one
exemplar, the first one found, and 62 thousand, 250 thousand and a million triangles. A cost that is linear in them adds
as much for each further million from the second to the third as from the first to the second. Close other programs
first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cube_sphere import write_cube_sphere
from exemplars import add_arguments, find_exemplars
from measured import measured_process, measured_run
from reporting import Row, row, show, write_results

from texsynth.surface.gbuffer import GBufferRaster
from texsynth.surface.gutters import Gutters
from texsynth.surface.mesh import load_mesh
from texsynth.surface.uv_topology import Topology

MAPS_CELLS, MAPS_SIZE = 77, 4096  # 71,148 triangles
MAPS_SECONDS, MAPS_GB = 3.0, 1.5
RESTYLED_CELLS = (72, 144, 289)
LARGEST_GROWTH = 1.25  # 1: linear
BAND = 256  # rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "large_meshes")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--maps-of", type=Path, metavar="MESH", help=argparse.SUPPRESS)  # in a process of its own
    arguments = parser.parse_args()
    if arguments.maps_of is not None:
        make_maps(arguments.maps_of)
        return 0
    exemplar = find_exemplars(arguments)[0]
    with tempfile.TemporaryDirectory() as folder:
        mesh = write_cube_sphere(Path(folder) / "maps.glb", MAPS_CELLS)
        measured_process(__file__, "--maps-of", str(mesh))  # what is compiled once lies in the cache after this
        maps = {"triangles": 12 * MAPS_CELLS**2, **measured_process(__file__, "--maps-of", str(mesh))}
        print(f"maps {maps}", flush=True)
        runs = [restyled(Path(folder), cells, exemplar, arguments.size) for cells in RESTYLED_CELLS]
    rows = summary(maps, runs)
    show(f"large meshes in {exemplar.name}", rows)
    write_results(arguments.out, "large_meshes", arguments, rows, {"maps": maps, "restyled": runs})
    return 0 if all(line.passed is not False for line in rows) else 1


def make_maps(path: Path) -> None:
    """The maps of a mesh."""
    began = time.monotonic()
    mesh = load_mesh(path).mesh
    raster = GBufferRaster(mesh, MAPS_SIZE)
    for first in range(0, MAPS_SIZE, BAND):
        raster.rows(first, first + BAND)
    print(f"texel size and places after {time.monotonic() - began:.2f} s")
    Gutters(Topology(mesh, None), MAPS_SIZE)
    print(f"seams after {time.monotonic() - began:.2f} s")


def restyled(folder: Path, cells: int, exemplar: Path, size: int) -> dict[str, Any]:
    """What a restyle of 12 `cells`^2 triangles takes."""
    mesh = write_cube_sphere(folder / f"{cells}.glb", cells)
    options = ["--style", str(exemplar), "--size", str(size), "--preset", "draft", "--content", "0"]
    found = {"triangles": 12 * cells**2, **measured_run("restyle", str(mesh), *options)}
    print(found, flush=True)
    return found


def summary(maps: dict[str, Any], runs: list[dict[str, Any]]) -> list[Row]:
    name = f"{maps['triangles']:,} triangles at {MAPS_SIZE}"
    rows = [
        row("maps, seconds", f"<= {MAPS_SECONDS}", [(name, maps["seconds"])], lambda v: v[0] <= MAPS_SECONDS),
        row("maps, peak GB", f"<= {MAPS_GB}", [(name, maps["peak_gb"])], lambda v: v[0] <= MAPS_GB),
    ]
    labels = [f"{run['triangles']:,} triangles" for run in runs]
    for key, what in (("seconds", "restyle, seconds"), ("peak_gb", "restyle, peak GB")):
        rows.append(row(what, "-", [(label, run[key]) for label, run in zip(labels, runs, strict=True)]))
        few, some, many = ((run[key], run["triangles"] / 1e6) for run in runs)
        first, second = ((b[0] - a[0]) / (b[1] - a[1]) for a, b in ((few, some), (some, many)))
        rows.append(row(f"{what}, added by a million", "-", [("from few", first), ("from many", second)]))
        if key == "seconds":  # memory has another peak in the run of few triangles, above which nothing is added
            growth = [("from many over from few", second / first)]
            rows.append(row(f"{what}, growth", f"<= {LARGEST_GROWTH}", growth, lambda v: v[0] <= LARGEST_GROWTH))
    return rows


if __name__ == "__main__":
    sys.exit(main())
