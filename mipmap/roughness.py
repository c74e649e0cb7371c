"""How rough a texel of a mip looks: the roughness under it and the spread of the normals under it.

A mean of unit normals is shorter than 1 by how far they differ. Its direction is the normal of the mip; its length l
tells the lobe that the differing normals add, which the normal map can no longer show. With alpha = roughness^2 of GGX
or Beckmann, and the mean of alpha^2 under the texel (second moments of lobes add; the mean roughness would lose the
rough part of a mixture):

    "vmf"       alpha^2 += 1/kappa,  kappa = (3 l - l^3) / (1 - l^2)
    "vmf_ggx"   alpha^2 += 2/kappa
    "toksvig"   alpha'^2 = 2 / (s' + 2),  s' = l s / (l + s (1 - l)),  s = 2/alpha^2 - 2
    "none"      alpha^2 as it is

kappa is the concentration of the von Mises-Fisher lobe with a mean of length l (A. Banerjee et al., "Clustering on the
unit hypersphere using von Mises-Fisher distributions", 2005; used so by C. Han et al., "Frequency domain normal map
filtering", 2007). Near its centre that lobe is exp(-kappa t^2 / 2) for an angle t, while a lobe of roughness alpha is
exp(-t^2 / alpha^2): equal widths mean alpha^2 = 2/kappa, so "vmf_ggx" is the one that shades like the normals it stands
for, and "vmf" is the common, more cautious form that takes up half. Toksvig's factor (M. Toksvig, "Mipmapping normal
maps", 2005) of a Blinn-Phong exponent s agrees with "vmf_ggx" for small spreads.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mipmap.chain import Floats, carried
from mipmap.compiled import compiled

RoughnessRule = Literal["vmf", "vmf_ggx", "toksvig", "none"]

# Means of equal normals differ from their length by float32's rounding; less than this is no spread.
SMALLEST_LOSS = 1e-6


def check_rule(rule: str) -> None:
    """Raise ValueError unless `rule` is one of RoughnessRule."""
    if rule not in get_args(RoughnessRule):
        raise ValueError(f"the roughness rule is {rule!r}; it must be one of {', '.join(get_args(RoughnessRule))}")


def widened(alpha_squared: NDArray[Any], length: NDArray[Any], rule: RoughnessRule) -> NDArray[np.float64]:
    """alpha^2 with the spread of normals taken up, in 0..1, by a rule of the head of this file.

    alpha_squared: means of alpha^2, any shape. length: mean normal over the mean length of the normals, same shape; 1
    and above is no spread. Raises ValueError for another rule.
    """
    check_rule(rule)
    base, ell = np.broadcast_arrays(np.asarray(alpha_squared, np.float64), np.asarray(length, np.float64))
    result = np.empty(base.shape, np.float64)
    _widen(np.ravel(base), np.ravel(ell), get_args(RoughnessRule).index(rule), result.reshape(-1))
    return result


@compiled
def _widen(alpha_squared: Any, length: Any, rule: int, result: Any) -> None:
    for i in range(result.shape[0]):
        result[i] = _widened(alpha_squared[i], length[i], rule)


@compiled
def _widened(alpha_squared: float, length: float, rule: int) -> float:
    """`widened` of one texel; `rule` is the place in RoughnessRule."""
    base = min(max(alpha_squared, 0.0), 1.0)
    if rule == 3 or 1 - length < SMALLEST_LOSS:
        return base
    if length <= 0:  # a mean of no length is infinitely spread
        return 1.0
    if rule == 2:
        if base == 1:
            return 1.0
        inverse = base / (2 - 2 * base) + (1 - length) / length  # 1/s'
        return 2 * inverse / (1 + 2 * inverse)
    inverse_kappa = (1 - length * length) / (length * (3 - length * length))
    return min(base + (1 if rule == 0 else 2) * inverse_kappa, 1.0)


def roughness_features(roughness: NDArray[Any], normal: NDArray[Any] | None) -> Floats:
    """What the chain averages for stored rows: (h, w, 1) float32 alpha^2, with normals (h, w, 5): then x, y, z, length.

    roughness: (h, w, 1) texels as `mipmap.chain` documents scalars. normal: (h, w, 3) texels or None. The length is
    that of the normals as stored, so that their rounding to codes does not count as spread. Roughness in floating point
    below 1e-9 counts as 0, as its fourth power does in float32.
    """
    fractions = np.ascontiguousarray(carried(roughness, "scalar"))
    features = np.empty((*roughness.shape[:2], 1 if normal is None else 5), np.float32)
    vectors = np.empty((0, 3), np.float32)
    if normal is not None:
        vectors = np.ascontiguousarray(carried(normal, "normal")).reshape(-1, 3)
    _fill_features(fractions.reshape(-1), vectors, features.reshape(-1, features.shape[2]))
    return features


def roughness_of(features: Floats, rule: RoughnessRule) -> Floats:
    """(h, w, 1) float32 roughness 0..1 of averaged `roughness_features`."""
    check_rule(rule)
    roughness = np.empty((*features.shape[:2], 1), np.float32)
    flat = np.ascontiguousarray(features).reshape(-1, features.shape[2])
    _roughness(flat, get_args(RoughnessRule).index(rule), roughness.reshape(-1))
    return roughness


@compiled
def _roughness(features: Any, rule: int, roughness: Any) -> None:
    for i in range(features.shape[0]):
        length = 1.0
        if features.shape[1] == 5 and features[i, 4] > 0:
            length = _length(features[i, 1], features[i, 2], features[i, 3]) / np.float64(features[i, 4])
        roughness[i] = np.sqrt(np.sqrt(_widened(np.float64(features[i, 0]), length, rule)))


@compiled
def _fill_features(fractions: Any, vectors: Any, features: Any) -> None:
    for i in range(features.shape[0]):
        alpha = np.float64(fractions[i]) * np.float64(fractions[i])
        features[i, 0] = alpha * alpha
        if features.shape[1] == 5:
            x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
            features[i, 1], features[i, 2], features[i, 3] = x, y, z
            features[i, 4] = _length(x, y, z)


@compiled
def _length(x: float, y: float, z: float) -> Any:
    """Rounded to float32, so that equal vectors have equal lengths before and after averaging."""
    return np.float32(np.sqrt(np.float64(x) * x + np.float64(y) * y + np.float64(z) * z))
