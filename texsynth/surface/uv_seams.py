"""The UV seams of a mesh: edges that two triangles share on the surface but not in the texture.

A renderer that walks over such an edge jumps from one place of the texture to another. How much it jumps is sampled at
points along the edge, half a texel inside each of the two charts, so that a pair lies one texel apart on the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.metrics import seam_ratio
from texsynth.material import MapKind, TextureMap, bilinear_taps
from texsynth.surface.turns import turned_normals
from texsynth.surface.uv_topology import Topology

Doubles = NDArray[np.float64]
MOST_SAMPLES = 1 << 18
AT_ONCE = 1 << 16  # samples that are looked up together


@dataclass(frozen=True)
class SeamSamples:
    """Points of a texture along UV seams, in texels (y, x), float64 (N, 2), texel centres at (i + 0.5).

    sides: on either side of the seam, one texel apart on the surface. inside: each side's point one texel further into
    its own chart, which the step across the seam is compared with. turn: float64 (N, 2, 2), takes a direction (x, y) of
    the second side's chart to the same one of the first's.
    """

    sides: tuple[Doubles, Doubles]
    inside: tuple[Doubles, Doubles]
    turn: Doubles


@dataclass(frozen=True)
class SeamError:
    """What a texture shows at UV seams: mean absolute differences of encoded values, 0..1.

    across: over the seam. inside: over the same distance beside it. ratio: across over inside; 1 is a seam that nobody
    sees. samples: how many points it was measured at.
    """

    across: float
    inside: float
    ratio: float
    samples: int


def sample_seams(topology: Topology, size: tuple[int, int]) -> SeamSamples | None:
    """Points along the UV seams of a texture of (H, W) texels, about one a texel of length; None without seams."""
    edges = topology.mesh.uvs[topology.seam_edges]
    if len(edges) == 0:
        return None
    scale = np.array([size[1], size[0]], np.float64)  # u runs along the width
    texels = edges.astype(np.float64) * scale  # (E, side, start end apex, x y)
    along = texels[:, :, 1] - texels[:, :, 0]
    lengths = np.linalg.norm(along, axis=2)  # (E, side)
    spacing = max(1.0, lengths.max(axis=1).sum() / MOST_SAMPLES)
    counts = np.maximum(1, np.ceil(lengths.max(axis=1) / spacing)).astype(np.int64)
    edge = np.repeat(np.arange(len(edges)), counts)
    first = np.cumsum(counts) - counts
    share = (np.arange(len(edge)) - first[edge] + 0.5) / counts[edge]
    # Into the chart: the apex's offset without its part along the edge.
    unit = along / np.maximum(lengths, 1e-9)[..., None]
    apex = texels[:, :, 2] - texels[:, :, 0]
    inward = apex - unit * np.einsum("esc,esc->es", apex, unit)[..., None]
    inward /= np.maximum(np.linalg.norm(inward, axis=2), 1e-9)[..., None]
    points = texels[edge, :, 0] + share[:, None, None] * along[edge]
    near, further = points + 0.5 * inward[edge], points + 1.5 * inward[edge]
    turn = np.einsum("ei,ej->eij", unit[:, 0], unit[:, 1]) - np.einsum("ei,ej->eij", inward[:, 0], inward[:, 1])
    return SeamSamples(
        (near[:, 0, ::-1].copy(), near[:, 1, ::-1].copy()), (further[:, 0, ::-1].copy(), further[:, 1, ::-1].copy()),
        turn[edge],
    )  # fmt: skip


def seam_error(texture: TextureMap, samples: SeamSamples) -> SeamError:
    """What `texture` shows at the seams, sampled bilinearly as a renderer does; UVs outside 0..1 repeat.

    A normal's X and Y are those of its chart: the second side's are turned into the first's before they are compared.
    """
    (a, b), (further_a, further_b) = samples.sides, samples.inside
    values_a, values_b = _sampled(texture, a), _sampled(texture, b)
    inside = 0.5 * float(
        np.abs(values_a - _sampled(texture, further_a)).mean() + np.abs(values_b - _sampled(texture, further_b)).mean()
    )
    if texture.kind is MapKind.NORMAL:
        values_b = turned_normals(values_b, samples.turn)
    across = float(np.abs(values_a - values_b).mean())
    return SeamError(across, inside, seam_ratio(values_a, values_b, inside), len(a))


def _sampled(texture: TextureMap, points: Doubles) -> NDArray[np.float32]:
    """(N, C) encoded values 0..1 at points (y, x) in texels, bilinear, repeated beyond the edges."""
    height, width = texture.size
    out: NDArray[np.float32] = np.empty((len(points), texture.texels.shape[2]), np.float32)
    for start in range(0, len(points), AT_ONCE):
        part = points[start : start + AT_ONCE]
        top, bottom, down = _taps(part[:, 0], height)
        left, right, across = _taps(part[:, 1], width)
        upper = _mixed(_encoded(texture, top, left), _encoded(texture, top, right), across)
        lower = _mixed(_encoded(texture, bottom, left), _encoded(texture, bottom, right), across)
        out[start : start + len(part)] = _mixed(upper, lower, down)
    return out


def _taps(at: Doubles, length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    return bilinear_taps(length, length, at - 0.5, wrap=True)


def _encoded(texture: TextureMap, rows: Any, columns: Any) -> NDArray[np.float32]:
    texels: NDArray[np.float32] = TextureMap(texture.kind, texture.texels[rows, columns][None]).encoded()[0]
    return texels


def _mixed(a: NDArray[np.float32], b: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(a + (b - a) * weight[:, None], np.float32)
