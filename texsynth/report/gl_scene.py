"""What the GL renderer draws, from a mesh and the published levels of its maps; and the views around it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mipmap.material_chain import material_levels
from texsynth.material import DEFAULT_TEXEL, MapKind
from texsynth.published import Image, Published
from texsynth.report.gl_render import VERTEX_FLOATS, Scene, Surface, View
from texsynth.report.render import tangent_frames
from texsynth.surface.mesh import Mesh

Levels = Mapping[MapKind, Sequence[Image]]
FIELD_OF_VIEW = math.radians(28)  # as the report's other pictures
MARGIN = 0.94  # how much of the frame the mesh fills
_PACKED = (MapKind.ROUGHNESS, MapKind.METALNESS, MapKind.OPACITY)


def scene_of(mesh: Mesh, materials: Sequence[Levels]) -> Scene:
    """materials: of each material of the mesh the levels of its maps; one counts for all triangles."""
    index = np.clip(mesh.material_index, 0, len(materials) - 1)
    order = np.argsort(index, kind="stable")
    counts = 3 * np.bincount(index, minlength=len(materials))
    starts = np.cumsum(counts) - counts
    parts = [(int(first), int(count)) for first, count in zip(starts, counts, strict=True)]
    return Scene(_corners(mesh)[order].reshape(-1, VERTEX_FLOATS), [_surface(each) for each in materials], parts)


def published_levels(published: Published, most: int) -> dict[MapKind, list[Image]]:
    """The published levels of each map whose sides are at most `most`."""
    found = {}
    for kind in published.kinds:
        sizes = published.sizes(kind)
        first = next((k for k, size in enumerate(sizes) if max(size) <= most), len(sizes) - 1)
        found[kind] = [published.level(kind, k) for k in range(first, len(sizes))]
    return found


def made_levels(maps: Mapping[MapKind, Image]) -> dict[MapKind, list[Image]]:
    """Levels for maps that come without, by our mip chain, where they share a size; else of each alone."""
    if len({texels.shape[:2] for texels in maps.values()}) == 1:
        return {MapKind(kind): levels for kind, levels in material_levels({str(k): m for k, m in maps.items()}).items()}
    return {kind: material_levels({str(kind): texels})[str(kind)] for kind, texels in maps.items()}


def views_around(mesh: Mesh, count: int, elevation: float = 16.0) -> Iterator[View]:
    """`count` views around +Y at one distance, from the front on, in which the mesh is always whole."""
    low, high = mesh.positions.min(axis=0).astype(np.float64), mesh.positions.max(axis=0).astype(np.float64)
    centre = (low + high) / 2
    y = mesh.positions[:, 1] - centre[1]
    r = np.linalg.norm(mesh.positions[:, [0, 2]] - centre[[0, 2]], axis=1)
    tilt = math.radians(elevation)
    slope = math.tan(FIELD_OF_VIEW / 2) * MARGIN
    # A vertex goes round in a circle. From the nearest eye all of every circle lies within the margin.
    towards, up = math.cos(tilt), math.sin(tilt)
    beside = r * math.hypot(1 / slope, towards) + y * up
    above = [np.abs(y * towards - z * up) / slope + z * towards + y * up for z in (-r, r)]
    distance = max(float(np.max([beside, *above])), 1e-6)
    span = float(np.hypot(r, y).max())
    for number in range(count):
        turn = 2 * math.pi * number / count
        back = np.array([math.sin(turn) * towards, up, math.cos(turn) * towards])
        yield view_from(centre + distance * back, centre, span)


def view_from(eye: NDArray[np.float64], target: NDArray[np.float64], span: float) -> View:
    """From `eye` to `target`; what lies within `span` of it is not clipped unless it is behind the eye."""
    away = eye - target
    distance = float(np.linalg.norm(away))
    back = away / distance
    right = np.cross((0.0, 1.0, 0.0) if abs(back[1]) < 0.999 else (0.0, 0.0, -1.0), back)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(back, right), back])
    near, far = max(distance - 1.1 * span, distance * 1e-3), distance + 1.1 * span
    focal = 1 / math.tan(FIELD_OF_VIEW / 2)
    look = np.eye(4)
    look[:3, :3], look[:3, 3] = axes, -axes @ eye
    lens = np.array(
        [
            [focal, 0, 0, 0],
            [0, focal, 0, 0],
            [0, 0, -(far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, -1, 0],
        ]
    )
    level = np.array([right[0], 0.0, right[2]])
    level /= np.linalg.norm(level)
    studio = np.stack([level, (0.0, 1.0, 0.0), np.cross(level, (0.0, 1.0, 0.0))])
    return View((lens @ look).astype(np.float32), eye.astype(np.float32), studio.astype(np.float32))


def _corners(mesh: Mesh) -> NDArray[np.float32]:
    """float32 (T, 3, 12)."""
    frames = tangent_frames(mesh)
    out = np.empty((len(mesh.triangles), 3, VERTEX_FLOATS), np.float32)
    out[..., 0:3] = mesh.positions[mesh.triangles]
    out[..., 3:6] = mesh.normals[mesh.triangles]
    mirrored = frames.mirrored.astype(np.int64)[:, None]
    out[..., 6:9] = frames.tangents[mirrored, mesh.triangles]
    out[..., 9] = 1 - 2 * mirrored
    out[..., 10:12] = mesh.uvs[mesh.triangles]
    return out


def _surface(levels: Levels) -> Surface:
    whole = {kind: [texels.reshape(*texels.shape[:2], -1) for texels in maps] for kind, maps in levels.items()}
    packed = [whole.get(kind) for kind in _PACKED]
    given = max(
        (maps for maps in packed if maps), key=lambda maps: maps[0].size, default=[np.zeros((1, 1, 1), np.uint8)]
    )
    surface = []
    for number, texels in enumerate(given):
        height, width = texels.shape[:2]
        out = np.empty((height, width, 3), np.uint8)
        for channel, (kind, maps) in enumerate(zip(_PACKED, packed, strict=True)):
            out[..., channel] = _neutral(kind)[0] if maps is None else _fitted(maps, number, (height, width))
        surface.append(out)
    return Surface(
        whole.get(MapKind.ALBEDO) or [_neutral(MapKind.ALBEDO)[None, None]],
        whole.get(MapKind.NORMAL) or [_neutral(MapKind.NORMAL)[None, None]],
        surface,
    )


def _neutral(kind: MapKind) -> NDArray[np.uint8]:
    return np.round(np.array(DEFAULT_TEXEL[kind]) * 255).astype(np.uint8)


def _fitted(maps: Sequence[Image], number: int, size: tuple[int, int]) -> Image:
    """The level of a map that has this size; of another size the nearest texels of one."""
    texels = next((each for each in maps if each.shape[:2] == size), maps[min(number, len(maps) - 1)])
    rows = np.arange(size[0]) * texels.shape[0] // size[0]
    columns = np.arange(size[1]) * texels.shape[1] // size[1]
    return np.asarray(texels[rows][:, columns, 0], np.uint8)
