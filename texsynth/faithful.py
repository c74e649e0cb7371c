"""Faithful enlargement (`--faithful`): the asset's own maps at the result's size, with the detail of `expected`.

expect -> blocks beneath every place of the asset, band by band, into files -> back-projection (Irani and Peleg 1991:
reduced again, the result is the asset). An interrupted run goes on behind the last band that it finished.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.canvas import Canvas
from texsynth.errors import bad_input
from texsynth.exemplar import Exemplar, build_exemplar, halved
from texsynth.expected import LARGEST_FACTOR, MARGIN, Expectation, expect, smallest_side
from texsynth.fault import fault_point
from texsynth.kept import keep_arrays, kept_arrays
from texsynth.layer import channels_of
from texsynth.material import CHANNELS, MapKind, Material, TextureMap, linear_to_srgb, srgb_to_linear, unit_normals
from texsynth.model.latent import BLOCK
from texsynth.run import Run

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

BLOCKS = 8192  # about so many are made at once: 60 MB of seven channels
BAND = 256  # texel rows that are back-projected at once
HALO = 8  # texels of the asset on each side of a band: three passes of cubic interpolation reach six
PASSES = 3
TOP = np.float32(65535)


@dataclass(frozen=True)
class Enlarged:
    """The raw enlargement, before back-projection. canvases: uint16, of the exemplar's maps. places: int32 (H / 8,
    W / 8, 2), the exemplar's block that counts most in each of the result's. asset: at its power of two. explained:
    as of `expected.Expectation`."""

    canvases: dict[MapKind, Canvas]
    places: Ints
    asset: Material
    explained: float


def enlargement(size: int, asset: Material) -> int:
    """By how much the asset is enlarged: a power of two. Raises TexsynthError(BAD_INPUT) if it is no enlargement."""
    side = 1 << (min(asset.size).bit_length() - 1)
    if side >= size:
        height, width = asset.size
        raise bad_input(
            "faithful", f"the asset's maps have {width} x {height} texels already",
            f"ask for a size above {side}, or leave it out",
        )  # fmt: skip
    return size // side


def enlarge(
    exemplar: Exemplar,
    asset: Material,
    size: int,
    torus: tuple[bool, bool],
    share: float,
    keys: int,
    seed: int,
    work: Path,
    run: Run,
) -> Enlarged:
    """All maps of the exemplar at `size` x `size` texels, in files in `work`; an interrupted run is gone on with.

    torus: directions in which asset and result tile. share: as of `Expectation.blocks`. keys: as of `expected.expect`.
    Raises TexsynthError(BAD_INPUT) where asset and exemplar do not go together.
    """
    factor = enlargement(size, asset)
    stages = _stages(factor)
    needed = max(scale * smallest_side(each) for scale, each in stages)
    if min(exemplar.size) < needed:
        height, width = exemplar.size
        raise bad_input(
            "faithful", f"an exemplar of {width} x {height} texels is too small for an enlargement by {factor}",
            f"give one with at least {needed} texels a side, or ask for a smaller size",
        )  # fmt: skip
    asset = _of_side(asset, size // factor)
    for scale, coarse in stages[:-1]:
        reduced = build_exemplar(halved(exemplar.stack, scale.bit_length() - 1), exemplar.maps)
        asset = _in_memory(reduced, asset, coarse, torus, share, keys, seed)
    factor = stages[-1][1]
    model = expect(exemplar, tuple(asset.maps), factor, keys, seed)
    work.mkdir(exist_ok=True)
    canvases, places, done = _kept(work, exemplar.maps, size)
    step = max(1, BLOCKS // (size // BLOCK))
    for first in range(done, size // BLOCK, step):
        run.step(first * BLOCK / size)
        last = min(first + step, size // BLOCK)
        band, places[first:last] = _band(model, asset, size, torus, share, first, last)
        for kind, part in zip(model.maps, channels_of(model.maps), strict=True):
            coded = (np.clip(band[:, :, part], 0, 1) * TOP + np.float32(0.5)).astype(np.uint16)
            canvases[kind].write_rows(first * BLOCK, coded)
        keep_arrays(work / "done.npz", done=last, places=places)
        fault_point("faithful_band")
    return Enlarged(canvases, places, asset, model.explained)


def bands(enlarged: Enlarged, torus: tuple[bool, bool]) -> Iterator[Floats]:
    """Encoded bands, float32 (BAND, W, K), of the enlargement, from the top; reduced again they are the asset."""
    size = next(iter(enlarged.canvases.values())).height
    for first in range(0, size, BAND):
        rows = first, min(first + BAND, size)
        parts = []
        for kind, canvas in enlarged.canvases.items():
            made = _projected(kind, canvas, enlarged.asset.maps.get(kind), rows, torus)
            parts.append(_unit(made) if kind is MapKind.NORMAL else made)
        yield np.concatenate(parts, axis=2)


def _stages(factor: int) -> list[tuple[int, int]]:
    """By what the exemplar is reduced, and by what the asset is enlarged then, from the coarsest stage on."""
    stages = []
    while factor > 1:
        each = factor if factor <= LARGEST_FACTOR else min(factor // LARGEST_FACTOR, LARGEST_FACTOR)
        factor //= each
        stages.append((factor, each))
    return stages


def _of_side(asset: Material, side: int) -> Material:
    """The asset's maps at `side` x `side` texels, albedo averaged in linear light."""
    if asset.size == (side, side):
        return asset
    maps = {}
    for kind, own in asset.maps.items():
        texels = cv2.resize(own.linear(), (side, side), interpolation=cv2.INTER_AREA).reshape(side, side, -1)
        maps[kind] = TextureMap.from_linear(kind, np.asarray(texels, np.float32), np.uint16)
    return replace(asset, maps=maps)


def _in_memory(
    exemplar: Exemplar, asset: Material, factor: int, torus: tuple[bool, bool], share: float, keys: int, seed: int
) -> Material:
    """The asset's maps enlarged by `factor` by a reduced exemplar, those of them that the exemplar has too."""
    model = expect(exemplar, tuple(asset.maps), factor, keys, seed)
    size = asset.size[0] * factor
    raw, _ = _band(model, asset, size, torus, share, 0, size // BLOCK)
    maps = {}
    for kind, part in zip(model.maps, channels_of(model.maps), strict=True):
        if kind in asset.maps:
            made = _consistent(kind, np.clip(raw[:, :, part], 0, 1), asset.maps[kind].encoded())
            coded = (_unit(made) if kind is MapKind.NORMAL else made) * TOP + np.float32(0.5)
            maps[kind] = TextureMap(kind, coded.astype(np.uint16))
    return replace(asset, maps=maps)


def _kept(work: Path, kinds: tuple[MapKind, ...], size: int) -> tuple[dict[MapKind, Canvas], Ints, int]:
    """The files of an earlier run and how many rows of blocks are done, or new files and none."""
    kept = kept_arrays(work / "done.npz")
    paths = {kind: work / f"{kind}.raw" for kind in kinds}
    if kept is None:
        made = {kind: Canvas.create(path, kind, size, size, CHANNELS[kind], np.uint16) for kind, path in paths.items()}
        return made, np.zeros((size // BLOCK, size // BLOCK, 2), np.int32), 0
    found = {kind: Canvas(path, kind, size, size, CHANNELS[kind], np.dtype(np.uint16)) for kind, path in paths.items()}
    for canvas in found.values():
        canvas.check()
    return found, kept["places"], int(kept["done"])


def _band(
    model: Expectation, asset: Material, size: int, torus: tuple[bool, bool], share: float, first: int, last: int
) -> tuple[Floats, Ints]:
    """Texels float32 (8 (last - first), size, K) of rows of blocks, and their places, int32 (rows, size / 8, 2).

    Blocks cross-fade with their neighbours, those above and below the band among them.
    """
    count = size // BLOCK
    rows = np.arange(first - 1, last + 1)
    rows = rows if torus[0] else rows[(rows >= 0) & (rows < count)]
    columns = np.arange(-1, count + 1) if torus[1] else np.arange(count)
    blocks, keys = model.blocks(_patches(model, asset, rows, columns, torus), share)
    texels = _crossfaded(blocks.reshape(len(rows), len(columns), *([BLOCK + 2 * MARGIN] * 2), -1))
    top, left = (first - int(rows[0])) * BLOCK + MARGIN, -int(columns[0]) * BLOCK + MARGIN
    inner = np.s_[first - rows[0] : last - rows[0], -columns[0] : count - columns[0]]
    places = model.places[keys].reshape(len(rows), len(columns), 2)[inner]
    return texels[top : top + (last - first) * BLOCK, left : left + size], places.astype(np.int32)


def _patches(
    model: Expectation, asset: Material, rows: NDArray[np.int64], columns: NDArray[np.int64], torus: tuple[bool, bool]
) -> Floats:
    """The asset's texels around blocks, float32 (rows * columns, P, K)."""
    cells, around = BLOCK // model.lens.factor, model.lens.around
    side = asset.size[0]
    ys = np.arange(rows[0] * cells - around, (rows[-1] + 1) * cells + around)
    xs = np.arange(columns[0] * cells - around, (columns[-1] + 1) * cells + around)
    ys, xs = (at % side if wraps else at.clip(0, side - 1) for at, wraps in zip((ys, xs), torus, strict=True))
    stack = np.zeros((len(ys), len(xs), len(model.lens.given)), np.float32)
    for kind, part in zip(model.maps, channels_of(model.maps), strict=True):
        if kind in asset.maps:
            stack[:, :, part] = TextureMap(kind, asset.maps[kind].texels[ys][:, xs]).encoded()
    windows = np.lib.stride_tricks.sliding_window_view(stack, (model.lens.cells,) * 2, axis=(0, 1))[::cells, ::cells]
    return np.ascontiguousarray(windows.transpose(0, 1, 3, 4, 2)).reshape(
        len(rows) * len(columns), model.lens.cells**2, -1
    )


def _crossfaded(blocks: Floats) -> Floats:
    """Blocks with margins, (h, w, 16, 16, K), as one picture (8 h + 8, 8 w + 8, K) that begins a margin before them."""
    h, w, _, _, channels = blocks.shape
    rise = (np.arange(BLOCK, dtype=np.float32) + np.float32(0.5)) / BLOCK
    line = np.concatenate([rise, rise[::-1]])
    weights = (line[:, None] * line)[:, :, None]
    sums = np.zeros((h + 1, BLOCK, w + 1, BLOCK, channels), np.float32)
    shares = np.zeros((h + 1, BLOCK, w + 1, BLOCK, 1), np.float32)
    for i in range(2):
        for j in range(2):
            part = np.s_[:, :, i * BLOCK : (i + 1) * BLOCK, j * BLOCK : (j + 1) * BLOCK]
            weight = weights[part[2:]]
            sums[i : i + h, :, j : j + w] += (blocks[part] * weight).transpose(0, 2, 1, 3, 4)
            shares[i : i + h, :, j : j + w] += weight[:, None]
    return np.asarray(sums / shares, np.float32).reshape((h + 1) * BLOCK, (w + 1) * BLOCK, channels)


def _projected(
    kind: MapKind, canvas: Canvas, own: TextureMap | None, rows: tuple[int, int], torus: tuple[bool, bool]
) -> Floats:
    """Rows of the raw enlargement, float32 (h, W, C), back-projected where the asset has the map."""
    if own is None:
        return TextureMap(kind, canvas.read_rows(*rows)).encoded()
    factor, side = canvas.height // own.size[0], own.size[0]
    ys = np.arange(rows[0] // factor - HALO, rows[1] // factor + HALO)
    ys = ys % side if torus[0] else ys[(ys >= 0) & (ys < side)]
    xs = np.arange(-HALO, side + HALO) % side if torus[1] else np.arange(side)
    texels = np.concatenate([canvas.read_rows(a * factor, b * factor) for a, b in _runs(ys)])
    inside = np.arange(factor)
    raw = TextureMap(kind, texels[:, (xs[:, None] * factor + inside).ravel()]).encoded()
    made = _consistent(kind, raw, TextureMap(kind, own.texels[ys][:, xs]).encoded())
    top = HALO if torus[0] else min(rows[0] // factor, HALO)
    left = HALO if torus[1] else 0
    return made[top * factor : top * factor + rows[1] - rows[0], left * factor : left * factor + canvas.width]


def _runs(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Consecutive rows as (first, last) pairs."""
    parts = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]


def _consistent(kind: MapKind, raw: Floats, own: Floats) -> Floats:
    """`raw`, encoded float32 (H, W, C), moved until it is `own` (h, w, C) when reduced: of albedo in linear light."""
    forth, back = (srgb_to_linear, linear_to_srgb) if kind is MapKind.ALBEDO else (np.asarray, np.asarray)
    image, wanted = forth(raw), forth(own)
    small, large = wanted.shape[1::-1], image.shape[1::-1]
    for _ in range(PASSES):
        missing = wanted - cv2.resize(image, small, interpolation=cv2.INTER_AREA).reshape(wanted.shape)
        added = cv2.resize(missing, large, interpolation=cv2.INTER_CUBIC).reshape(image.shape)
        image = np.clip(image + added, 0, 1)
    return np.asarray(back(image), np.float32)


def _unit(encoded: Floats) -> Floats:
    """Encoded normals of length 1."""
    return unit_normals(encoded * 2 - 1) * np.float32(0.5) + np.float32(0.5)
