"""A mesh of any number of triangles and charts for benchmarks: a ball with dents, made of the six sides of a cube."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trimesh
from PIL import Image

Doubles = npt.NDArray[np.float64]
DENTS = 0.08  # of the radius
GUTTER = 1 / 256  # of the texture's side, around every chart


def write_cube_sphere(path: Path, cells: int, split: int = 1, mirrored: bool = False) -> Path:
    """Write a .glb of 12 `cells`^2 triangles in 6 `split`^2 square charts, upright; returns `path`.

    cells: quads along an edge of the cube, a multiple of `split`. mirrored: every other chart is mirrored in the
    texture. The surface is closed and a metre wide.
    """
    many = cells // split
    across = int(np.ceil(np.sqrt(6 * split**2)))  # charts in a row of the texture
    steps = np.linspace(-1, 1, cells + 1)
    grid = np.stack(np.meshgrid(np.arange(many + 1), np.arange(many + 1), indexing="ij"), -1).reshape(-1, 2)
    start = (np.arange(many)[:, None] * (many + 1) + np.arange(many)).ravel()
    right, down = start + 1, start + many + 1
    quads = np.concatenate([np.c_[start, down, right], np.c_[right, down, down + 1]])
    places, uvs, triangles = list[Doubles](), list[Doubles](), list[npt.NDArray[np.int64]]()
    for number, (side, row, column) in enumerate(np.ndindex(6, split, split)):
        y, x = steps[row * many + grid[:, 0]], steps[column * many + grid[:, 1]]
        places.append(_side(side, x, y))
        v, u = (grid / many).T
        shown = np.stack([1 - u if mirrored and number % 2 else u, v], axis=1)
        corner = np.array([number % across, number // across])
        uvs.append((corner + GUTTER * across + shown * (1 - 2 * GUTTER * across)) / across)
        triangles.append(quads + number * len(grid))
    on_cube = np.concatenate(places)
    unit = on_cube / np.linalg.norm(on_cube, axis=1, keepdims=True)
    radius = 0.5 * (1 + DENTS * np.sin(5 * unit[:, 0]) * np.sin(4 * unit[:, 1] + 1) * np.sin(6 * unit[:, 2] + 2))
    _write(path, unit * radius[:, None], unit, np.concatenate(uvs), np.concatenate(triangles))
    return path


def _side(side: int, x: Doubles, y: Doubles) -> Doubles:
    """Places on one side of the cube -1..1, seen from outside with x to the right and y down."""
    one = np.ones_like(x)
    return np.stack(
        [(x, -y, one), (one, -y, -x), (-x, -y, -one), (-one, -y, x), (x, one, y), (x, -one, -y)][side], axis=1
    )


def _write(path: Path, places: Doubles, normals: Doubles, uvs: Doubles, triangles: npt.NDArray[np.int64]) -> None:
    looks: Any = trimesh.visual
    material = looks.material.PBRMaterial(name="ball", baseColorTexture=Image.new("RGB", (64, 64), (150, 140, 130)))
    # trimesh counts v from the bottom row and turns it over on the way to and from glTF.
    looks = looks.TextureVisuals(uv=uvs * (1, -1) + (0, 1), material=material)
    body = trimesh.Trimesh(places, triangles, vertex_normals=normals, visual=looks, process=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    body.export(path)
