"""Real meshes: restyle each with two exemplars and check that the result opens as a textured glTF.

    python benchmarks/meshes.py --meshes FOLDER [--data FOLDER] [--only NAME --only NAME] [--size 2048]

Every mesh below FOLDER is restyled with two exemplars (those of --only, else the first two). asset.glb
is then loaded again by trimesh: every geometry that had texture coordinates and a base colour image must still have
them, and at least one image must be new and of the asked size. preview.png of all results is collected on one sheet,
to be looked at.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trimesh
from exemplars import add_arguments, find_exemplars
from reporting import contact_sheet, row, show, write_results

from texsynth.errors import TexsynthError
from texsynth.image_io import DecodeLimits, read_image
from texsynth.material import MESH_NAMES, MESH_SUFFIXES
from texsynth.options import Options
from texsynth.restyle import restyle
from texsynth.run import Run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "meshes")
    parser.add_argument(
        "--meshes", type=Path, required=True, metavar="FOLDER", help="folder with meshes, searched deep"
    )
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--preset", choices=("draft", "standard", "high"), default="standard")
    parser.add_argument("--content", type=float, default=0.5)
    arguments = parser.parse_args()
    meshes = sorted(path for path in arguments.meshes.rglob("*") if path.suffix.lower() in MESH_SUFFIXES)
    if not meshes:
        raise SystemExit(f"{arguments.meshes}: holds no {MESH_NAMES}")
    details, pictures = [], []
    for mesh in meshes:
        line = []
        for exemplar in find_exemplars(arguments)[:2]:
            found, preview = restyle_and_check(mesh, exemplar, arguments)
            details.append(found)
            line.append((f"{mesh.stem} in {exemplar.name}", preview))
            print(
                f"{mesh.stem:24} {exemplar.name:24} {found['seconds']:6.1f} s  {found['restyled']} geometries  "
                f"{'; '.join(found['problems']) or 'opens'}",
                flush=True,
            )
        pictures.append(line)
    opened = [(f"{found['mesh']} in {found['exemplar']}", float(not found["problems"])) for found in details]
    rows = [row("opens with the new material", "all", opened, lambda v: min(v) == 1, lambda value: -value)]
    show(f"meshes, {arguments.size} px, {arguments.preset}", rows)
    contact_sheet(arguments.out / "sheet.png", pictures, 512)
    write_results(arguments.out, "meshes", arguments, rows, details)
    return 0 if rows[0].passed else 1


def restyle_and_check(
    mesh: Path, exemplar: Path, arguments: argparse.Namespace
) -> tuple[dict[str, Any], npt.NDArray[np.float32]]:
    """Restyle once into OUT/MESH_in_EXEMPLAR; what is wrong with the result, and its preview."""
    out = arguments.out / f"{mesh.stem}_in_{exemplar.name}"
    out.mkdir(parents=True, exist_ok=True)
    options = Options(size=arguments.size, preset=arguments.preset, content=arguments.content)
    began = time.monotonic()
    problems: list[str] = []
    try:
        restyle(mesh, exemplar, out, options, Run())
    except TexsynthError as error:
        problems.append(str(error))
    seconds = time.monotonic() - began
    restyled = "none"
    if not problems:
        restyled, problems = check(mesh, out / "asset.glb", arguments.size)
    found = {
        "mesh": mesh.stem,
        "exemplar": exemplar.name,
        "seconds": seconds,
        "restyled": restyled,
        "problems": problems,
    }
    preview = out / "preview.png"
    if not preview.exists():
        return found, np.zeros((64, 64, 3), np.float32)
    return found, read_image(preview, DecodeLimits()).texels[..., :3].astype(np.float32) / 255


def check(source: Path, asset: Path, size: int) -> tuple[str, list[str]]:
    """How many geometries have a new material, and what is wrong; read by trimesh, which is not our writer."""
    if not asset.exists():
        return "none", ["asset.glb is missing"]
    before = trimesh.load_scene(source).geometry
    try:
        after = trimesh.load_scene(asset).geometry
    except Exception as error:  # whatever the loader says is the finding
        return "none", [f"asset.glb does not load: {error}"]
    problems = [f"{len(before)} geometries became {len(after)}"] if len(after) != len(before) else []
    old = {_fingerprint(image) for geometry in before.values() if (image := _base_colour(geometry)) is not None}
    new = 0
    for name, geometry in after.items():
        uv, image = getattr(geometry.visual, "uv", None), _base_colour(geometry)
        if name in before and _base_colour(before[name]) is not None and image is None:
            problems.append(f"{name}: lost its base colour texture")
        if image is not None and (uv is None or len(uv) != len(geometry.vertices) or not np.isfinite(uv).all()):
            problems.append(f"{name}: no usable texture coordinates")
        new += image is not None and image.size == (size, size) and _fingerprint(image) not in old
    if not new:
        problems.append(f"no geometry has a new base colour of {size} x {size}")
    return f"{new} of {len(after)}", problems


def _base_colour(geometry: trimesh.Trimesh) -> Any:
    return getattr(getattr(geometry.visual, "material", None), "baseColorTexture", None)


def _fingerprint(image: Any) -> bytes:
    return bytes(image.convert("RGB").resize((64, 64)).tobytes())


if __name__ == "__main__":
    sys.exit(main())
