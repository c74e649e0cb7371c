"""How different the results of several seeds are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from mipmap.metrics.images import Image, as_image, same_size

CROPS = 64  # pairs


def diversity(results: Sequence[ArrayLike], exemplar: ArrayLike, seed: int = 0) -> float:
    """Mean distance between results over the mean distance between random crops of the exemplar; 0 = all the same.

    Distance is the mean absolute difference texel by texel, between all pairs of results, and between 64 pairs of
    crops of half the exemplar's sides at random places at least an eighth of the sides apart on both axes. About 1 is
    as different as two places of one material; results that share their large features only, or are shifted
    by a few texels, score low as far as their texels agree.
    results: at least two (H, W, C) float of one size, encoded 0..1. exemplar: (h, w, C). Deterministic for a `seed`.
    """
    images = [as_image(result) for result in results]
    if len(images) < 2:
        raise ValueError(f"diversity needs at least two results, got {len(images)}")
    for image in images[1:]:
        same_size(images[0], image)
    between = np.mean([_difference(a, b) for a, b in combinations(images, 2)])
    source = as_image(exemplar)
    height, width = source.shape[0] // 2, source.shape[1] // 2
    if min(height, width) < 8:
        raise ValueError(f"an exemplar of at least 16 x 16 texels is needed, got {source.shape}")
    generator = np.random.default_rng(seed)
    apart: list[float] = []
    while len(apart) < CROPS:
        (y0, y1), (x0, x1) = generator.integers(0, height + 1, 2), generator.integers(0, width + 1, 2)
        if abs(y0 - y1) >= height // 4 and abs(x0 - x1) >= width // 4:
            apart.append(
                _difference(source[y0 : y0 + height, x0 : x0 + width], source[y1 : y1 + height, x1 : x1 + width])
            )
    return float(between / max(float(np.mean(apart)), 0.25 / 255))


def _difference(a: Image, b: Image) -> float:
    return float(np.abs(a - b).mean(dtype=np.float64))
