"""Texture distance: sliced Wasserstein distance of patches, absolute and relative to the exemplar's own variation.

Source: Rabin, Peyre, Delon and Bernot, "Wasserstein barycenter and its application to texture mixing" (SSVM 2011)
for the sliced distance; patches at several scales as in Karras et al., "Progressive growing of GANs" (ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from mipmap.metrics.images import Image, as_image, deviation, halve

PROJECTIONS = 64  # random directions a scale; their choice moves d by 3 % (one deviation), that of 256 by 1.5 %
SAMPLES = 1 << 15  # patches an image and scale; 1 << 18 moves d by less than 3 %

Windows = Image | Sequence[Image]
"""One image (H, W, C), or several windows of one image too large to be looked at whole."""


def sliced_wasserstein(
    a: Windows, b: Windows, *, patch: int = 7, scales: int = 3, projections: int = PROJECTIONS, seed: int = 0
) -> float:
    """Sliced Wasserstein-1 distance of the `patch` x `patch` patches of two images, the mean over `scales` scales.

    At every scale all C channels of a patch form one vector; both sets are projected on the same random unit
    directions u, and the one-dimensional W1 = integral over q in 0..1 of |quantile_a(q) - quantile_b(q)| is averaged
    over the directions. Each scale halves the images by area averaging. The unit is that of the texels: adding c to
    every texel changes it by about 0.8 c, and noise of deviation s is about 0.8 s from a constant.

    a, b: (H, W) or (H, W, C) float, encoded 0..1, of any two sizes and equal C; a list or tuple holds windows of one
    image. About SAMPLES patches an image and scale are taken, one at a random place of each cell of a regular grid
    (the same places for two images of one size, so an image is at distance exactly 0 from itself). Deterministic for
    a `seed`, symmetric. ValueError if the channels differ or a side is below patch x 2^(scales - 1).
    """
    first, second = _windows(a), _windows(b)
    channels = {window.shape[2] for window in (*first, *second)}
    if len(channels) > 1:
        raise ValueError(f"the images differ in channels: {sorted(channels)}")
    smallest = patch << (scales - 1)
    if min(min(window.shape[:2]) for window in (*first, *second)) < smallest:
        raise ValueError(f"sides of at least {smallest} texels are needed, got {first[0].shape} and {second[0].shape}")
    total = 0.0
    for scale in range(scales):
        if scale:
            first, second = [halve(window) for window in first], [halve(window) for window in second]
        directions = _unit_directions(patch * patch * first[0].shape[2], projections, seed + scale)
        total += _distance_1d(
            _projections(first, patch, directions, seed + scale), _projections(second, patch, directions, seed + scale)
        )
    return total / scales


def halves_distance(exemplar: ArrayLike, seed: int = 0) -> float:
    """How far the exemplar is from itself: mean `sliced_wasserstein` of left/right and of top/bottom halves."""
    pixels = as_image(exemplar)
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    across = sliced_wasserstein(pixels[:, :width], pixels[:, -width:], seed=seed)
    down = sliced_wasserstein(pixels[:height], pixels[-height:], seed=seed)
    return 0.5 * (across + down)


def distance_unit(exemplar: ArrayLike, seed: int = 0) -> float:
    """The denominator of `texture_distance`: the largest of `halves_distance`, 0.1 x `deviation` and 0.5/255.

    The last is half a step of 8 bits, below which no distance means anything: it keeps constant maps finite.
    """
    return max(halves_distance(exemplar, seed), 0.1 * deviation(exemplar), 0.5 / 255)


def texture_distance(result: Windows, exemplar: ArrayLike, seed: int = 0, unit: float | None = None) -> float:
    """d: `sliced_wasserstein` of result and exemplar over `distance_unit(exemplar)`; 0 is best.

    Two halves of an exemplar are at most about 1 apart by construction. Both (H, W, C) float, encoded 0..1 (albedo
    sRGB, normal (n + 1)/2, scalars as they are); sizes may differ, texel density should not. `unit` may hold
    `distance_unit(exemplar, seed)` when many results meet one exemplar.
    """
    scale = distance_unit(exemplar, seed) if unit is None else unit
    return sliced_wasserstein(result, as_image(exemplar), seed=seed) / scale


def _windows(images: Windows) -> list[Image]:
    return [as_image(window) for window in images] if isinstance(images, (list, tuple)) else [as_image(images)]


def _unit_directions(dimension: int, count: int, seed: int) -> NDArray[np.float32]:
    directions = np.random.default_rng(seed).standard_normal((dimension, count))
    return np.asarray(directions / np.linalg.norm(directions, axis=0), np.float32)


def _projections(windows: list[Image], patch: int, directions: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """(directions, samples), each row sorted."""
    places = sum((window.shape[0] - patch + 1) * (window.shape[1] - patch + 1) for window in windows)
    step = max(1, int(np.ceil(np.sqrt(places / SAMPLES))))
    generator = np.random.default_rng(seed)
    parts = []
    for window in windows:
        rows, columns = window.shape[0] - patch + 1, window.shape[1] - patch + 1
        y, x = np.meshgrid(np.arange(0, rows, step), np.arange(0, columns, step), indexing="ij")
        y = np.minimum(y + generator.integers(0, step, y.shape), rows - 1).ravel()
        x = np.minimum(x + generator.integers(0, step, x.shape), columns - 1).ravel()
        patches = sliding_window_view(window, (patch, patch), axis=(0, 1))[y, x]
        parts.append(directions.T @ patches.reshape(len(y), -1).T)
    projected = np.concatenate(parts, axis=1)
    projected.sort(axis=1)
    return projected


def _distance_1d(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Mean over rows of the W1 distance of two sorted samples, which meet at the quantiles of the larger one."""
    if a.shape[1] != b.shape[1]:
        count = max(a.shape[1], b.shape[1])
        a, b = _at_quantiles(a, count), _at_quantiles(b, count)
    return float(np.abs(a - b).mean(dtype=np.float64))


def _at_quantiles(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    place = np.clip((np.arange(count) + 0.5) * rows.shape[1] / count - 0.5, 0, rows.shape[1] - 1)
    low = place.astype(np.intp)
    high = np.minimum(low + 1, rows.shape[1] - 1)
    part = (place - low).astype(np.float32)
    return np.asarray(rows[:, low] * (1 - part) + rows[:, high] * part)
