"""Lit previews of a material on a plane, a sphere or a mesh: a small rasterising PBR renderer in NumPy and numba.

Metallic-roughness shading as in glTF 2.0 (appendix B): Lambert and GGX under a studio of one key light with soft
shadows, one rim light and an environment of a sky-to-ground gradient with two soft boxes. Specular image-based light
uses the split-sum fit of Karis ("Physically Based Shading on Mobile", 2014); filtered normals widen the highlight
(von Mises-Fisher, as the mip chain documents); the tone curve is Khronos' PBR Neutral, which keeps base colours.
Everything is computed in linear light; the result is sRGB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray

from texsynth.material import MapKind, linear_to_srgb, srgb_to_linear
from texsynth.surface.mesh import Mesh
from texsynth.surface.raster import visible

Maps = Mapping[MapKind, NDArray[np.uint8]]
FloatArray = NDArray[np.float32]

_FIELD_OF_VIEW = math.radians(28)  # a long lens: little distortion, as in product photographs
_MARGIN = 0.84  # how much of the frame the object fills
_MOST_SHADOW = 1024  # texels a side of the shadow map, which has at most two a pixel of the picture
_THREADS = 2

# Where a soft shadow is probed, in radii: a spiral of equal areas, (n, 2) each.
_SPIRAL = 2.399963  # radians from one probe to the next, the golden angle


def _spiral(count: int) -> NDArray[np.float64]:
    k = np.arange(count)
    reach, turn = np.sqrt((k + 0.5) / count), _SPIRAL * k
    return np.stack([reach * np.cos(turn), reach * np.sin(turn)], axis=1)


_PENUMBRA, _FLOOR_PENUMBRA = _spiral(8), _spiral(24)

# Channels of a stacked texel.
_COLOUR, _NORMAL, _ROUGHNESS, _METALNESS, _OPACITY, _CHANNELS = 0, 3, 6, 7, 8, 9


def render_plane(maps: Maps, size: int = 512, *, supersample: int = 2) -> NDArray[np.uint8]:
    """The material on a tilted rectangle, one repetition in its own aspect: (size, size, 3) uint8 sRGB."""
    height, width = next(iter(maps.values())).shape[:2]
    return render_mesh(
        _plane(width / height), maps, size, azimuth=9, elevation=52, supersample=supersample, ground=False
    )


def render_sphere(maps: Maps, size: int = 512, *, supersample: int = 2) -> NDArray[np.uint8]:
    """The material on a sphere, once from pole to pole and as often around as keeps its aspect: as `render_plane`."""
    height, width = next(iter(maps.values())).shape[:2]
    return render_mesh(
        _sphere(max(1, round(2 * height / width))), maps, size, azimuth=0, elevation=12, supersample=supersample
    )


def render_mesh(
    mesh: Mesh,
    maps: Maps | Sequence[Maps],
    size: int = 512,
    *,
    azimuth: float = 32.0,
    elevation: float | None = None,
    supersample: int = 2,
    ground: bool = True,
) -> NDArray[np.uint8]:
    """The mesh under studio light on a neutral grey background: (size, size, 3) uint8 sRGB.

    `maps`: encoded uint8 arrays (H, W, C) or (H, W), row 0 = top (v = 0): albedo sRGB, normal OpenGL, the others
    0..255; or one such mapping per material of the mesh (`material_index`). What is absent is neutral: grey 0.5, flat,
    roughness 0.6, not metallic, opaque. UVs repeat. `azimuth` and `elevation` (degrees) place the camera around +Y,
    0/0 looking along -Z; without an elevation, flat scenes are seen from higher
    up. `ground` draws the mesh's soft shadow on the floor under it.
    """
    stacks = [_stack(one, 2 * size) for one in ([maps] if isinstance(maps, Mapping) else maps)]
    index = np.zeros(len(mesh.triangles), np.int32) if isinstance(maps, Mapping) else mesh.material_index
    side = size * supersample
    if elevation is None:
        across, tall, deep = np.ptp(mesh.positions, axis=0)
        elevation = 16 + 18 * max(0.0, 1 - 2 * tall / max(math.hypot(across, deep), 1e-9))
    camera = _camera(mesh.positions.astype(np.float64), side, azimuth, elevation)
    light = _light(mesh.positions.astype(np.float64), camera, min(_MOST_SHADOW, 2 * size))
    frames = tangent_frames(mesh)

    seen_from_light = visible(_project(light, mesh.positions), mesh.triangles, light.side, light.side)
    shadow = np.where(seen_from_light.inverse_depth > 0, 1 / np.maximum(seen_from_light.inverse_depth, 1e-30), np.inf)
    shadow = shadow.astype(np.float32)
    image = _background(side, camera, light, shadow, float(mesh.positions[:, 1].min()), ground)

    clip = _project(camera, mesh.positions)
    see_through = np.array([bool((stack.levels[-1][..., _OPACITY] < 0.999).all()) for stack in stacks])
    layers = [~see_through[np.clip(index, 0, len(stacks) - 1)]]
    layers.append(~layers[0])
    behind = None
    for layer in layers:
        if not layer.any():
            continue
        seen = visible(clip, mesh.triangles[layer], side, side, behind)
        numbers = np.flatnonzero(layer).astype(np.int32)
        triangle = np.where(seen.triangle >= 0, numbers[np.maximum(seen.triangle, 0)], -1).astype(np.int32)
        occlusion = _occlusion(seen.inverse_depth, camera)
        behind = seen
        _shade_all(image, triangle, seen.weights, occlusion, mesh, index, stacks, frames, camera, light, shadow)
    mean = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)  # of each pixel's samples
    return np.rint(_encode(np.asarray(mean, np.float32)) * 255).astype(np.uint8)


# ---- materials


@dataclass(frozen=True)
class _Stack:
    """All maps of one material as one mip pyramid of stacked texels, for a single bilinear fetch.

    `levels[k]`: float32 (H_k, W_k, 9): linear colour, mean normal (not renormalised: its length tells how rough the
    texels below are together), roughness, metalness, opacity. `texels` is their concatenation, `shape` (n, 3) int64
    their offsets, heights and widths.
    """

    levels: list[FloatArray]
    texels: FloatArray
    shape: NDArray[np.int64]


def _stack(maps: Maps, most: int) -> _Stack:
    """Stack the maps, first reduced until no side exceeds `most`, and build the pyramid down to 1 x 1."""
    height, width = max((texels.shape[:2] for texels in maps.values()), default=(1, 1))
    first = np.empty((height, width, _CHANNELS), np.float32)
    first[:] = (0.214, 0.214, 0.214, 0, 0, 1, 0.6, 0, 1)
    for kind, start in (
        (MapKind.ALBEDO, _COLOUR),
        (MapKind.NORMAL, _NORMAL),
        (MapKind.ROUGHNESS, _ROUGHNESS),
        (MapKind.METALNESS, _METALNESS),
        (MapKind.OPACITY, _OPACITY),
    ):
        if kind in maps:
            texels = maps[kind].reshape(*maps[kind].shape[:2], -1)
            values = _decoded(kind)[texels]
            if texels.shape[:2] != (height, width):  # an asset keeps its own metalness beside new maps
                values = np.atleast_3d(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR))
            if kind == MapKind.NORMAL:
                values /= np.maximum(np.linalg.norm(values, axis=2, keepdims=True), 1e-6)
            first[..., start : start + texels.shape[2]] = values
    while max(first.shape[:2]) > most:
        first = _halved(first)
    levels = [first]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halved(levels[-1]))
    sizes = np.array([level.shape[:2] for level in levels], np.int64)
    offsets = np.cumsum(np.concatenate([[0], sizes.prod(axis=1)[:-1]]))
    return _Stack(levels, np.concatenate([level.reshape(-1) for level in levels]), np.column_stack([offsets, sizes]))


def _decoded(kind: MapKind) -> FloatArray:
    """What the codes 0..255 of a map mean: linear light, -1..1 for normals, else 0..1."""
    codes = (np.arange(256) / 255).astype(np.float32)
    if kind == MapKind.ALBEDO:
        return srgb_to_linear(codes)
    return codes * 2 - 1 if kind == MapKind.NORMAL else codes


def _halved(level: FloatArray) -> FloatArray:
    height, width = max(level.shape[0] // 2, 1), max(level.shape[1] // 2, 1)
    # OpenCV's area filter takes at most 4 channels at full speed, so the stack goes in three parts.
    parts = [cv2.resize(level[..., i : i + 3], (width, height), interpolation=cv2.INTER_AREA) for i in (0, 3, 6)]
    return np.dstack(parts).astype(np.float32, copy=False)


# ---- cameras


@dataclass(frozen=True)
class _Camera:
    """A perspective view: `axes` rows are right, up and towards the viewer; pixels per unit slope; image centre."""

    eye: NDArray[np.float64]
    axes: NDArray[np.float64]
    focal: float
    side: int
    radius: float


def _camera(positions: NDArray[np.float64], side: int, azimuth: float, elevation: float) -> _Camera:
    """A camera around +Y that frames all positions within `_MARGIN` of the image, centred on what it sees."""
    turn, tilt = math.radians(azimuth), math.radians(elevation)
    back = np.array([math.sin(turn) * math.cos(tilt), math.sin(tilt), math.cos(turn) * math.cos(tilt)])
    right = np.array([math.cos(turn), 0.0, -math.sin(turn)])
    axes = np.stack([right, np.cross(back, right), back])
    slope = math.tan(_FIELD_OF_VIEW / 2) * _MARGIN
    local = positions @ axes.T
    # The nearest eye (x, y, d) with |p.x - x| <= slope (d - p.z) for all p: both sides bound it, per axis.
    most = (local[:, :2] + slope * local[:, 2:]).max(axis=0)
    least = (local[:, :2] - slope * local[:, 2:]).min(axis=0)
    distance = float(((most - least) / (2 * slope)).max())
    eye = np.array([*((most + least) / 2), distance]) @ axes
    radius = float(np.linalg.norm(np.ptp(positions, axis=0))) / 2 or 1.0
    return _Camera(eye, axes, side / (2 * math.tan(_FIELD_OF_VIEW / 2)), side, radius)


def _light(positions: NDArray[np.float64], camera: _Camera, side: int) -> _Camera:
    """The key light as a distant camera of `side` pixels: from the viewer's upper left, framing the whole mesh."""
    direction = camera.axes.T @ np.array([-0.50, 0.62, 0.60])
    direction[1] = max(direction[1], 0.35)  # never from below the floor
    direction /= np.linalg.norm(direction)
    right = np.cross((0.0, 1.0, 0.0) if abs(direction[1]) < 0.99 else (1.0, 0.0, 0.0), direction)
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(direction, right), direction])
    centre = (positions.max(axis=0) + positions.min(axis=0)) / 2
    distance = 30 * camera.radius
    return _Camera(
        centre + distance * direction,
        axes,
        side * distance / (2.2 * camera.radius),
        side,
        camera.radius,
    )


def _project(camera: _Camera, positions: NDArray[Any]) -> NDArray[np.float64]:
    """Pixel x, pixel y (down) and distance along the view axis, (V, 3) float64."""
    local = (positions - camera.eye) @ camera.axes.T
    depth = -local[:, 2]
    safe = np.where(depth > 0, depth, 1.0)
    half = camera.side / 2
    x, y = half + camera.focal * local[:, 0] / safe, half - camera.focal * local[:, 1] / safe
    return np.stack([x, y, depth], axis=1)


# ---- geometry


def _plane(aspect: float) -> Mesh:
    """A rectangle facing +Y, `aspect` wide to deep, its image's top away from the viewer."""
    x, z = max(aspect, 1e-3), 1.0
    positions = np.array([[-x, 0, -z], [x, 0, -z], [x, 0, z], [-x, 0, z]], np.float32)
    uvs = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    normals = np.tile(np.array([0, 1, 0], np.float32), (4, 1))
    return Mesh(positions, normals, uvs, np.array([[0, 2, 1], [0, 3, 2]], np.int32), np.zeros(2, np.int32))


def _sphere(around: int, rings: int = 64, sectors: int = 128) -> Mesh:
    """A unit sphere; u runs `around` times, 0.5 in front, v from the north (0) to the south pole (1)."""
    v, u = np.mgrid[0 : rings + 1, 0 : sectors + 1]
    theta, phi = np.pi * v.ravel() / rings, 2 * np.pi * u.ravel() / sectors
    normals = np.stack([-np.sin(theta) * np.sin(phi), np.cos(theta), -np.sin(theta) * np.cos(phi)], axis=1)
    uvs = np.stack([around * (u.ravel() / sectors - 0.5) + 0.5, v.ravel() / rings], axis=1)
    corner = (np.arange(rings)[:, None] * (sectors + 1) + np.arange(sectors)).ravel()
    below = corner + sectors + 1
    triangles = np.concatenate(
        [np.stack([corner, below, corner + 1], axis=1), np.stack([corner + 1, below, below + 1], axis=1)]
    )
    triangles = triangles.astype(np.int32)
    return Mesh(
        normals.astype(np.float32),
        normals.astype(np.float32),
        uvs.astype(np.float32),
        triangles,
        np.zeros(len(triangles), np.int32),
    )


@dataclass(frozen=True)
class _Frames:
    """Texture space on the surface.

    `gradients` (T, 2, 3) float32: du/dposition and dv/dposition on each triangle's plane; `normals` (T, 3) the
    triangles' own normals; `tangents` (2, V, 3) the direction of growing u at each vertex, [0] from triangles whose
    texture shows unmirrored and [1] from mirrored ones; `mirrored` (T,) uint8.
    """

    gradients: FloatArray
    normals: FloatArray
    tangents: FloatArray
    mirrored: NDArray[np.uint8]


def tangent_frames(mesh: Mesh) -> _Frames:
    """Per-vertex tangents as MikkTSpace has them: averaged over the triangles around a vertex, weighted by angle, but
    never across a change of handedness."""
    corners = mesh.positions.astype(np.float64)[mesh.triangles]
    uvs = mesh.uvs.astype(np.float64)[mesh.triangles]
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    d1, d2 = uvs[:, 1] - uvs[:, 0], uvs[:, 2] - uvs[:, 0]
    cross = np.cross(e1, e2)
    area = np.linalg.norm(cross, axis=1, keepdims=True)
    normal = cross / np.maximum(area, 1e-30)
    # Dual basis of (e1, e2) in the plane: gradient f = df1 * g1 + df2 * g2.
    g1, g2 = np.cross(e2, normal) / np.maximum(area, 1e-30), np.cross(normal, e1) / np.maximum(area, 1e-30)
    gradients = np.stack([d1[:, :1] * g1 + d2[:, :1] * g2, d1[:, 1:] * g1 + d2[:, 1:] * g2], axis=1)
    determinant = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    # With v downwards an unmirrored texture has a negative determinant on a counter-clockwise triangle.
    mirrored = determinant > 0
    tangent = e1 * d2[:, 1:] - e2 * d1[:, 1:]
    tangent *= np.where(determinant < 0, -1.0, 1.0)[:, None]
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-30)
    sums = np.zeros((2, len(mesh.positions), 3))
    for k in range(3):
        a, b = corners[:, (k + 1) % 3] - corners[:, k], corners[:, (k + 2) % 3] - corners[:, k]
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        angle = np.arccos(np.clip(np.einsum("tc,tc->t", a, b) / np.maximum(lengths, 1e-30), -1, 1))
        np.add.at(sums, (mirrored.astype(np.int64), mesh.triangles[:, k]), angle[:, None] * tangent)
    return _Frames(
        gradients.astype(np.float32), normal.astype(np.float32), sums.astype(np.float32), mirrored.astype(np.uint8)
    )


# ---- light


def _occlusion(inverse_depth: FloatArray, camera: _Camera) -> FloatArray:
    """Ambient visibility 0..1 of every sample, from the depth buffer at a quarter of its resolution.

    How far the surface around a sample rises above its tangent plane, in eight directions and three radii
    (horizon-based ambient occlusion), then blurred: a hint of contact, no more.
    """
    small = cv2.resize(inverse_depth, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_NEAREST)
    depth = np.where(small > 0, 1 / np.maximum(small, 1e-30), np.inf).astype(np.float32)
    rough = _horizon(depth, 4 / camera.focal, camera.radius)
    blurred = cv2.blur(rough, (5, 5), borderType=cv2.BORDER_REFLECT)
    side = inverse_depth.shape[0]
    return np.asarray(cv2.resize(blurred, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)


@njit(cache=True, nogil=True)
def _horizon(depth: FloatArray, slope: float, radius: float) -> FloatArray:
    height, width = depth.shape
    result = np.ones((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            d = depth[y, x]
            if not np.isfinite(d):
                continue
            pixel = d * slope  # width of a pixel at this depth
            total = 0.0
            for k in range(4):  # opposite pairs of directions: their mean cancels the slope of the surface itself
                angle = np.pi * (k + 0.5) / 4
                for ring in range(1, 4):
                    reach = ring * 0.06 * radius
                    steps = max(1.0, reach / pixel)
                    sx, sy = int(np.rint(np.cos(angle) * steps)), int(np.rint(np.sin(angle) * steps))
                    rise = 0.0
                    for sign in (-1, 1):
                        yy, xx = y + sign * sy, x + sign * sx
                        if 0 <= yy < height and 0 <= xx < width and np.isfinite(depth[yy, xx]):
                            rise += min(max((d - depth[yy, xx]) / reach, -1.5), 1.0)
                        else:
                            rise -= 0.5
                    total += max(rise * 0.5, 0.0)
            result[y, x] = 1.0 - min(total / 12 * 2.2, 0.75)
    return result


def _background(
    side: int, camera: _Camera, light: _Camera, shadow: FloatArray, floor: float, ground: bool
) -> FloatArray:
    """A neutral backdrop in display-linear light, (side, side, 3), with the mesh's shadow on the floor below it."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    glow = np.exp(-3.2 * ((x - 0.5) ** 2 + (y - 0.42) ** 2))
    grey = 0.035 + 0.125 * glow
    if ground:
        quarter = side // 4  # a soft shadow needs no more
        lit = _floor_light(
            quarter,
            camera.eye,
            camera.axes,
            camera.focal / 4,
            light.eye,
            light.axes,
            light.focal,
            shadow,
            floor,
            light.radius,
        )
        grey = grey * cv2.resize(cv2.GaussianBlur(lit, (0, 0), quarter / 100), (side, side))
    return np.repeat(grey[..., None], 3, axis=2).astype(np.float32)


@njit(cache=True, nogil=True)
def _floor_light(
    side: int,
    eye: NDArray[np.float64],
    axes: NDArray[np.float64],
    focal: float,
    light_eye: NDArray[np.float64],
    light_axes: NDArray[np.float64],
    light_focal: float,
    shadow: FloatArray,
    floor: float,
    radius: float,
) -> FloatArray:
    """How much light the floor y = `floor` gets where the camera sees it: 1 = open, less in the mesh's shadow."""
    lit = np.ones((side, side), np.float32)
    probes = len(_FLOOR_PENUMBRA)
    for row in range(side):
        for column in range(side):
            sx, sy = (column + 0.5 - side / 2) / focal, -(row + 0.5 - side / 2) / focal
            dy = sx * axes[0, 1] + sy * axes[1, 1] - axes[2, 1]
            if dy >= -1e-6:
                continue
            t = (floor - eye[1]) / dy
            px = eye[0] + t * (sx * axes[0, 0] + sy * axes[1, 0] - axes[2, 0])
            pz = eye[2] + t * (sx * axes[0, 2] + sy * axes[1, 2] - axes[2, 2])
            dark = 0.0
            for k in range(probes):  # a spiral of neighbours on the floor: a wide penumbra
                qx = px + 0.07 * radius * _FLOOR_PENUMBRA[k, 0] - light_eye[0]
                qz = pz + 0.07 * radius * _FLOOR_PENUMBRA[k, 1] - light_eye[2]
                dark += 1.0 - _unshadowed(qx, floor - light_eye[1], qz, light_axes, light_focal, shadow, 0.0)
            lit[row, column] = 1.0 - 0.72 * dark / probes
    return lit


@njit(cache=True, nogil=True)
def _unshadowed(
    x: float, y: float, z: float, axes: NDArray[np.float64], focal: float, shadow: FloatArray, bias: float
) -> float:
    """1 where the point (relative to the light) is lit, 0 where something lies before it."""
    depth = -(x * axes[2, 0] + y * axes[2, 1] + z * axes[2, 2])
    side = shadow.shape[0]
    column = int(side / 2 + focal * (x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2]) / depth)
    row = int(side / 2 - focal * (x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2]) / depth)
    if row < 0 or column < 0 or row >= side or column >= side:
        return 1.0
    return 1.0 if depth - bias <= shadow[row, column] else 0.0


def _shade_all(
    image: FloatArray,
    triangle: NDArray[np.int32],
    weights: FloatArray,
    occlusion: FloatArray,
    mesh: Mesh,
    index: NDArray[np.int32],
    stacks: Sequence[_Stack],
    frames: _Frames,
    camera: _Camera,
    light: _Camera,
    shadow: FloatArray,
) -> None:
    """Shade every visible sample onto `image`, in bands of rows on `_THREADS` threads (numba lets go of the GIL)."""
    plain = _stack({}, 1)
    bands = [slice(y, y + 64) for y in range(0, image.shape[0], 64)]
    for number in [-1, *range(len(stacks))]:
        mine = (index == number).astype(np.uint8)
        if not mine.any():
            continue
        stack = stacks[number] if number >= 0 else plain

        def shade(rows: slice, stack: _Stack = stack, mine: NDArray[np.uint8] = mine) -> None:
            _shade(
                image[rows],
                triangle[rows],
                weights[rows],
                occlusion[rows],
                mine,
                mesh.triangles,
                mesh.positions,
                mesh.normals,
                mesh.uvs,
                frames.gradients,
                frames.normals,
                frames.tangents,
                frames.mirrored,
                stack.texels,
                stack.shape,
                camera.eye,
                camera.axes,
                1 / camera.focal,
                light.eye,
                light.axes,
                light.focal,
                shadow,
                light.radius,
            )

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(shade, bands))


@njit(cache=True, nogil=True, fastmath=True)
def _sample(
    texels: FloatArray, shape: NDArray[np.int64], u: float, v: float, lod: float, weight: float, out: FloatArray
) -> None:
    """Add `weight` x the trilinear sample at (u, v), repeated, texel centres at i + 0.5, to `out`."""
    last = shape.shape[0] - 1
    lod = min(max(lod, 0.0), float(last))
    low = int(lod)
    for level in range(low, min(low + 1, last) + 1):
        share = weight * (1.0 - (lod - low) if level == low else lod - low)
        if low == last:
            share = weight
        if share <= 0.0:
            continue
        offset, height, width = shape[level, 0], shape[level, 1], shape[level, 2]
        x, y = (u - np.floor(u)) * width - 0.5, (v - np.floor(v)) * height - 0.5
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        fx, fy = x - x0, y - y0
        for j in range(2):
            row = (y0 + j) % height
            wy = share * (fy if j == 1 else 1.0 - fy)
            for i in range(2):
                wx = wy * (fx if i == 1 else 1.0 - fx)
                start = (offset + row * width + (x0 + i) % width) * 9
                for c in range(9):
                    out[c] += wx * texels[start + c]


@njit(cache=True, nogil=True, fastmath=True)
def _surroundings(x: float, y: float, z: float, spread: float, axes: NDArray[np.float64], out: FloatArray) -> None:
    """Light from direction (x, y, z) blurred to about `spread` (0 sharp .. 1 hemisphere), into out[0:3]: a gradient
    from floor to sky, and two soft boxes fixed to the camera as spherical Gaussians."""
    edge = 0.06 + 0.9 * spread
    t = min(max((y + edge) / (2 * edge), 0.0), 1.0)
    t = t * t * (3 - 2 * t)
    height = max(y, 0.0)
    fade = 1 - 0.45 * height * (1 - 0.5 * spread)
    out[0] = 0.16 * (1 - t) + 0.62 * fade * t
    out[1] = 0.155 * (1 - t) + 0.645 * fade * t
    out[2] = 0.15 * (1 - t) + 0.69 * fade * t
    cx = x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2]
    cy = x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2]
    cz = x * axes[2, 0] + y * axes[2, 1] + z * axes[2, 2]
    blur = 2.0 / max(spread**4, 1e-4)  # sharpness of a GGX lobe of roughness `spread`
    for box in range(2):
        if box == 0:  # large, upper left
            cosine, sharp, power = -0.62 * cx + 0.60 * cy + 0.505 * cz, 14.0, 2.6
        else:  # tall strip, right
            cosine, sharp, power = 0.88 * cx + 0.12 * cy + 0.46 * cz, 22.0, 1.5
        joint = sharp * blur / (sharp + blur)
        glow = power * joint / sharp * np.exp(joint * (cosine - 1))
        out[0] += glow
        out[1] += glow * 0.985
        out[2] += glow * 0.96


@njit(cache=True, nogil=True, fastmath=True)
def _tone(value: FloatArray) -> None:
    """Khronos PBR Neutral: leaves colours below 0.8 as they are, compresses and desaturates highlights. In place."""
    start, desaturation = 0.8 - 0.04, 0.15
    low = min(value[0], value[1], value[2])
    offset = low - 6.25 * low * low if low < 0.08 else 0.04
    for c in range(3):
        value[c] -= offset
    peak = max(value[0], value[1], value[2])
    if peak < start:
        return
    d = 1.0 - start
    new_peak = 1.0 - d * d / (peak + d - start)
    g = 1.0 - 1.0 / (desaturation * (peak - new_peak) + 1.0)
    for c in range(3):
        value[c] = value[c] * new_peak / peak * (1 - g) + new_peak * g


@njit(cache=True, nogil=True, fastmath=True)
def _ggx(n_h: float, n_l: float, n_v: float, alpha: float) -> float:
    """D x V of glTF 2.0 appendix B: Trowbridge-Reitz distribution and height-correlated Smith visibility."""
    a2 = alpha * alpha
    d = n_h * n_h * (a2 - 1) + 1
    masking = n_l * np.sqrt(n_v * n_v * (1 - a2) + a2) + n_v * np.sqrt(n_l * n_l * (1 - a2) + a2)
    return float(a2 / (np.pi * d * d) * 0.5 / max(masking, 1e-6))


@njit(cache=True, nogil=True, fastmath=True)
def _make_unit(vector: NDArray[np.float64]) -> None:
    """In place."""
    length = max(np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2), 1e-9)
    for c in range(3):
        vector[c] /= length


@njit(cache=True, nogil=True, fastmath=True)
def _shade(  # noqa: PLR0912, PLR0915
    image: FloatArray,
    triangle: NDArray[np.int32],
    weights: FloatArray,
    occlusion: FloatArray,
    mine: NDArray[np.uint8],
    triangles: NDArray[np.int32],
    positions: FloatArray,
    normals: FloatArray,
    uvs: FloatArray,
    gradients: FloatArray,
    face_normals: FloatArray,
    tangents: FloatArray,
    mirrored: NDArray[np.uint8],
    texels: FloatArray,
    shape: NDArray[np.int64],
    eye: NDArray[np.float64],
    axes: NDArray[np.float64],
    pixel: float,
    light_eye: NDArray[np.float64],
    light_axes: NDArray[np.float64],
    light_focal: float,
    shadow: FloatArray,
    radius: float,
) -> None:
    """Shade the samples whose triangle is `mine`: position and frame, filtered texel, light, tone curve, blend."""
    texel = np.empty(9, np.float32)
    ambient = np.empty(3, np.float32)
    mirror = np.empty(3, np.float32)
    value = np.empty(3, np.float32)
    p = np.empty(3, np.float64)
    n = np.empty(3, np.float64)
    t = np.empty(3, np.float64)
    b = np.empty(3, np.float64)
    view = np.empty(3, np.float64)
    f = np.empty(3, np.float64)
    key = np.empty(3, np.float64)
    half = np.empty(3, np.float64)
    footprint = np.empty((2, 2), np.float64)
    f0 = np.empty(3, np.float64)
    diffuse = np.empty(3, np.float64)
    probes_of_light = len(_PENUMBRA)
    base_height, base_width = float(shape[0, 1]), float(shape[0, 2])
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            face = triangle[row, column]
            if face < 0 or mine[face] == 0:
                continue
            w0, w1, w2 = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            side = mirrored[face]
            for c in range(3):
                p[c] = w0 * positions[i0, c] + w1 * positions[i1, c] + w2 * positions[i2, c]
                n[c] = w0 * normals[i0, c] + w1 * normals[i1, c] + w2 * normals[i2, c]
                t[c] = w0 * tangents[side, i0, c] + w1 * tangents[side, i1, c] + w2 * tangents[side, i2, c]
                f[c] = face_normals[face, c]
                view[c] = eye[c] - p[c]
            u = w0 * uvs[i0, 0] + w1 * uvs[i1, 0] + w2 * uvs[i2, 0]
            v = w0 * uvs[i0, 1] + w1 * uvs[i1, 1] + w2 * uvs[i2, 1]
            distance = np.sqrt(view[0] ** 2 + view[1] ** 2 + view[2] ** 2)
            for c in range(3):
                view[c] /= distance
            facing = f[0] * view[0] + f[1] * view[1] + f[2] * view[2]

            # Footprint of the sample in texels: one pixel right and one up, moved along the ray onto the triangle.
            along = facing if abs(facing) > 0.02 else (0.02 if facing >= 0 else -0.02)
            for k in range(2):
                slip = (axes[k, 0] * f[0] + axes[k, 1] * f[1] + axes[k, 2] * f[2]) / along
                footprint[k, 0] = 0.0
                footprint[k, 1] = 0.0
                for c in range(3):
                    step = (axes[k, c] - view[c] * slip) * distance * pixel
                    footprint[k, 0] += gradients[face, 0, c] * step
                    footprint[k, 1] += gradients[face, 1, c] * step
            long0 = np.sqrt((footprint[0, 0] * base_width) ** 2 + (footprint[0, 1] * base_height) ** 2)
            long1 = np.sqrt((footprint[1, 0] * base_width) ** 2 + (footprint[1, 1] * base_height) ** 2)
            major = 0 if long0 >= long1 else 1
            longer, shorter = max(long0, long1), max(min(long0, long1), 1e-6)
            probes = int(min(max(np.ceil(longer / max(shorter, 1.0)), 1.0), 6.0))
            lod = np.log2(max(longer / probes, 1e-6))
            for c in range(_CHANNELS):
                texel[c] = 0.0
            for probe in range(probes):
                at = (probe + 0.5) / probes - 0.5
                _sample(
                    texels, shape, u + at * footprint[major, 0], v + at * footprint[major, 1], lod, 1.0 / probes, texel
                )

            # Frame: interpolated normal, tangent made perpendicular to it, bitangent towards the image's top.
            length = np.sqrt(n[0] ** 2 + n[1] ** 2 + n[2] ** 2)
            towards = -1.0 if facing < 0 else 1.0
            for c in range(3):
                n[c] = towards * (f[c] if length < 1e-6 else n[c] / length)
                f[c] *= towards
            dot = n[0] * t[0] + n[1] * t[1] + n[2] * t[2]
            for c in range(3):
                t[c] -= dot * n[c]
            length = np.sqrt(t[0] ** 2 + t[1] ** 2 + t[2] ** 2)
            if length > 1e-8:
                for c in range(3):
                    t[c] /= length
            hand = -1.0 if (side == 1) != (facing < 0) else 1.0
            b[0] = hand * (n[1] * t[2] - n[2] * t[1])
            b[1] = hand * (n[2] * t[0] - n[0] * t[2])
            b[2] = hand * (n[0] * t[1] - n[1] * t[0])
            tx, ty, tz = texel[3], texel[4], max(texel[5], 1e-3)
            mean = min(np.sqrt(tx * tx + ty * ty + tz * tz), 0.9999)
            for c in range(3):
                n[c] = tx * t[c] + ty * b[c] + tz * n[c]
            _make_unit(n)
            n_v = n[0] * view[0] + n[1] * view[1] + n[2] * view[2]
            if n_v < 0.04:  # bent away from the viewer: tilt it back
                for c in range(3):
                    n[c] += (0.04 - n_v) * view[c]
                _make_unit(n)
                n_v = max(n[0] * view[0] + n[1] * view[1] + n[2] * view[2], 0.01)

            rough = min(max(texel[6], 0.045), 1.0)
            kappa = (3 * mean - mean**3) / (1 - mean * mean)
            alpha = np.sqrt(min(rough**4 + 1.0 / kappa, 1.0))
            rough = np.sqrt(alpha)
            metal = min(max(texel[7], 0.0), 1.0)
            for c in range(3):
                f0[c] = 0.04 * (1 - metal) + texel[c] * metal
                diffuse[c] = texel[c] * (1 - metal)

            # Key light with a soft shadow.
            for c in range(3):
                key[c] = light_eye[c] - p[c]
            _make_unit(key)
            n_l = n[0] * key[0] + n[1] * key[1] + n[2] * key[2]
            f_l = f[0] * key[0] + f[1] * key[1] + f[2] * key[2]
            lit = 0.0
            if n_l > 0 and f_l > -0.1:
                bias = radius * (0.006 + 0.012 * (1 - max(f_l, 0.0)))
                spin = 12.9898 * column + 78.233 * row
                spin = spin - np.floor(spin / 6.2831853) * 6.2831853
                across, down = 0.014 * radius * np.cos(spin), 0.014 * radius * np.sin(spin)
                for k in range(probes_of_light):
                    x = across * _PENUMBRA[k, 0] - down * _PENUMBRA[k, 1]
                    y = down * _PENUMBRA[k, 0] + across * _PENUMBRA[k, 1]
                    qx = p[0] - light_eye[0] + x * light_axes[0, 0] + y * light_axes[1, 0]
                    qy = p[1] - light_eye[1] + x * light_axes[0, 1] + y * light_axes[1, 1]
                    qz = p[2] - light_eye[2] + x * light_axes[0, 2] + y * light_axes[1, 2]
                    lit += _unshadowed(qx, qy, qz, light_axes, light_focal, shadow, bias) / probes_of_light
            for c in range(3):
                value[c] = 0.0
            if lit > 0:
                for c in range(3):
                    half[c] = key[c] + view[c]
                _make_unit(half)
                n_h = min(max(n[0] * half[0] + n[1] * half[1] + n[2] * half[2], 0.0), 1.0)
                v_h = min(max(view[0] * half[0] + view[1] * half[1] + view[2] * half[2], 0.0), 1.0)
                highlight = _ggx(n_h, n_l, n_v, max(alpha, 0.02))
                fresnel = (1 - v_h) ** 5
                for c in range(3):
                    reflectance = f0[c] + (1 - f0[c]) * fresnel
                    warm = 1.04 - 0.05 * c
                    value[c] += (
                        lit * n_l * 2.3 * warm * (diffuse[c] / np.pi * (1 - reflectance) + reflectance * highlight)
                    )

            # Surroundings: diffuse along the normal, specular along the reflection.
            open_sky = occlusion[row, column]
            _surroundings(n[0], n[1], n[2], 1.0, axes, ambient)
            rx, ry, rz = 2 * n_v * n[0] - view[0], 2 * n_v * n[1] - view[1], 2 * n_v * n[2] - view[2]
            _surroundings(rx, ry, rz, rough, axes, mirror)
            # Karis 2014: the split-sum integral over GGX as scale and bias of f0.
            r0, r1, r2, r3 = 1 - rough, 0.0425 - 0.0275 * rough, 1.04 - 0.572 * rough, 0.022 * rough - 0.04
            a004 = min(r0 * r0, 2.0 ** (-9.28 * n_v)) * r0 + r1
            scale, shift = -1.04 * a004 + r2, 1.04 * a004 + r3
            below = rx * f[0] + ry * f[1] + rz * f[2]  # a reflection into the surface itself sees little
            seen = min(max(1 + 1.5 * below, 0.0), 1.0) * open_sky
            for c in range(3):
                value[c] += diffuse[c] * ambient[c] * open_sky + (f0[c] * scale + shift) * mirror[c] * seen
                value[c] *= 1.2
            _tone(value)
            opacity = min(max(texel[8], 0.0), 1.0)
            shine = min(max(f0[0] * scale + shift, 0.0), 1.0)
            cover = opacity + (1 - opacity) * shine  # clear glass still mirrors
            for c in range(3):
                image[row, column, c] = image[row, column, c] * (1 - cover) + value[c] * cover


def _encode(linear: FloatArray) -> FloatArray:
    return linear_to_srgb(np.clip(linear, 0, 1))
