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

from mipmap.chain import Floats, carried, compiled

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
    base = np.clip(np.asarray(alpha_squared, np.float64), 0, 1)
    ell = np.clip(np.asarray(length, np.float64), 0, 1)
    ell = np.where(1 - ell < SMALLEST_LOSS, 1, ell)
    with np.errstate(divide="ignore"):  # a mean of no length is infinitely spread: alpha is then 1
        if rule in ("vmf", "vmf_ggx"):
            inverse_kappa = (1 - ell * ell) / (ell * (3 - ell * ell))
            base = base + (2 if rule == "vmf_ggx" else 1) * inverse_kappa
        elif rule == "toksvig":
            # 1/s' = 1/s + (1 - l)/l, with 1/s = alpha^2 / (2 - 2 alpha^2); then 2/(s' + 2) = 2 q / (1 + 2 q).
            inverse = base / np.maximum(2 - 2 * base, 1e-300) + (1 - ell) / ell
            base = np.where(np.isfinite(inverse), 2 * inverse / (1 + 2 * np.where(np.isfinite(inverse), inverse, 0)), 1)
    return np.minimum(base, 1)


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
    alpha_squared: NDArray[Any] = np.clip(features[..., :1], 0, 1)
    if features.shape[2] == 5 and rule != "none":
        before = features[..., 4:]
        # Rounded as in `_fill_features`, so that equal vectors have equal lengths before and after averaging.
        vectors = features[..., 1:4].astype(np.float64)
        after = np.sqrt((vectors**2).sum(axis=2, keepdims=True)).astype(np.float32)
        length = np.divide(after, before, out=np.ones_like(before), where=before > 0)
        alpha_squared = widened(alpha_squared, length, rule)
    return np.sqrt(np.sqrt(np.asarray(alpha_squared, np.float64))).astype(np.float32)


@compiled
def _fill_features(fractions: Any, vectors: Any, features: Any) -> None:
    for i in range(features.shape[0]):
        alpha = np.float64(fractions[i]) * np.float64(fractions[i])
        features[i, 0] = alpha * alpha
        if features.shape[1] == 5:
            x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
            features[i, 1], features[i, 2], features[i, 3] = x, y, z
            features[i, 4] = np.sqrt(np.float64(x) * x + np.float64(y) * y + np.float64(z) * z)
