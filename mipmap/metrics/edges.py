"""Correlation of edge maps: between the maps of one material, and between a result and its content."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from mipmap.metrics.images import Image, as_image, luminance, same_size

RELATED = 0.1  # maps of an exemplar whose edges correlate less are not expected to agree in the result


def edge_map(image: ArrayLike, sigma: float = 1.0) -> NDArray[np.float32]:
    """(H, W) root of the sum over axes and channels of the squared central difference, after a Gaussian of `sigma`."""
    pixels = as_image(image)
    total = np.zeros(pixels.shape[:2], np.float32)
    for channel in np.moveaxis(pixels, 2, 0):
        smooth = ndimage.gaussian_filter(channel, sigma, mode="nearest")
        for axis in (0, 1):
            total += np.square(ndimage.correlate1d(smooth, [-0.5, 0.0, 0.5], axis=axis, mode="nearest"))
    return np.asarray(np.sqrt(total))


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Pearson correlation of two arrays of one shape; 0 if either is constant."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 1e-12 * len(x) else 0.0


def edge_agreements(maps: Mapping[str, ArrayLike]) -> dict[tuple[str, str], float]:
    """Correlation of the `edge_map`s of every pair of maps (albedo, normal, roughness ...) of one material."""
    edges = {name: edge_map(image) for name, image in maps.items()}
    for edge in edges.values():
        same_size(as_image(next(iter(edges.values()))), as_image(edge))
    return {(a, b): correlation(edges[a], edges[b]) for a, b in combinations(edges, 2)}


def edge_agreement(result: Mapping[str, ArrayLike], exemplar: Mapping[str, ArrayLike]) -> float:
    """How well the edges of the result's maps agree with each other, relative to the exemplar's; 1 is as well.

    Over the pairs of maps whose edges are related in the exemplar (`edge_agreements` beyond +-RELATED): the sum of
    the result's correlations, negative where the exemplar's sign is the other one, over the sum of the exemplar's
    magnitudes; 1 if no pair is related. Maps that drift apart by a few texels fall towards 0; two halves of one
    material differ by 0.02, at most 0.1. Well above 1 is a drift too, towards better aligned maps than the
    exemplar's. Both: map name to (H, W, C) encoded 0..1; maps that only one of the two has do not count.
    """
    names = [name for name in exemplar if name in result]
    made = edge_agreements({name: result[name] for name in names})
    known = edge_agreements({name: exemplar[name] for name in names})
    related = [pair for pair, value in known.items() if abs(value) > RELATED]
    if not related:
        return 1.0
    agreeing = sum(made[pair] * np.sign(known[pair]) for pair in related)
    return float(agreeing / sum(abs(known[pair]) for pair in related))


def edge_correlation(content: ArrayLike, result: ArrayLike) -> float:
    """Correlation of the slightly blurred luminance edge maps of content and result, -1..1; 1 keeps every edge.

    (H, W, C) float of one height and width, encoded 0..1. Gradients after a Gaussian of 1 texel, then a Gaussian of
    2 texels, so that an edge that moved by a texel still counts.
    """
    kept, made = _soft_edges(content), _soft_edges(result)
    same_size(as_image(kept), as_image(made))
    return correlation(kept, made)


def _soft_edges(image: ArrayLike) -> Image:
    return np.asarray(ndimage.gaussian_filter(edge_map(luminance(image)), 2.0, mode="nearest"), np.float32)
