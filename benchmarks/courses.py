"""Bricks of one size: how high the courses are on every chart of a restyled mesh, and which way they run.

    python benchmarks/courses.py --meshes FOLDER [--size 2048] [--width 0.8] [--picture docs/pictures/courses.jpg]

Every mesh below FOLDER is restyled in our own bricks, with `--fit uv` and `--fit surface`. Each chart is then laid flat
and upright at the size that it has on the surface, and the height of its courses is where its autocorrelation downwards
has its main peak, among charts that hold at least `COURSES` of them. The spread is that of the middle 90 % of the area
over its median; level is the share of the area whose courses run level, and not upright or with no order.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from exemplars import add_arguments, generated
from reporting import Row, contact_sheet, row, show, write_results
from surface import picture

from texsynth.image_io import read_image
from texsynth.material import MESH_SUFFIXES
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.sources import chosen_material
from texsynth.surface.flatten import areas
from texsynth.surface.mesh import MeshAsset, load_mesh
from texsynth.surface.pattern import plan_plane
from texsynth.surface.rebake import carried, to_plane
from texsynth.surface.uv_topology import Topology

Floats = npt.NDArray[np.float64]
IN_EXEMPLAR = 15  # courses
TEXELS = 24  # of a course on the charts laid flat
COURSES = 5  # on a chart that is measured
STRONG = 0.15  # of the autocorrelation, for a peak to be one
SPREAD = 0.10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "courses")
    parser.add_argument("--meshes", type=Path, required=True, metavar="FOLDER", help="searched deep")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--width", type=float, default=0.8, help="of the exemplar, of the mesh's extent")
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the renders once more, as this JPEG")
    arguments = parser.parse_args()
    if arguments.picture is not None:
        arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    exemplar = generated("brick", Path("out/benchmarks/exemplars"))
    details, pictures = list[dict[str, Any]](), []
    for path in sorted(path for path in arguments.meshes.rglob("*") if path.suffix.lower() in MESH_SUFFIXES):
        mesh, line = load_mesh(path), []
        width = arguments.width * float(np.ptp(mesh.mesh.positions, axis=0).max())
        for fit in ("uv", "surface"):
            out = arguments.out / f"{path.stem}_{fit}"
            options = Options(size=arguments.size, preset=arguments.preset, content=0, fit=fit, style_size=width)
            restyle(path, exemplar, out, options, Run())
            index = chosen_material(mesh, None) if mesh.materials else None
            found = {"mesh": path.stem, "fit": fit} | courses(mesh, index, out, arguments.size, width)
            print(f"{path.stem:24} {fit:8} {found}", flush=True)
            details.append(found)
            line.append((f"{path.stem}, {fit}", picture(mesh, index, out)))
        pictures.append(line)
    rows = summary(details)
    show(f"courses, {arguments.size} px, {arguments.preset}", rows)
    contact_sheet(arguments.out / "sheet.png", pictures, 800)
    if arguments.picture is not None:
        sheet = cv2.imread(str(arguments.out / "sheet.png"))
        cv2.imwrite(str(arguments.picture), sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])
    write_results(arguments.out, "courses", arguments, rows, details)
    return 0 if all(line.passed is not False for line in rows) else 1


def courses(mesh: MeshAsset, index: int | None, out: Path, size: int, width: float) -> dict[str, Any]:
    """Spread of the courses' heights, over that which `--style-size` asks for, and the share that is level."""
    texels = read_image(out / "roughness.png", colour=False).texels.astype(np.float32) / 255  # knows joints from bricks
    plane = plan_plane(Topology(mesh.mesh, index), size, TEXELS * IN_EXEMPLAR / width, 0.0, join=False)
    flat = carried(texels[:, :, 0], to_plane(plane, mesh.mesh, plane.size)).astype(np.float64)
    of = Topology(plane.mesh, None).chart
    here = to_plane(plane, mesh.mesh, plane.size).here.rows(0, plane.size).triangle
    heights, weights, total = list[float](), list[float](), 0.0
    for chart in range(int(of.max()) + 1):
        corners = plane.corners[of == chart].reshape(-1, 2)
        (left, top), (right, bottom) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        part = slice(int(top), int(bottom)), slice(int(left), int(right))
        inside = (here[part] >= 0) & (of[here[part]] == chart)
        expected = plane.density * width / IN_EXEMPLAR
        if inside.sum() < (COURSES * expected) ** 2 or bottom - top < COURSES * expected:
            continue
        area = float(np.abs(areas(plane.corners[of == chart])).sum())
        total += area
        down, across = (period(each, mask) for each, mask in ((flat[part], inside), (flat[part].T, inside.T)))
        if down is not None and (across is None or down[1] > across[1]):
            heights.append(down[0] / expected)
            weights.append(area)
    if not heights:
        return {"charts": 0, "level": 0.0, "spread": 1.0, "height": 0.0}
    order = np.argsort(heights)
    share = np.cumsum(np.array(weights)[order]) / sum(weights)
    low, middle, high = (float(np.array(heights)[order][np.searchsorted(share, at)]) for at in (0.05, 0.5, 0.95))
    return {"charts": len(heights), "level": sum(weights) / total, "spread": (high - low) / middle, "height": middle}


def period(image: Floats, inside: npt.NDArray[np.bool_]) -> tuple[float, float] | None:
    """Texels downwards to the main peak of the autocorrelation, and its height; None without one."""
    values = np.where(inside, image - image[inside].mean(), 0.0)
    shape = [2 * n for n in values.shape]
    spectra = [np.fft.rfft2(each, shape) for each in (values, inside.astype(np.float64))]
    sums, counts = (np.fft.irfft2(np.abs(each) ** 2, shape)[: values.shape[0] // 2 + 1, 0] for each in spectra)
    line = sums / np.maximum(counts, 1) / max(values[inside].var(), 1e-12)
    line[counts < 0.2 * counts[0]] = 0
    below = np.flatnonzero(line < 0)  # the peak at no shift ends here
    if len(below) == 0:
        return None
    peaks = [i for i in range(below[0], len(line) - 1) if line[i] >= max(line[i - 1], line[i + 1]) and line[i] > STRONG]
    if not peaks:
        return None
    highest = max(line[peaks])
    first = next(i for i in peaks if line[i] > 0.5 * highest)  # and not one of its multiples
    a, b, c = line[first - 1 : first + 2]
    return first + 0.5 * (a - c) / min(a - 2 * b + c, -1e-12), float(b)


def summary(details: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for fit in ("surface", "uv"):
        mine = [each for each in details if each["fit"] == fit and each["charts"]]
        bar = f"<= {SPREAD}" if fit == "surface" else "-"
        passed = (lambda values: max(values) <= SPREAD) if fit == "surface" else None
        rows.append(
            row(f"spread of the courses' heights, {fit}", bar, [(m["mesh"], m["spread"]) for m in mine], passed)
        )
        rows.append(
            row(
                f"height of the courses over that asked for, {fit}",
                "-",
                [(m["mesh"], m["height"]) for m in mine],
                None,
                lambda value: abs(value - 1),
            )
        )
        rows.append(
            row(f"share of the area whose courses are level, {fit}", "-", [(m["mesh"], m["level"]) for m in mine])
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
