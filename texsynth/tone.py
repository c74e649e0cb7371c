"""Tone: where the asset's own colour varies slowly, the result may keep it (`--tone`), in linear light.

The texture is divided into square cells of `CELL` texels, or of one of the asset's texels where those are larger. Each
cell's mean is moved towards that of the asset's albedo: first by a factor, as paint darkens what it covers, then what
that misses is added. Both pass smoothly from cell to cell (back-projection: Irani and Peleg 1991). So stains, wear and
paint of the asset stay while the exemplar gives the detail; and where both are of one material, the result is an
enlargement that keeps the asset's colours.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.canvas import Canvas
from texsynth.content import LARGEST_CONTENT, resized_rows
from texsynth.material import TextureMap, encode_linear
from texsynth.region import Region
from texsynth.run import Run

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

CELL = 8  # texels a side
DARKEST, BRIGHTEST = 1 / 16, 4.0  # factors; beyond them grain would vanish or glare
PASSES = 3  # what is clipped and smoothed away in one comes in the next
BAND = 256  # texel rows at once


def keep_tone(
    albedo: Canvas, own: TextureMap, strength: float, covered: Mask | None, region: Region | None, run: Run
) -> None:
    """Move the cells of `albedo` towards those of the asset's `own` albedo, in place.

    strength: 0..1, how far. covered: bool (size, size), texels that belong to the surface; others have no say in a
    cell's mean (None: all). region: texels outside it are left untouched to the bit.
    """
    size = albedo.height
    side = 1 << min(min(own.size).bit_length() - 1, size.bit_length() - 1, LARGEST_CONTENT.bit_length() - 1)
    cells = min(size // CELL, side)
    image = np.asarray(cv2.resize(own.linear(), (side, side), interpolation=cv2.INTER_AREA), np.float32)
    weights: Floats | None = None
    if covered is not None:
        reduced = cv2.resize(covered.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        weights = np.asarray(reduced, np.float32)
    wanted, known = _cells(iter([(0, image)]), weights, cells, side)
    aim: Floats | None = None
    for number in range(PASSES):
        run.step(number / PASSES)
        made, _ = _cells(_rows(albedo), covered, cells, size)
        if aim is None:
            aim = made + np.float32(strength) * (wanted - made)
        if number == 0:
            _change(
                albedo, _spread(np.clip(aim / np.maximum(made, 1e-4), DARKEST, BRIGHTEST), known), region, np.multiply
            )
        else:
            _change(albedo, _spread(aim - made, known), region, np.add)


def _rows(albedo: Canvas) -> Iterator[tuple[int, Floats]]:
    """First row and linear light, float32 (rows, size, 3), band by band."""
    for first in range(0, albedo.height, BAND):
        yield first, _linear(albedo, first, min(first + BAND, albedo.height))


def _linear(albedo: Canvas, first: int, last: int) -> Floats:
    return TextureMap(albedo.kind, albedo.read_rows(first, last)).linear()


def _cells(
    bands: Iterator[tuple[int, Floats]], covered: Mask | Floats | None, cells: int, size: int
) -> tuple[Floats, Mask]:
    """The mean of each cell's covered texels, or of those by how far they are, float32 (cells, cells, 3), and which
    cells have any. bands: (first row, float32 (rows, size, 3))."""
    side = size // cells
    sums, counts = np.zeros((cells, cells, 3), np.float32), np.zeros((cells, cells, 1), np.float32)
    for first, band in bands:
        last = first + len(band)
        weights = np.ones((*band.shape[:2], 1), np.float32)
        if covered is not None:
            weights[:] = covered[first:last, :, None]
        # bands are whole rows of cells, or cells whole rows of bands
        rows = slice(first // side, max(first // side + 1, last // side))
        height = min(side, len(band))
        parts = len(band) // height, height, cells, side
        sums[rows] += (band * weights).reshape(*parts, 3).sum(axis=(1, 3))
        counts[rows] += weights.reshape(*parts, 1).sum(axis=(1, 3))
    return np.asarray(sums / np.maximum(counts, 1e-6), np.float32), np.asarray(counts[:, :, 0] > 0)


def _spread(values: Floats, known: Mask) -> Floats:
    """Values (cells, cells, 3) of cells; those without a texel of the surface get the nearest ones'."""
    if known.all() or not known.any():
        return values
    labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    of_label = np.zeros(int(labels.max()) + 1, np.int64)
    of_label[labels[known]] = np.flatnonzero(known)
    return np.asarray(values.reshape(-1, 3)[of_label[labels]], np.float32)


def _change(albedo: Canvas, values: Floats, region: Region | None, how: np.ufunc) -> None:
    """`how` of linear light and the cells' values, float32 (cells, cells, 3), spread over the texels."""
    size = albedo.height
    for first in range(0, size, BAND):
        last = min(first + BAND, size)
        old = albedo.read_rows(first, last)
        linear = TextureMap(albedo.kind, old).linear()
        new = np.clip(how(linear, resized_rows(values, (size, size), (first, last))), 0, 1)
        if region is not None:
            weight = region.weights(first, last)[:, :, None]
            new = linear + weight * (new - linear)
        made = encode_linear(albedo.kind, np.asarray(new, np.float32), albedo.dtype)
        albedo.write_rows(first, made if region is None else np.where(weight > 0, made, old))
