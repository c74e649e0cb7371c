"""UV seams: how much of a step a restyled mesh shows across them, welded and left, at every mip level to 64 texels.

    python benchmarks/surface.py --meshes FOLDER [--data FOLDER] [--only NAME --only NAME] [--size 2048]
        [--picture docs/pictures/seams.jpg]

Every mesh below FOLDER, and a ball of 384 charts, upright and with every other one mirrored, is restyled without its
own content in every exemplar, with `--seams leave` and `--seams weld`. The step is the mean absolute difference of
encoded values at points half a texel to either side of the seam over that of points as far apart inside the charts, in
the published mip levels (`texsynth.surface.uv_seams`); normals are turned into one chart first. Renders of both stand
side by side on sheet.png, and on close_ups.png a mesh a row where the seams are seen most if they are left, to be
looked at, beside a picture of the seams of which both sides are seen: at other edges one part of the mesh stands before
another, and a pattern ends there because the mesh does. --no-balls leaves the balls out.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from cube_sphere import write_cube_sphere
from exemplars import add_arguments, find_exemplars
from reporting import Row, contact_sheet, row, show, write_results

from texsynth.image_io import read_image
from texsynth.material import MESH_NAMES, MESH_SUFFIXES, MapKind, TextureMap, load_material
from texsynth.options import Options
from texsynth.report.render import render_mesh
from texsynth.restyle import restyle
from texsynth.run import Run
from texsynth.sources import chosen_material
from texsynth.surface.mesh import MeshAsset, load_mesh
from texsynth.surface.uv_seams import sample_seams, seam_error
from texsynth.surface.uv_topology import Topology

BARS = {MapKind.ALBEDO: 1.15, MapKind.NORMAL: 1.25, MapKind.ROUGHNESS: 1.15}
SMALLEST = 64  # texels a side of the last level that is measured
COST = 0.08  # of the time without
PICTURE, CLOSE_UP = 1800, 300  # pixels
SEAM = (230, 30, 20)  # sRGB
Ints = npt.NDArray[np.int64]
Seams = tuple[int | None, list[tuple[Ints, Ints]]]
Labelled = tuple[str, npt.NDArray[np.float32]]
CELLS, SPLIT = 64, 8  # of the ball: 49,152 triangles in 384 charts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "surface")
    parser.add_argument("--meshes", type=Path, required=True, metavar="FOLDER", help="searched deep")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    parser.add_argument("--no-balls", action="store_true", help="only the meshes of the folder")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="the close-ups once more, as this JPEG")
    arguments = parser.parse_args()
    if arguments.picture is not None:
        arguments.picture.parent.mkdir(parents=True, exist_ok=True)
    meshes = sorted(path for path in arguments.meshes.rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
    if not meshes:
        raise SystemExit(f"{arguments.meshes}: holds no {MESH_NAMES}")
    for name, mirrored in () if arguments.no_balls else (("many_charts", False), ("mirrored_charts", True)):
        meshes.append(write_cube_sphere(arguments.out / f"{name}.glb", CELLS, SPLIT, mirrored))
    details, pictures, close_ups = list[dict[str, Any]](), [], []
    for path in meshes:
        mesh, row_of_close_ups = load_mesh(path), list[Labelled]()
        places = seams_of(mesh, arguments.size)
        red = seams_in_red(mesh, places, arguments.size)
        for exemplar in find_exemplars(arguments):
            line = []
            for seams in ("leave", "weld"):
                found, render = restyle_and_measure(mesh, exemplar, seams, arguments)
                details.append(found)
                line.append((f"{path.stem} in {exemplar.name}, {seams}", render))
                print(
                    f"{path.stem:24} {exemplar.name:24} {seams:6} {found['seconds']:6.1f} s  {found['steps']}",
                    flush=True,
                )
            pictures.append(line)
            left = out_of(arguments, path, exemplar, "leave")
            beside = [(f"{path.stem} in {exemplar.name}, seams", red), *line]
            row_of_close_ups += cropped(beside, where_seams_show(mesh, places, left, arguments.size))
        close_ups.append(row_of_close_ups)
    rows = summary(details, arguments.size)
    show(f"seams, {arguments.size} px, {arguments.preset}", rows)
    contact_sheet(arguments.out / "sheet.png", pictures, PICTURE // 2)
    contact_sheet(arguments.out / "close_ups.png", close_ups, CLOSE_UP)
    if arguments.picture is not None:
        cv2.imwrite(
            str(arguments.picture), cv2.imread(str(arguments.out / "close_ups.png")), [cv2.IMWRITE_JPEG_QUALITY, 82]
        )
    write_results(arguments.out, "surface", arguments, rows, details)
    return 0 if all(line.passed is not False for line in rows) else 1


def out_of(arguments: argparse.Namespace, mesh: Path, exemplar: Path, seams: str) -> Path:
    return Path(arguments.out / f"{mesh.stem}_in_{exemplar.name}_{seams}")


def restyle_and_measure(
    mesh: MeshAsset, exemplar: Path, seams: Any, arguments: argparse.Namespace
) -> tuple[dict[str, Any], npt.NDArray[np.float32]]:
    """Restyle once into OUT/MESH_in_EXEMPLAR_SEAMS; the step of each map at each level, and a render."""
    out = out_of(arguments, mesh.path, exemplar, seams)
    options = Options(size=arguments.size, preset=arguments.preset, content=0, seams=seams)
    began = processor_seconds()
    manifest = restyle(mesh.path, exemplar, out, options, Run())
    seconds = processor_seconds() - began
    index = chosen_material(mesh, None) if mesh.materials else None
    topology = Topology(mesh.mesh, index)
    steps = {str(kind): steps_of(out, manifest["maps"][kind], kind, topology) for kind in BARS}
    found = {"mesh": mesh.path.stem, "exemplar": exemplar.name, "seams": seams, "seconds": seconds, "steps": steps}
    return found, picture(mesh, index, out)


def processor_seconds() -> float:
    """Of this process and those it waited for: what else runs on the machine changes it little."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def steps_of(out: Path, entry: dict[str, Any], kind: MapKind, topology: Topology) -> list[tuple[int, float]]:
    """(texels a side, step) of each published level."""
    found = []
    for level in (entry, *entry["mips"]):
        size = level["height"], level["width"]
        samples = sample_seams(topology, size) if min(size) >= SMALLEST else None
        if samples is not None:
            texels = read_image(out / level["file"], colour=False).texels
            found.append((size[0], round(seam_error(TextureMap(kind, texels), samples).ratio, 3)))
    return found


def picture(mesh: MeshAsset, index: int | None, out: Path) -> npt.NDArray[np.float32]:
    """The mesh with its new material."""
    return rendered(mesh, index, {kind: each.texels for kind, each in load_material(out).maps.items()})


def rendered(mesh: MeshAsset, index: int | None, made: dict[MapKind, Any]) -> npt.NDArray[np.float32]:
    """The mesh with these maps for one of its materials."""
    materials = [{kind: each.texels for kind, each in old.maps.items()} for old in mesh.materials]
    if index is not None:
        materials[index] |= made
    render = render_mesh(mesh.mesh, materials or made, PICTURE, supersample=1)
    return np.asarray(render, np.float32) / np.float32(255)


def where_seams_show(mesh: MeshAsset, places: Seams, out: Path, size: int) -> tuple[slice, slice]:
    """The square of a render in which most is seen of the steps at the seams of a result: of its albedo, at its points
    of sampling."""
    _, cells = places
    albedo = load_material(out).maps[MapKind.ALBEDO].texels
    here, there = (albedo[rows, columns].astype(np.int64) for rows, columns in cells)
    shown = seams_shown(mesh, places, size, np.abs(here - there).mean(axis=1))
    sums = cv2.boxFilter(shown, -1, (CLOSE_UP, CLOSE_UP), normalize=False, borderType=cv2.BORDER_CONSTANT)
    middle = np.array(np.unravel_index(sums.argmax(), sums.shape))
    top, left = np.clip(middle - CLOSE_UP // 2, 0, PICTURE - CLOSE_UP)
    return slice(int(top), int(top) + CLOSE_UP), slice(int(left), int(left) + CLOSE_UP)


def seams_shown(mesh: MeshAsset, places: Seams, size: int, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """A render of 0 to 1 of `values`, 0 to 255, of each point of sampling, where both sides of its seam are seen: where
    one part of the mesh stands before another, the seam is often behind."""
    index, cells = places
    black, sides = rendered(mesh, index, {MapKind.ALBEDO: np.zeros((size, size, 3), np.uint8)}), []
    for rows, columns in cells:
        marked = np.zeros((size, size, 3), np.uint8)
        marked[rows, columns] = values[:, None]
        marked = np.asarray(cv2.dilate(marked, np.ones((3, 3), np.uint8)), np.uint8)
        shown = np.abs(rendered(mesh, index, {MapKind.ALBEDO: marked}) - black).mean(axis=2)
        sides.append(cv2.dilate(shown, np.ones((5, 5), np.uint8)))
    return np.asarray(np.minimum(*sides), np.float32)


def seams_of(mesh: MeshAsset, size: int) -> Seams:
    """The material that is restyled, and (rows, columns) of the texels on either side of its seams."""
    index = chosen_material(mesh, None) if mesh.materials else None
    samples = sample_seams(Topology(mesh.mesh, index), (size, size))
    sides = () if samples is None else samples.sides
    cells = [np.mod(side.astype(np.int64), size) for side in sides] or [np.zeros((0, 2), np.int64)] * 2
    return index, [(each[:, 0], each[:, 1]) for each in cells]


def seams_in_red(mesh: MeshAsset, places: Seams, size: int) -> npt.NDArray[np.float32]:
    """The mesh in grey, and in red the seams of which both sides are seen."""
    index, cells = places
    shown = seams_shown(mesh, places, size, np.full(len(cells[0][0]), 255))
    grey, flat = (np.full((size, size, 3), texel, np.uint8) for texel in (150, (128, 128, 255)))
    rough = np.full((size, size), 200, np.uint8)
    found = rendered(mesh, index, {MapKind.ALBEDO: grey, MapKind.NORMAL: flat, MapKind.ROUGHNESS: rough})
    found[shown > 0.1] = np.array(SEAM, np.float32) / 255
    return found


def cropped(line: list[Labelled], part: tuple[slice, slice]) -> list[Labelled]:
    """The same part of all pictures, without the mesh in their labels."""
    return [(label.split(" in ")[1], picture[part]) for label, picture in line]


def summary(details: list[dict[str, Any]], size: int) -> list[Row]:
    rows = []
    for kind, bar in BARS.items():
        for seams in ("weld", "leave"):
            for full in (True, False):
                values = [
                    (f"{each['mesh']} in {each['exemplar']}, {side}", step)
                    for each in details
                    if each["seams"] == seams
                    for side, step in each["steps"][str(kind)]
                    if (side == size) is full
                ]
                what = f"{kind}, step across seams, {'full size' if full else f'mips to {SMALLEST}'}, {seams}"
                rows.append(row(what, f"<= {bar}" if seams == "weld" else "-", values, _most(bar, seams)))
    cost = []
    for with_, without in zip(details[1::2], details[::2], strict=True):
        cost.append((f"{with_['mesh']} in {with_['exemplar']}", with_["seconds"] / without["seconds"] - 1))
    rows.append(
        row(
            "processor time of welding, share of the rest",
            f"<= {COST}, median",
            cost,
            lambda v: bool(np.median(v) <= COST),
        )
    )
    return rows


def _most(bar: float, seams: str) -> Any:
    return (lambda values: max(values) <= bar) if seams == "weld" else None


if __name__ == "__main__":
    sys.exit(main())
