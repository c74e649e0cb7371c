"""A `Selection` as weights in the texture: what part of each texel may change.

A brush chooses by the distance in space from its centre to the surface at a texel's centre. So a stroke goes on over
seams, and takes nothing of a chart that lies beside the chosen one in the texture but elsewhere on the mesh. Gutters
have the weight of the border that they belong to.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from texsynth.errors import bad_input
from texsynth.selection import Brush, Selection
from texsynth.surface.ghosts import gutter_width
from texsynth.surface.mesh import Mesh, MeshAsset
from texsynth.surface.raster import UvRaster, uv_mask
from texsynth.surface.reach import nearest_texels

Weights = NDArray[np.uint8]
BAND = 256  # rows that are rasterised at once


def selection_weights(selection: Selection, asset: MeshAsset, size: int, material_index: int | None) -> Weights:
    """uint8 (size, size), 255 = all of the texel: the union of all that `selection` names, in the texture of one of
    the asset's materials (None: of any). Raises TexsynthError(BAD_INPUT) for what is not there, or if nothing is left.
    """
    mesh = _of_material(asset.mesh, material_index)
    weights = np.zeros((size, size), np.uint8)
    listed = _listed(selection, asset)
    if material_index is not None:
        listed &= asset.mesh.material_index == material_index
    if listed.any():
        weights[uv_mask(_some(asset.mesh, listed), size, gutter=0)] = 255
    if selection.brushes:
        _add_brushes(weights, mesh, selection.brushes)
    if not weights.any():
        raise bad_input("selection", f"chooses no texel of {_name(asset, material_index)}", _nearest(selection, mesh))
    covered = uv_mask(mesh, size, gutter=0)
    for rows, columns, from_rows, from_columns in nearest_texels(covered, gutter_width(size)):
        weights[rows, columns] = weights[from_rows, from_columns]
    return weights


def _of_material(mesh: Mesh, material_index: int | None) -> Mesh:
    return mesh if material_index is None else _some(mesh, mesh.material_index == material_index)


def _some(mesh: Mesh, chosen: NDArray[np.bool_]) -> Mesh:
    return replace(mesh, triangles=mesh.triangles[chosen], material_index=mesh.material_index[chosen])


def _listed(selection: Selection, asset: MeshAsset) -> NDArray[np.bool_]:
    """Which triangles are named, by their numbers or by their slots."""
    origin = asset.origin
    if origin is None:
        raise ValueError("the mesh comes from no file: its triangles have no numbers")
    names = origin.names
    for number in selection.triangles:
        if number >= origin.count:
            raise bad_input("selection", f"has the triangle {number}", f"{asset.path.name} has 0..{origin.count - 1}")
    slots = []
    for slot in selection.slots:
        found = [number for number, name in enumerate(names) if name == slot]
        if not found and slot.isdigit() and int(slot) < len(names):
            found = [int(slot)]
        if not found:
            listed = ", ".join(f"{number} {name}" for number, name in enumerate(names)) or "none"
            raise bad_input("selection", f"has the slot '{slot[:80]}'", f"{asset.path.name} has: {listed}")
        slots += found
    return np.asarray(np.isin(origin.triangles, selection.triangles) | np.isin(origin.slots, slots))


def _name(asset: MeshAsset, material_index: int | None) -> str:
    return "the mesh" if material_index is None else f"the material '{asset.materials[material_index].name}'"


def _nearest(selection: Selection, mesh: Mesh) -> str:
    """What would be right."""
    if not selection.brushes:
        return "name triangles or slots of that material, or replace another with --material"
    low, high = mesh.positions[mesh.triangles].min(axis=(0, 1)), mesh.positions[mesh.triangles].max(axis=(0, 1))
    corners = [" ".join(f"{value:.4g}" for value in corner) for corner in (low, high)]
    return f"the surface lies between ({corners[0]}) and ({corners[1]})"


def _add_brushes(weights: Weights, mesh: Mesh, brushes: tuple[Brush, ...]) -> None:
    """Raise `weights` to those of the brushes. Where charts share texels, each of them may be painted on."""
    size = len(weights)
    table = np.array([(each.x, each.y, each.z, each.radius, each.falloff) for each in brushes], np.float64)
    starts, touching = _touching(mesh.positions, mesh.triangles, table)
    left = np.flatnonzero(np.diff(starts))  # triangles near a brush
    while len(left):
        part = replace(mesh, triangles=mesh.triangles[left], material_index=mesh.material_index[left])
        raster, drawn = UvRaster(part, size), np.zeros(len(left), np.bool_)
        for first in range(0, size, BAND):
            seen = raster.rows(first, min(first + BAND, size))
            _paint(
                weights[first : first + BAND], seen.triangle, seen.weights, mesh.positions, part.triangles, left, table,
                starts, touching, drawn,
            )  # fmt: skip
        if not drawn.any():
            break
        left = left[~drawn]  # those all of whose texels belong to others, too


def _touching(
    positions: NDArray[np.float32], triangles: NDArray[np.int32], brushes: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The brushes near triangle t are touching[starts[t] : starts[t + 1]]."""
    starts = np.zeros(len(triangles) + 1, np.int64)
    nothing = np.empty(0, np.int32)
    _note_touching(positions, triangles, brushes, starts, nothing)
    starts = np.cumsum(starts)
    touching = np.empty(int(starts[-1]), np.int32)
    _note_touching(positions, triangles, brushes, starts, touching)
    return starts, touching


@njit(cache=True, nogil=True)
def _note_touching(positions, triangles, brushes, starts, touching):  # type: ignore[no-untyped-def]
    """Count the brushes whose ball reaches the box of each triangle into starts[t + 1]; or, with room for them, write
    them from starts[t] on."""
    counting = len(touching) == 0
    for t in range(len(triangles)):
        place = starts[t]
        for b in range(len(brushes)):
            distance = 0.0
            for c in range(3):
                low = min(positions[triangles[t, 0], c], positions[triangles[t, 1], c], positions[triangles[t, 2], c])
                high = max(positions[triangles[t, 0], c], positions[triangles[t, 1], c], positions[triangles[t, 2], c])
                apart = max(low - brushes[b, c], brushes[b, c] - high, 0.0)
                distance += apart * apart
            if distance < brushes[b, 3] * brushes[b, 3]:
                if counting:
                    starts[t + 1] += 1
                else:
                    touching[place] = b
                    place += 1


@njit(cache=True, nogil=True)
def _paint(  # type: ignore[no-untyped-def]
    weights, triangle, share, positions, triangles, numbers, brushes, starts, touching, drawn
):
    """Raise the weights of one band. numbers: of its triangles among those that `starts` counts."""
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            t = triangle[row, column]
            if t < 0:
                continue
            drawn[t] = True
            for k in range(starts[numbers[t]], starts[numbers[t] + 1]):
                b = touching[k]
                distance = 0.0
                for c in range(3):
                    at = 0.0
                    for corner in range(3):
                        at += share[row, column, corner] * positions[triangles[t, corner], c]
                    distance += (at - brushes[b, c]) ** 2
                inside = 1 - np.sqrt(distance) / brushes[b, 3]  # 1 in the middle, 0 at the rim
                if inside <= 0:
                    continue
                fall = brushes[b, 4]
                reached = 1.0 if inside >= fall else inside / fall
                weight = np.uint8(np.ceil(255 * reached * reached * (3 - 2 * reached)))
                weights[row, column] = max(weights[row, column], weight)
