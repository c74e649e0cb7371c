"""The light of the GL renderer: a studio of our own, prefiltered for image-based lighting by the split sum.

B. Karis, "Real Shading in Unreal Engine 4" (2013): the specular integral over GGX is the product of the environment,
averaged with the lobe of a roughness seen head on, and of a table over the angle of view and the roughness.
Directions are x right, y up, z towards the viewer; radiance is linear.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

WIDTH, HEIGHT = 64, 32  # of a map of all directions: longitude by latitude
ROUGHNESSES = 6  # layers, from mirror to fully rough
SAMPLES, DIFFUSE_SAMPLES = 64, 256  # directions of a lobe
TABLE = 32  # angles and roughnesses of the table
# Soft boxes: direction, radiance, cosines where they begin and where they are full.
BOXES = (
    ((-0.50, 0.62, 0.60), 11.0, 0.90, 0.97),
    ((0.85, 0.25, 0.45), 1.6, 0.70, 0.95),
    ((0.55, 0.55, -0.65), 5.0, 0.88, 0.96),
)


def radiance(directions: Doubles) -> Doubles:
    """(..., 3) linear RGB from unit directions (..., 3): floor, horizon and sky, and the soft boxes."""
    up = directions[..., 1]
    sky = 0.24 + 0.3 * np.clip(up, 0, 1) - 0.14 * np.clip(-3 * up, 0, 1)
    light = sky[..., None] * np.array([0.97, 1.0, 1.04])
    for towards, strength, begins, full in BOXES:
        cosine = directions @ (np.array(towards) / np.linalg.norm(towards))
        share = np.clip((cosine - begins) / (full - begins), 0, 1)
        light = light + (strength * share * share * (3 - 2 * share))[..., None] * np.array([1.03, 1.0, 0.95])
    return np.asarray(light, np.float64)


def prefiltered() -> Floats:
    """float32 (ROUGHNESSES + 1, HEIGHT, WIDTH, 3): the mean radiance of the GGX lobe around each direction for
    roughness 0..1, and last that of the cosine lobe. Row 0 is straight up, texel centres at (i + 0.5)."""
    theta = np.pi * (np.arange(HEIGHT) + 0.5) / HEIGHT
    phi = 2 * np.pi * ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5)
    sine = np.sin(theta)[:, None]
    around = np.stack(
        [sine * np.sin(phi), np.broadcast_to(np.cos(theta)[:, None], (HEIGHT, WIDTH)), sine * np.cos(phi)], axis=-1
    )
    frames = _frames(around)
    layers = []
    for roughness in np.arange(ROUGHNESSES) / (ROUGHNESSES - 1):
        half = _ggx_halves(roughness, SAMPLES)
        lobe = 2 * half[:, 2:] * half - (0, 0, 1)  # the view along the normal, mirrored at each half vector
        lobe = lobe[lobe[:, 2] > 0]
        layers.append(_mean(frames, lobe, lobe[:, 2]))
    u, turn = _spread(DIFFUSE_SAMPLES)
    cosine = np.sqrt(1 - u)
    lobe = np.stack([np.sqrt(u) * np.cos(turn), np.sqrt(u) * np.sin(turn), cosine], axis=1)
    layers.append(_mean(frames, lobe, np.ones(len(lobe))))
    return np.stack(layers).astype(np.float32)


def split_sum_table() -> Floats:
    """float32 (TABLE, TABLE, 2): scale and bias of the reflectance at normal incidence, by roughness (rows) and the
    cosine of the angle of view (columns)."""
    table = np.empty((TABLE, TABLE, 2))
    cosine = ((np.arange(TABLE) + 0.5) / TABLE)[:, None]
    view = np.stack([np.sqrt(1 - cosine**2), np.zeros_like(cosine), cosine], axis=-1)  # (TABLE, 1, 3)
    for row in range(TABLE):
        roughness = (row + 0.5) / TABLE
        half = _ggx_halves(roughness, SAMPLES)[None]
        v_h = np.maximum((view * half).sum(axis=-1), 1e-6)
        n_h, n_l = half[..., 2], 2 * v_h * half[..., 2] - cosine
        k = roughness**2 / 2  # Smith's shadowing for image-based light
        shadow = cosine / (cosine * (1 - k) + k) * n_l / (n_l * (1 - k) + k)
        seen = np.where(n_l > 0, shadow * v_h / np.maximum(n_h * cosine, 1e-6), 0)
        fresnel = (1 - v_h) ** 5
        table[row, :, 0] = ((1 - fresnel) * seen).mean(axis=1)
        table[row, :, 1] = (fresnel * seen).mean(axis=1)
    return table.astype(np.float32)


def _spread(count: int) -> tuple[Doubles, Doubles]:
    """Evenly spread 0..1 and angles (a Fibonacci lattice)."""
    i = np.arange(count)
    return (i + 0.5) / count, np.asarray(2 * np.pi * ((i * 0.6180339887498949) % 1), np.float64)


def _ggx_halves(roughness: float, count: int) -> Doubles:
    """Half vectors (count, 3) around +z, drawn from the GGX distribution with alpha = roughness^2."""
    u, turn = _spread(count)
    cosine = np.sqrt((1 - u) / (1 + (roughness**4 - 1) * u))
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    return np.stack([sine * np.cos(turn), sine * np.sin(turn), cosine], axis=1)


def _frames(normals: Doubles) -> Doubles:
    """(..., 3, 3): rows tangent, bitangent, normal."""
    up = np.where(np.abs(normals[..., 1:2]) < 0.99, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    tangent = np.cross(up, normals)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    return np.stack([tangent, np.cross(normals, tangent), normals], axis=-2)


def _mean(frames: Doubles, lobe: Doubles, weights: Doubles) -> Doubles:
    directions = np.einsum("sk,hwkc->hwsc", lobe, frames)
    return np.asarray(np.einsum("hwsc,s->hwc", radiance(directions), weights) / weights.sum(), np.float64)
