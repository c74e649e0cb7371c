"""A viewer on the CPU for benchmarks: what a camera sees of a scene whose textures are there only in part.

A frame is 1,024 x 1,024 pixels of 90 degrees, as one eye of a headset has. `look` finds what each pixel shows: surface,
place in its texture and wanted level, from the derivatives of the UVs (Vulkan 1.3, 16.5.7, without anisotropy);
`feedback` counts that by tiles, as a GPU's feedback pass does, and `shade` draws it from the chunks that are there.

As on a GPU with a residency map, a pixel is sampled trilinearly at its wanted level, or at the finest one present in
its place if that is coarser, each map for itself. All texels that the filter may read count, as in the WebXR client's
shader, so at its border a chunk is shown as coarse as the one beside it.
Where not even the mip tail is there, a map is neutral. Light: a sky, a sun and a reflection of both, in linear light.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mipmap.chain import decoding_table
from mipmap.chunks import Place, chunk_side, layout, level_sides
from mipmap.compiled import compiled, in_threads
from mipmap.encode import decode_level
from mipmap.ktx2 import read_ktx2
from mipmap.metrics import ssim
from mipmap.metrics.similarity import WINDOW
from texsynth.surface.mesh import Mesh, load_mesh
from texsynth.surface.raster import visible

Floats = NDArray[np.float32]

SIDE = 1024  # pixels of a frame
FIELD = 90.0  # degrees
ABSENT = 255  # in a residency map: not even the tail
KINDS = ("albedo", "normal", "roughness")
TILE = 64  # texels a side of the feedback's tiles


@dataclass(frozen=True)
class Standing:
    """A mesh file and where it stands: scaled, turned about the upright axis (degrees), and moved (metres)."""

    surface: str
    mesh: str
    scale: float
    turn: float
    at: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """Meshes as one; `mesh.material_index` is the number of the surface. gradients: (T, 2, 3) du and dv a metre."""

    surfaces: tuple[str, ...]
    mesh: Mesh
    gradients: Floats
    face_normals: Floats


@dataclass(frozen=True)
class Pose:
    """Where an eye is and looks: yaw to the left and pitch upwards, degrees; gaze from the middle, right and down."""

    eye: tuple[float, float, float]
    yaw: float
    pitch: float
    gaze: tuple[float, float] = (0.0, 0.0)

    def axes(self) -> NDArray[np.float64]:
        """Rows: right, up, towards the viewer."""
        turn, tilt = math.radians(self.yaw), math.radians(self.pitch)
        back = np.array([math.sin(turn) * math.cos(tilt), -math.sin(tilt), math.cos(turn) * math.cos(tilt)])
        right = np.array([math.cos(turn), 0.0, -math.sin(turn)])
        return np.stack([right, np.cross(back, right), back])


@dataclass(frozen=True)
class Frame:
    """What each pixel shows. surface: int16, -1 nothing; uv: (S, S, 2); level: of texels of the unit square, log2 of
    the pixel's larger side in UV, so that a texture of n texels a side is wanted at level + log2(n)."""

    surface: NDArray[np.int16]
    uv: Floats
    level: Floats
    basis: Floats
    """(S, S, 12): normal, tangent, bitangent, direction to the eye."""


@dataclass(frozen=True)
class MapTexels:
    """All levels of one map, decoded. texels: (N, C) uint8, level after level; shape: (levels, 3) start, height, width;
    sides: texels of the chunks of each level; places: of its chunks in their order; table: (256,) float32, what the
    codes mean."""

    texels: NDArray[np.uint8]
    shape: NDArray[np.int64]
    sides: tuple[int, ...]
    places: tuple[Place, ...]
    table: Floats

    def residency(self, chunks: Sequence[int]) -> NDArray[np.uint8]:
        """The finest level present in each place, by chunks of level 0; ABSENT without the tail."""
        (height, width), side = self.shape[0, 1:], self.sides[0]
        found = np.full((-(-height // side), -(-width // side)), ABSENT, np.uint8)
        for index in sorted(chunks):  # coarsest first
            place = self.places[index]
            if place.levels > 1 or place.level == self.places[0].level:
                found[:] = place.level
                continue
            reach = (self.sides[place.level] << place.level) // side
            row, column = (start // self.sides[place.level] * reach for start in (place.y, place.x))
            last = (
                (place.y + place.height) == self.shape[place.level, 1],
                (place.x + place.width) == self.shape[place.level, 2],
            )
            rows = slice(row, None if last[0] else row + reach)
            columns = slice(column, None if last[1] else column + reach)
            found[rows, columns] = place.level
        return found

    def everything(self) -> NDArray[np.uint8]:
        """The residency map with all chunks there."""
        return self.residency(range(len(self.places)))


Textures = Mapping[str, Mapping[str, MapTexels]]
"""Surface, then map."""


def load_scene(folder: Path, standing: Sequence[Standing]) -> Scene:
    """The scene of mesh files in `folder`. Raises TexsynthError for a mesh that cannot be read."""
    parts = [_placed(load_mesh(folder / one.mesh).mesh, one, number) for number, one in enumerate(standing)]
    first = np.cumsum([0, *(len(part.positions) for part in parts[:-1])])
    mesh = Mesh(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.uvs for part in parts]),
        np.concatenate([part.triangles + start for part, start in zip(parts, first, strict=True)]).astype(np.int32),
        np.concatenate([part.material_index for part in parts]),
    )
    return Scene(tuple(one.surface for one in standing), mesh, *_gradients(mesh))


def _placed(mesh: Mesh, standing: Standing, number: int) -> Mesh:
    turn = math.radians(standing.turn)
    spin = np.array([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]], np.float32)
    positions = standing.scale * mesh.positions @ spin.T + np.asarray(standing.at, np.float32)
    index = np.full(len(mesh.triangles), number, np.int32)
    return Mesh(positions.astype(np.float32), mesh.normals @ spin.T, mesh.uvs, mesh.triangles, index)


def _gradients(mesh: Mesh) -> tuple[Floats, Floats]:
    """(T, 2, 3) du and dv over the position in each triangle's plane, and (T, 3) its normal."""
    corners, uvs = mesh.positions.astype(np.float64)[mesh.triangles], mesh.uvs.astype(np.float64)[mesh.triangles]
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    d1, d2 = uvs[:, 1] - uvs[:, 0], uvs[:, 2] - uvs[:, 0]
    cross = np.cross(e1, e2)
    area = np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-30)
    normal = cross / area
    g1, g2 = np.cross(e2, normal) / area, np.cross(normal, e1) / area  # the dual basis of e1, e2
    found = np.stack([d1[:, :1] * g1 + d2[:, :1] * g2, d1[:, 1:] * g1 + d2[:, 1:] * g2], axis=1)
    return found.astype(np.float32), normal.astype(np.float32)


def load_map(path: Path, kind: str) -> MapTexels:
    """A map of a KTX2 file, decoded."""
    read = read_ktx2(path)
    levels = [
        decode_level(read.level(k), max(1, read.height >> k), max(1, read.width >> k), read.texel_format)
        for k in range(len(read.stored))
    ]
    return map_texels(levels, kind, read.texel_format.block_width)


def map_texels(levels: Sequence[NDArray[np.uint8]], kind: str, block: int) -> MapTexels:
    """Of decoded levels, (height, width, C) uint8 with at least as many channels as the map means. block: texels a
    side of the format's."""
    channels = 1 if kind == "roughness" else 3
    sizes = np.array([level.shape[:2] for level in levels], np.int64)
    starts = np.cumsum([0, *sizes.prod(axis=1)[:-1]])
    texels = np.concatenate([level[..., :channels].reshape(-1, channels) for level in levels])
    table = decoding_table(np.dtype(np.uint8), "colour" if kind == "albedo" else "scalar")
    shape = *levels[0].shape[:2], chunk_side(block), block
    return MapTexels(
        np.ascontiguousarray(texels),
        np.column_stack([starts, sizes]),
        level_sides(*shape),
        tuple(layout(*shape)),
        np.ascontiguousarray(table, np.float32),
    )


def look(scene: Scene, pose: Pose, side: int = SIDE) -> Frame:
    """What each pixel of a frame shows."""
    axes, eye = pose.axes(), np.asarray(pose.eye)
    focal = side / (2 * math.tan(math.radians(FIELD) / 2))
    local = (scene.mesh.positions - eye) @ axes.T
    depth = -local[:, 2]
    safe = np.where(depth > 1e-6, depth, 1.0)
    half = side / 2
    clip = np.stack([half + focal * local[:, 0] / safe, half - focal * local[:, 1] / safe, depth], axis=1)
    seen = visible(clip, scene.mesh.triangles, side, side)
    frame = Frame(
        np.full((side, side), -1, np.int16),
        np.zeros((side, side, 2), np.float32),
        np.zeros((side, side), np.float32),
        np.zeros((side, side, 12), np.float32),
    )
    mesh = scene.mesh

    def fill(rows: slice) -> None:
        _fill(
            rows.start,
            seen.triangle[rows],
            seen.weights[rows],
            mesh.triangles,
            mesh.positions,
            mesh.normals,
            mesh.uvs,
            mesh.material_index,
            scene.gradients,
            scene.face_normals,
            eye,
            axes,
            focal,
            half,
            frame.surface[rows],
            frame.uv[rows],
            frame.level[rows],
            frame.basis[rows],
        )

    in_threads(fill, _bands(side))
    return frame


def _bands(side: int) -> list[slice]:
    return [slice(y, min(y + 64, side)) for y in range(0, side, 64)]


@compiled
def _unit(x, y, z):  # type: ignore[no-untyped-def]
    length = max(np.sqrt(x * x + y * y + z * z), 1e-12)
    return x / length, y / length, z / length


@compiled
def _fill(  # type: ignore[no-untyped-def]
    top, triangle, weights, triangles, positions, normals, uvs, index, gradients, faces, eye, axes, focal, half,
    surface, uv, level, basis,
):  # fmt: skip
    for row in range(triangle.shape[0]):
        for column in range(triangle.shape[1]):
            t = triangle[row, column]
            if t < 0:
                continue
            w = weights[row, column]
            a, b, c = triangles[t]
            surface[row, column] = index[t]
            uv[row, column, 0] = w[0] * uvs[a, 0] + w[1] * uvs[b, 0] + w[2] * uvs[c, 0]
            uv[row, column, 1] = w[0] * uvs[a, 1] + w[1] * uvs[b, 1] + w[2] * uvs[c, 1]
            sx, sy = (column + 0.5 - half) / focal, (half - top - row - 0.5) / focal
            dx = -axes[2, 0] + sx * axes[0, 0] + sy * axes[1, 0]
            dy = -axes[2, 1] + sx * axes[0, 1] + sy * axes[1, 1]
            dz = -axes[2, 2] + sx * axes[0, 2] + sy * axes[1, 2]
            fx, fy, fz = faces[t]
            along = fx * dx + fy * dy + fz * dz
            if abs(along) < 1e-4:
                along = 1e-4
            px = w[0] * positions[a, 0] + w[1] * positions[b, 0] + w[2] * positions[c, 0]
            py = w[0] * positions[a, 1] + w[1] * positions[b, 1] + w[2] * positions[c, 1]
            pz = w[0] * positions[a, 2] + w[1] * positions[b, 2] + w[2] * positions[c, 2]
            depth = -((px - eye[0]) * axes[2, 0] + (py - eye[1]) * axes[2, 1] + (pz - eye[2]) * axes[2, 2])
            longest = 0.0
            for k in range(2):  # one pixel to the right, one up: along the ray onto the triangle's plane
                slip = (fx * axes[k, 0] + fy * axes[k, 1] + fz * axes[k, 2]) / along
                mx, my, mz = axes[k, 0] - dx * slip, axes[k, 1] - dy * slip, axes[k, 2] - dz * slip
                du = gradients[t, 0, 0] * mx + gradients[t, 0, 1] * my + gradients[t, 0, 2] * mz
                dv = gradients[t, 1, 0] * mx + gradients[t, 1, 1] * my + gradients[t, 1, 2] * mz
                longest = max(longest, np.sqrt(du * du + dv * dv) * depth / focal)
            level[row, column] = np.log2(max(longest, 1e-9))
            nx = w[0] * normals[a, 0] + w[1] * normals[b, 0] + w[2] * normals[c, 0]
            ny = w[0] * normals[a, 1] + w[1] * normals[b, 1] + w[2] * normals[c, 1]
            nz = w[0] * normals[a, 2] + w[1] * normals[b, 2] + w[2] * normals[c, 2]
            vx, vy, vz = _unit(-dx, -dy, -dz)
            if along > 0:  # seen from behind
                nx, ny, nz = -nx, -ny, -nz
            nx, ny, nz = _unit(nx, ny, nz)
            tx, ty, tz = gradients[t, 0, 0], gradients[t, 0, 1], gradients[t, 0, 2]
            bx, by, bz = -gradients[t, 1, 0], -gradients[t, 1, 1], -gradients[t, 1, 2]  # v grows downwards
            dot = tx * nx + ty * ny + tz * nz
            tx, ty, tz = _unit(tx - dot * nx, ty - dot * ny, tz - dot * nz)
            dot = bx * nx + by * ny + bz * nz
            bx, by, bz = _unit(bx - dot * nx, by - dot * ny, bz - dot * nz)
            out = basis[row, column]
            out[0], out[1], out[2] = nx, ny, nz
            out[3], out[4], out[5] = tx, ty, tz
            out[6], out[7], out[8] = bx, by, bz
            out[9], out[10], out[11] = vx, vy, vz


@dataclass(frozen=True)
class Tile:
    """As the contract's: how many pixels want a level of a place, and where they are on the screen (degrees)."""

    level: int
    row: int
    column: int
    pixels: int
    x: float
    y: float


def feedback(frame: Frame, scene: Scene, size: int, tile: int = TILE) -> dict[str, list[Tile]]:
    """The feedback table of textures of `size` texels a side, by tiles of `tile` texels.

    A pixel between two levels is shown by both, so it counts for the finer one with its share of it, and else for the
    coarser one: what a GPU gets by rounding the level at random.
    """
    side = frame.surface.shape[0]
    angle = np.degrees(np.arctan((np.arange(side) + 0.5 - side / 2) / (side / 2))).astype(np.float32)
    rows, columns = np.nonzero(frame.surface >= 0)
    surface = frame.surface[rows, columns].astype(np.int64)
    wanted = np.clip(frame.level[rows, columns] + math.log2(size), 0, math.log2(size))
    texel = (np.mod(frame.uv[rows, columns], 1) * size).astype(np.int64)
    lower = np.floor(wanted).astype(np.int64)
    share = 1 - (wanted - lower)
    found: dict[tuple[int, int, int, int], list[float]] = {}
    for level, weight in ((lower, share), (lower + 1, 1 - share)):
        place = texel >> level[:, None]
        v, u = place[:, 1] // tile, place[:, 0] // tile
        key = ((surface * 32 + level) * 4096 + v) * 4096 + u
        keys, inverse = np.unique(key, return_inverse=True)
        sums = [np.bincount(inverse, part) for part in (weight, weight * angle[columns], weight * angle[rows])]
        for number, (total, x, y) in enumerate(zip(*sums, strict=True)):
            if total > 0:
                whole = int(keys[number])
                where = (whole >> 29, whole >> 24 & 31, whole >> 12 & 4095, whole & 4095)
                entry = found.setdefault(where, [0.0, 0.0, 0.0])
                for k, value in enumerate((total, x, y)):
                    entry[k] += float(value)
    table: dict[str, list[Tile]] = {}
    for (surface_number, level_number, v_number, u_number), (total, x, y) in sorted(found.items()):
        if round(total) > 0:
            tiles = table.setdefault(scene.surfaces[surface_number], [])
            tiles.append(Tile(level_number, v_number, u_number, round(total), x / total, y / total))
    return table


def shade(
    frame: Frame, scene: Scene, textures: Textures, residency: Mapping[str, Mapping[str, NDArray[np.uint8]]]
) -> Floats:
    """(S, S, 3), sRGB-encoded. residency: `MapTexels.residency` by surface and map; a map that it lacks is absent."""
    side = frame.surface.shape[0]
    image = np.full((side, side, 3), 0.4, np.float32)  # around the meshes: grey
    for number, name in enumerate(scene.surfaces):
        if not (frame.surface == number).any():
            continue
        maps = textures[name]
        given = residency.get(name, {})
        absent = np.full((1, 1), ABSENT, np.uint8)
        arguments = [
            value
            for kind in KINDS
            for value in (
                maps[kind].texels,
                maps[kind].shape,
                maps[kind].table,
                given.get(kind, absent),
                maps[kind].sides[0],
            )
        ]

        def draw(rows: slice, number: int = number, arguments: Sequence[object] = arguments) -> None:
            _shade(
                number,
                frame.surface[rows],
                frame.uv[rows],
                frame.level[rows],
                frame.basis[rows],
                *arguments,
                image[rows],
            )

        in_threads(draw, _bands(side))
    return image


@compiled
def _finest(present, chunk, height, width, u, v):  # type: ignore[no-untyped-def]
    row, column = int((v - np.floor(v)) * height) // chunk, int((u - np.floor(u)) * width) // chunk
    return present[min(row, present.shape[0] - 1), min(column, present.shape[1] - 1)]


@compiled
def _sample(texels, shape, table, present, chunk, u, v, wanted, out):  # type: ignore[no-untyped-def]
    """Trilinear, repeated, into `out`; False where nothing is there."""
    height, width = shape[0, 1], shape[0, 2]
    u, v = u - np.floor(u), v - np.floor(v)
    last, wanted = shape.shape[0] - 1, wanted + np.log2(float(max(height, width)))
    finest = _finest(present, chunk, height, width, u, v)
    reach = 2.0 ** np.ceil(max(wanted, float(finest)))
    for side in range(4):
        x, y = (reach if side & 1 else -reach) / width, (reach if side & 2 else -reach) / height
        finest = max(finest, _finest(present, chunk, height, width, u + x, v + y))
    if finest == 255:
        return False
    lod = min(max(wanted, float(finest)), float(last))
    low = int(lod)
    for k in range(out.shape[0]):
        out[k] = 0
    for level in range(low, min(low + 1, last) + 1):
        share = 1 - (lod - low) if level == low else lod - low
        if share <= 0:
            continue
        start, h, w = shape[level]
        x, y = u * w - 0.5, v * h - 0.5
        x0, y0 = int(np.floor(x)), int(np.floor(y))
        fx, fy = x - x0, y - y0
        for j in range(2):
            row = start + ((y0 + j) % h) * w
            wy = share * (fy if j else 1 - fy)
            for i in range(2):
                weight = wy * (fx if i else 1 - fx)
                at = row + (x0 + i) % w
                for k in range(out.shape[0]):
                    out[k] += weight * table[texels[at, k]]
    return True


@compiled
def _shade(  # type: ignore[no-untyped-def]
    number, surface, uv, level, basis,
    albedo, albedo_shape, albedo_table, albedo_there, albedo_side,
    normal, normal_shape, normal_table, normal_there, normal_side,
    rough, rough_shape, rough_table, rough_there, rough_side,
    image,
):  # fmt: skip
    colour, bump, gloss = np.empty(3, np.float32), np.empty(3, np.float32), np.empty(1, np.float32)
    lx, ly, lz = _unit(-0.45, 0.75, 0.5)  # to the sun
    for row in range(surface.shape[0]):
        for column in range(surface.shape[1]):
            if surface[row, column] != number:
                continue
            u, v, wanted = uv[row, column, 0], uv[row, column, 1], level[row, column]
            if not _sample(albedo, albedo_shape, albedo_table, albedo_there, albedo_side, u, v, wanted, colour):
                colour[:] = 0.214
            if not _sample(normal, normal_shape, normal_table, normal_there, normal_side, u, v, wanted, bump):
                bump[0], bump[1], bump[2] = 0.5, 0.5, 1.0
            if not _sample(rough, rough_shape, rough_table, rough_there, rough_side, u, v, wanted, gloss):
                gloss[0] = 0.6
            frame = basis[row, column]
            x, y, z = 2 * bump[0] - 1, 2 * bump[1] - 1, max(2 * bump[2] - 1, 0.01)
            nx = x * frame[3] + y * frame[6] + z * frame[0]
            ny = x * frame[4] + y * frame[7] + z * frame[1]
            nz = x * frame[5] + y * frame[8] + z * frame[2]
            nx, ny, nz = _unit(nx, ny, nz)
            vx, vy, vz = frame[9], frame[10], frame[11]
            n_v = max(nx * vx + ny * vy + nz * vz, 0.02)
            n_l = max(nx * lx + ny * ly + nz * lz, 0.0)
            roughness = min(max(gloss[0], 0.08), 1.0)
            alpha = roughness * roughness
            hx, hy, hz = _unit(lx + vx, ly + vy, lz + vz)
            n_h = max(nx * hx + ny * hy + nz * hz, 0.0)
            v_h = max(vx * hx + vy * hy + vz * hz, 0.0)
            # glTF 2.0 appendix B: Trowbridge-Reitz and height-correlated Smith, for a dielectric
            a2 = alpha * alpha
            d = n_h * n_h * (a2 - 1) + 1
            masking = n_l * np.sqrt(n_v * n_v * (1 - a2) + a2) + n_v * np.sqrt(n_l * n_l * (1 - a2) + a2)
            highlight = a2 / (np.pi * d * d) * 0.5 / max(masking, 1e-6)
            fresnel = 0.04 + 0.96 * (1 - v_h) ** 5
            sky = 0.45 + 0.35 * ny
            ry = 2 * n_v * ny - vy
            edge = 0.08 + 0.9 * roughness
            up = min(max(0.5 + 0.5 * ry / edge, 0.0), 1.0)
            mirrored = (0.04 + 0.5 * (1 - roughness) * (1 - n_v) ** 5) * (0.15 + 0.85 * up)
            for k in range(3):
                light = (
                    colour[k] * (sky + 2.0 * n_l * (1 - fresnel)) + 2.0 * np.pi * n_l * fresnel * highlight + mirrored
                )
                light = light / (1 + 0.25 * light)
                light = 12.92 * light if light <= 0.0031308 else 1.055 * min(light, 1.0) ** (1 / 2.4) - 0.055
                image[row, column, k] = light


def likeness(picture: Floats, final: Floats, frame: Frame) -> float:
    """SSIM of the luma of two pictures of one frame, over the windows that show a surface; 1 where none does.

    The rest of the frame is the same in both, and would only flatter.
    """
    luma = np.array([0.2126, 0.7152, 0.0722], np.float32)
    whole = ssim(picture @ luma, final @ luma)
    touched = cv2.dilate((frame.surface >= 0).astype(np.uint8), np.ones((WINDOW, WINDOW), np.uint8))
    half = WINDOW // 2
    share = float(touched[half:-half, half:-half].mean())
    return 1 - (1 - whole) / share if share else 1.0
