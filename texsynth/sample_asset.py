"""The demo's mesh: a stone urn on a brick pedestal, built, unwrapped and textured here, so that no data is needed.

The parts are profiles swept around a circle or a rounded square. Every strip of a profile unrolls to rectangular
charts of one texel density, top of the image up, none mirrored; the base textures are our procedural materials copied
into them texel by texel. Lengths are metres, y is up, the front faces +z.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import trimesh
from PIL import Image

from texsynth.errors import bad_input, from_os_error
from texsynth.material import MapKind, Material, linear_to_srgb
from texsynth.run import write_atomically
from texsynth.train.procedural import generate

Array = npt.NDArray[np.float64]
Texels = npt.NDArray[np.float32]

GUTTER = 1 / 128  # of the atlas, on each side of a chart: 8 texels at 1024
_CORNER = 0.12  # radius of a rounded square's corners over its half-width
_SNAP = 256  # chart corners lie on this grid, so that materials land on whole texels at every usual size


@dataclass(frozen=True)
class _Base:
    """A procedural material and the width in metres that one repeat of it covers on the mesh."""

    kind: str
    seed: int
    period: float


BRICK = _Base("brick", 2, 0.948)
CONCRETE = _Base("concrete", 1, 0.948)
MARBLE = _Base("marble", 4, 0.8)
BRASS = _Base("brushed_metal", 8, 0.4)
SOIL = _Base("soil", 3, 0.6)


@dataclass(frozen=True)
class _Chart:
    """A patch of the surface: a grid of points and where each lies in the chart, in metres from its top left.

    `along`, `down` is the place of the top left corner in the material; `around` is the length after which the strip
    closes (0: it does not), where the material is blended into its own beginning. `shade` darkens the albedo by the
    distance from the top, the bottom (metres): dirt that gathers in the angle between two parts.
    """

    points: Array  # (rows, columns, 3)
    flat: Array  # (rows, columns, 2): right, down
    size: tuple[float, float]  # width, height in metres
    base: _Base
    along: float = 0.0
    down: float = 0.0
    around: float = 0.0
    shade: tuple[float, float] = (0.0, 0.0)


def _circle(angle: Array, radius: float) -> Array:
    """(n, 2) x, z at the angles, which run from the front (+z) to the right (+x), radians."""
    return radius * np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _rounded_square(angle: Array, radius: float) -> Array:
    """As `_circle` for a square of half-width `radius` with rounded corners; equal steps in angle are equal lengths."""
    corner = _CORNER * radius
    side, arc = 2 * (radius - corner), corner * np.pi / 2
    face, rest = np.divmod((angle / (np.pi / 2) + 0.5) % 4 * (side + arc), side + arc)
    # Over one face: half a corner, the straight side, half a corner. x to the right, z outwards.
    turn = np.where(rest < arc / 2, rest / corner - np.pi / 4, np.clip((rest - arc / 2 - side) / corner, 0, np.pi / 4))
    x = np.clip(rest - arc / 2, 0, side) - side / 2 + corner * np.sin(turn)
    z = radius - corner + corner * np.cos(turn)
    heading = face * np.pi / 2
    return np.stack([x * np.cos(heading) + z * np.sin(heading), z * np.cos(heading) - x * np.sin(heading)], axis=-1)


def _square_shares() -> Array:
    """Where along a rounded square's perimeter (0..1, from a corner's middle) it needs vertices: mostly in corners."""
    arc = _CORNER * np.pi / 2
    bend = arc / (2 * (1 - _CORNER) + arc) / 2
    face = np.concatenate(
        [np.linspace(0, bend, 4), np.linspace(bend, 1 - bend, 5)[1:], np.linspace(1 - bend, 1, 4)[1:]]
    )
    return np.append(np.concatenate([k + face[:-1] for k in range(4)]) / 4, 1.0)


def _perimeter(path: Callable[[Array, float], Array], radius: float) -> float:
    loop = path(np.linspace(0, 2 * np.pi, 4097), radius)
    return float(np.hypot(*np.diff(loop, axis=0).T).sum())


def _strip(
    path: Callable[[Array, float], Array],
    profile: Sequence[tuple[float, float]],
    base: _Base,
    *,
    parts: int,
    shares: Array,
    shade: tuple[float, float] = (0.0, 0.0),
    inside: bool = False,
    down: float = 0.0,
    flutes: tuple[int, float] = (0, 0.0),
) -> list[_Chart]:
    """Charts of a profile (radius, y), listed from its lower to its upper edge, swept once around in `parts` pieces,
    with vertices at the `shares` of the perimeter.

    `inside` is for surfaces seen from within, listed from upper to lower: their charts are turned by 180 degrees, so
    that the top of the image is up there too. `flutes` are a number of vertical ribs and their relative depth.
    """
    outline = np.asarray(profile, np.float64)
    lengths = np.hypot(*np.diff(outline, axis=0).T)
    run = np.concatenate([[0], np.cumsum(lengths)])
    around = _perimeter(path, float(np.average((outline[1:, 0] + outline[:-1, 0]) / 2, weights=lengths)))
    width, height = around / parts, float(run[-1])
    charts = []
    for part in range(parts):
        share = shares[(shares >= part / parts - 1e-9) & (shares <= (part + 1) / parts + 1e-9)]
        angle = 2 * np.pi * share - np.pi / 4
        rows = []
        for (radius, y), at in zip(outline, run, strict=True):
            ribs = 1 + flutes[1] * np.abs(np.sin(flutes[0] * angle / 2)) * np.sin(np.pi * at / height)
            xz = path(angle, radius) * ribs[:, None]
            rows.append(np.stack([xz[:, 0], np.full(len(angle), y), xz[:, 1]], axis=-1))
        across = np.broadcast_to(share * around - part * width, (len(run), len(angle)))
        below = np.broadcast_to((height - run)[:, None], across.shape)
        flat = np.stack([across, below], axis=-1)
        start = part * width
        if inside:
            flat = np.array([width, height]) - flat
            start = around - (part + 1) * width
        charts.append(
            _Chart(np.array(rows), flat, (width, height), base, start, down, around if parts > 1 else 0.0, shade)
        )
    return charts


def _lid(path: Callable[[Array, float], Array], radius: float, y: float, base: _Base, shares: Array) -> _Chart:
    """A level face seen from above, filled with rings; the image's right is +x, its top the back."""
    angle = 2 * np.pi * shares - np.pi / 4
    rows = []
    for scale in (1.0, 0.72, 0.38, 0.0):
        xz = path(angle, radius) * scale
        rows.append(np.stack([xz[:, 0], np.full(len(angle), y), xz[:, 1]], axis=-1))
    points = np.array(rows)
    return _Chart(points, points[..., [0, 2]] + radius, (2 * radius, 2 * radius), base)


def _curve(*control: tuple[float, float], count: int) -> list[tuple[float, float]]:
    """`count` points of a Bezier curve."""
    t = np.linspace(0, 1, count)[:, None]
    points = [np.asarray(c, np.float64)[None] + 0 * t for c in control]
    while len(points) > 1:
        points = [a + (b - a) * t for a, b in pairwise(points)]
    return [(float(r), float(y)) for r, y in points[0]]


def _charts() -> list[_Chart]:
    square: dict[str, Any] = {"path": _rounded_square, "shares": _square_shares()}
    circle: dict[str, Any] = {"path": _circle, "shares": np.linspace(0, 1, 73)}
    fluted: dict[str, Any] = {"path": _circle, "shares": np.linspace(0, 1, 145)}
    # Pedestal: plinth, shaft, cornice and slab. Two repeats of the brick go around the shaft, so its courses meet.
    charts = _strip(profile=[(0.31, 0.0), (0.31, 0.11)], base=CONCRETE, parts=4, shade=(0.0, 0.9), **square)
    slope = [(0.31, 0.11), *_curve((0.305, 0.115), (0.26, 0.118), (0.252, 0.155), count=6)]
    charts += _strip(profile=slope, base=CONCRETE, parts=4, down=0.2, shade=(0.5, 0.0), **square)
    charts += _strip(profile=[(0.245, 0.155), (0.245, 0.68)], base=BRICK, parts=4, shade=(1.0, 0.8), **square)
    cornice = [*_curve((0.25, 0.68), (0.255, 0.73), (0.31, 0.735), count=6), (0.322, 0.742)]
    charts += _strip(profile=cornice, base=CONCRETE, parts=4, down=0.3, shade=(0.3, 0.0), **square)
    slab = [(0.325, 0.745), (0.325, 0.808), (0.315, 0.82)]
    charts += _strip(profile=slab, base=CONCRETE, parts=4, down=0.5, **square)
    charts.append(_lid(radius=0.315, y=0.82, base=CONCRETE, **square))
    # Urn: foot, stem, brass collar, fluted bowl, brass band, neck, lip, inside, earth.
    foot = [(0.150, 0.82), (0.150, 0.85), *_curve((0.145, 0.86), (0.11, 0.862), (0.09, 0.88), count=4)]
    charts += _strip(profile=foot, base=MARBLE, parts=2, shade=(0.0, 0.9), **circle)
    stem = _curve((0.09, 0.88), (0.055, 0.90), (0.055, 0.955), (0.085, 0.97), count=8)
    charts += _strip(profile=stem, base=MARBLE, parts=1, shade=(0.4, 0.4), **circle)
    collar = _curve((0.088, 0.97), (0.108, 0.975), (0.108, 0.995), (0.088, 1.0), count=6)
    charts += _strip(profile=collar, base=BRASS, parts=1, **circle)
    bowl = _curve((0.09, 1.0), (0.18, 1.0), (0.235, 1.05), (0.245, 1.12), count=10)
    charts += _strip(profile=bowl, base=MARBLE, parts=2, shade=(0.0, 0.7), flutes=(24, 0.05), **fluted)
    band = _curve((0.247, 1.12), (0.262, 1.125), (0.262, 1.155), (0.247, 1.16), count=6)
    charts += _strip(profile=band, base=BRASS, parts=2, **circle)
    neck = _curve((0.245, 1.16), (0.235, 1.24), (0.225, 1.30), (0.285, 1.33), count=9)
    charts += _strip(profile=neck, base=MARBLE, parts=2, shade=(0.0, 0.5), down=0.35, **circle)
    lip = _curve((0.285, 1.33), (0.318, 1.335), (0.315, 1.375), (0.272, 1.365), count=8)
    charts += _strip(profile=lip, base=MARBLE, parts=2, down=0.1, **circle)
    throat = _curve((0.272, 1.365), (0.235, 1.355), (0.215, 1.32), (0.215, 1.27), count=6)
    charts += _strip(profile=throat, base=MARBLE, parts=2, shade=(0.0, 0.9), inside=True, **circle)
    charts.append(_lid(radius=0.218, y=1.275, base=SOIL, **circle))
    return charts


def _place(sizes: Sequence[tuple[float, float]], order: Sequence[int], scale: float) -> list[tuple[int, int]] | None:
    """Top left corners, in steps of 1 / _SNAP, of rectangles put in `order` where they end highest; None: no room."""
    skyline = np.zeros(_SNAP, int)
    corners: list[tuple[int, int]] = [(0, 0)] * len(sizes)
    for i in order:
        width, height = (int(np.ceil((side * scale + 2 * GUTTER) * _SNAP)) for side in sizes[i])
        if width > _SNAP:
            return None
        tops = np.lib.stride_tricks.sliding_window_view(skyline, width).max(axis=1)
        left = int(np.argmin(tops))
        if tops[left] + height > _SNAP:
            return None
        corners[i] = (left, int(tops[left]))
        skyline[left : left + width] = tops[left] + height
    return corners


def _pack(sizes: Sequence[tuple[float, float]]) -> tuple[float, list[tuple[int, int]]]:
    """Atlas sides per metre, the largest that was found, and the top left corner of every chart with its gutter.

    Orders from tall to low, a little shuffled, are tried one after the other; the shuffling is always the same.
    """
    rng = np.random.Generator(np.random.PCG64(1))
    best: tuple[float, list[tuple[int, int]]] = (0.0, [])
    for attempt in range(150):
        jitter = rng.uniform(1 - 0.005 * attempt, 1, len(sizes))
        order = [int(i) for i in np.argsort(-np.array([h + 0.05 * w for w, h in sizes]) * jitter, kind="stable")]
        scale = best[0] + 0.002 if best[0] else 0.2
        while corners := _place(sizes, order, scale):
            best = (scale, corners)
            scale += 0.002
    return best


def _mesh(charts: Sequence[_Chart], scale: float, corners: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Vertices, normals, triangles (counter-clockwise from outside) and UVs (v = 0 at the top row) of all charts."""
    vertices, normals, uvs, faces = [], [], [], []
    first = 0
    for chart, (left, top) in zip(charts, corners, strict=True):
        rows, columns = chart.points.shape[:2]
        index = first + np.arange(rows * columns).reshape(rows, columns)
        a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
        quads = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
        flat = chart.points.reshape(-1, 3)
        local = quads - first
        face_normals = np.cross(flat[local[:, 1]] - flat[local[:, 0]], flat[local[:, 2]] - flat[local[:, 0]])
        solid = np.linalg.norm(face_normals, axis=1) > 1e-12  # rings that shrink to a point leave slivers
        faces.append(quads[solid])
        smooth = np.zeros_like(flat)
        for corner in range(3):
            np.add.at(smooth, local[solid][:, corner], face_normals[solid])
        # A strip that closes on itself has its first and last column at the same place.
        grid = smooth.reshape(rows, columns, 3)
        if np.allclose(chart.points[:, 0], chart.points[:, -1], atol=1e-9):
            grid[:, 0] = grid[:, -1] = grid[:, 0] + grid[:, -1]
        if np.allclose(chart.points[-1], chart.points[-1, :1], atol=1e-9):
            grid[-1] = grid[-1].sum(axis=0)
        if np.allclose(chart.points[0], chart.points[0, :1], atol=1e-9):
            grid[0] = grid[0].sum(axis=0)
        vertices.append(flat)
        normals.append(smooth / np.linalg.norm(smooth, axis=1, keepdims=True))
        origin = np.array([left, top]) / _SNAP + GUTTER
        uvs.append(chart.flat.reshape(-1, 2) * scale + origin)
        first += rows * columns
    return {
        "vertices": np.concatenate(vertices),
        "normals": np.concatenate(normals),
        "faces": np.concatenate(faces),
        "uvs": np.concatenate(uvs),
    }


def _bake(
    charts: Sequence[_Chart], scale: float, corners: Sequence[tuple[int, int]], size: int
) -> dict[MapKind, Texels]:
    """Albedo (sRGB-encoded), normal, roughness and metalness, (size, size, C) float32 0..1, of the whole atlas."""
    per_metre = scale * size
    tiles: dict[_Base, tuple[Material, int]] = {}
    for base in {chart.base for chart in charts}:
        repeat = max(64, round(base.period * per_metre))
        tiles[base] = (generate(base.kind, repeat, base.seed), repeat)
    atlas: dict[MapKind, Texels] = {
        MapKind.ALBEDO: np.full((size, size, 3), 0.35, np.float32),
        MapKind.NORMAL: np.tile(np.array([0.5, 0.5, 1.0], np.float32), (size, size, 1)),
        MapKind.ROUGHNESS: np.full((size, size, 1), 0.7, np.float32),
        MapKind.METALNESS: np.zeros((size, size, 1), np.float32),
    }
    for chart, (left, top) in zip(charts, corners, strict=True):
        material, repeat = tiles[chart.base]
        # The rectangle with its gutters, whose texels go on where the chart ends.
        across = [
            round(left / _SNAP * size),
            min(size, round((left / _SNAP + 2 * GUTTER + chart.size[0] * scale) * size)),
        ]
        below = [round(top / _SNAP * size), min(size, round((top / _SNAP + 2 * GUTTER + chart.size[1] * scale) * size))]
        right = (np.arange(*across) + 0.5) / per_metre - (left / _SNAP + GUTTER) / scale  # metres from the left edge
        depth = (np.arange(*below) + 0.5) / per_metre - (top / _SNAP + GUTTER) / scale
        columns = np.rint((chart.along + right) * per_metre - 0.5).astype(int)
        rows = np.rint((chart.down + depth) * per_metre - 0.5).astype(int) % repeat
        blend = np.zeros(len(columns), np.float32)
        wrapped = columns
        if chart.around:
            near_end = (chart.along + right - 0.9 * chart.around) / (0.1 * chart.around)
            blend = np.clip(near_end, 0, 1).astype(np.float32)
            wrapped = columns - round(chart.around * per_metre)
        dirt = chart.shade[0] * np.exp(-np.maximum(depth, 0) / 0.03)
        dirt += chart.shade[1] * np.exp(-np.maximum(chart.size[1] - depth, 0) / 0.03)
        clean = np.exp(-0.9 * dirt).astype(np.float32)[:, None, None]
        for kind, target in atlas.items():
            if kind not in material.maps:
                continue
            texels = material.maps[kind].linear()
            patch = texels[np.ix_(rows, columns % repeat)]
            if blend.any():
                patch = patch + (texels[np.ix_(rows, wrapped % repeat)] - patch) * blend[None, :, None]
            if kind is MapKind.NORMAL:
                patch = patch / np.linalg.norm(patch, axis=-1, keepdims=True) * np.float32(0.5) + np.float32(0.5)
            elif kind is MapKind.ALBEDO:
                patch = linear_to_srgb(patch * clean)
            elif kind is MapKind.ROUGHNESS:
                patch = 1 - (1 - patch) * clean
            target[below[0] : below[1], across[0] : across[1]] = patch
    return atlas


def _picture(texels: Texels) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(texels, 0, 1) * 255).astype(np.uint8))


def write_sample_asset(folder: Path, size: int = 1024) -> Path:
    """Write `folder`/asset.glb, a textured mesh with one material, and return its path.

    The textures are `size` x `size`: base colour (sRGB), normal (OpenGL, tangents along the UVs as glTF
    asks) and metallicRoughness (G roughness, B metalness). UVs lie in 0..1, charts do not overlap, and every chart has
    the same texel density and a gutter of at least size / 128 texels filled with its own material. The same `size`
    always gives the same bytes. Raises TexsynthError for a size outside 256..8192 and where the folder cannot be
    written.
    """
    if not 256 <= size <= 8192:
        raise bad_input(f"size {size}", "not a size for the sample asset", "use 256 to 8192")
    charts = _charts()
    scale, corners = _pack([chart.size for chart in charts])
    mesh = _mesh(charts, scale, corners)
    atlas = _bake(charts, scale, corners, size)
    packed = np.concatenate(
        [np.ones((size, size, 1), np.float32), atlas[MapKind.ROUGHNESS], atlas[MapKind.METALNESS]], axis=-1
    )
    looks: Any = trimesh.visual
    material = looks.material.PBRMaterial(
        name="urn",
        baseColorTexture=_picture(atlas[MapKind.ALBEDO]),
        normalTexture=_picture(atlas[MapKind.NORMAL]),
        metallicRoughnessTexture=_picture(packed),
        metallicFactor=1.0,
        roughnessFactor=1.0,
    )
    # trimesh counts v from the bottom row and turns it over on the way to and from glTF.
    uv = np.stack([mesh["uvs"][:, 0], 1 - mesh["uvs"][:, 1]], axis=-1)
    body = trimesh.Trimesh(
        vertices=mesh["vertices"],
        faces=mesh["faces"],
        vertex_normals=mesh["normals"],
        visual=looks.TextureVisuals(uv=uv, material=material),
        process=False,
    )
    scene: Any = trimesh.Scene(body)
    data: bytes = scene.export(file_type="glb", include_normals=True)
    path = folder / "asset.glb"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    except OSError as error:
        raise from_os_error(error, path) from error
    return path
