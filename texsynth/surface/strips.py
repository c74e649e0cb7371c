"""Strips along UV seams: where each point of the side that gives way lies if the other side's texture is continued.

Along every chain there is a sample about each texel of the giving side. From a sample at `gives` a point at the offset
o (texels, in the giving side's part of the texture) lies on the surface where `keeps + turn o` lies in the keeping
side's part, continued beyond its border. `turn` rotates, mirrors and scales; it and `inward` pass smoothly from edge to
edge, so that the continuation of a bent border has no gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from texsynth.surface.mesh import Mesh
from texsynth.surface.uv_topology import Chain, seam_chains

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Strips:
    """N samples along C chains, one chain after the other. Points and directions are (x, y) in texels, y downwards,
    texel centres at (i + 0.5).

    gives, keeps: float64 (N, 2). inward: float64 (N, 2), unit, into the giving side. turn: float64 (N, 2, 2).
    starts: int64 (C + 1). closed: bool (C,), chains whose end meets their start.
    """

    gives: Doubles
    keeps: Doubles
    inward: Doubles
    turn: Doubles
    starts: NDArray[np.int64]
    closed: NDArray[np.bool_]

    def continued(self, samples: Any, offset: Doubles) -> Doubles:
        """Where offsets on the giving side, of samples by number, lie in the keeping side's part, continued."""
        return np.asarray(self.keeps[samples] + np.einsum("nij,nj->ni", self.turn[samples], offset), np.float64)

    def some(self, chosen: NDArray[np.bool_]) -> Strips:
        """Only these samples; a chain that loses some becomes several."""
        chains = np.repeat(np.arange(len(self.closed)), np.diff(self.starts))
        whole = np.logical_and.reduceat(chosen, self.starts[:-1])
        begins = np.r_[True, chains[1:] != chains[:-1]] | np.r_[True, ~chosen[:-1]]
        starts = np.flatnonzero(begins[chosen])
        of = chains[chosen][starts]
        return Strips(
            self.gives[chosen], self.keeps[chosen], self.inward[chosen], self.turn[chosen],
            np.r_[starts, chosen.sum()].astype(np.int64), self.closed[of] & whole[of],
        )  # fmt: skip


def seam_strips(mesh: Mesh, size: int, material_index: int | None, chains: list[Chain] | None = None) -> Strips | None:
    """Along all seams of a material in a texture of `size` x `size` texels; None without seams.

    chains: `seam_chains(mesh, material_index)`, for callers that want strips at several sizes.
    """
    chains = seam_chains(mesh, material_index) if chains is None else chains
    if not chains:
        return None
    parts = [_along(chain, mesh.uvs, size) for chain in chains]
    gives, keeps, inward, turn = (np.concatenate(column) for column in zip(*parts, strict=True))
    starts = np.cumsum([0, *(len(part[0]) for part in parts)])
    return Strips(gives, keeps, inward, turn, starts, np.array([chain.closed for chain in chains]))


def _along(chain: Chain, uvs: NDArray[np.float32], size: int) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """gives, keeps, inward and turn of the samples of one chain."""
    gives, keeps = (uvs[corners].astype(np.float64) * size for corners in (chain.gives, chain.keeps))
    along, inward, lengths = _axes(gives)
    along_there, inward_there, lengths_there = _axes(keeps)
    # what goes into the giving side goes out of the keeping one
    turn = np.einsum("ei,ej->eij", along_there, along) - np.einsum("ei,ej->eij", inward_there, inward)
    turn *= (lengths_there / np.maximum(lengths, 1e-9))[:, None, None]
    ends = np.cumsum(lengths)
    count = max(1, int(np.ceil(ends[-1])))
    at = (np.arange(count) + 0.5) * ends[-1] / count
    edge = np.minimum(np.searchsorted(ends, at, "right"), len(gives) - 1)
    share = np.clip(1 - (ends[edge] - at) / np.maximum(lengths[edge], 1e-9), 0, 1)[:, None]
    normals, turns = _at_joints(inward, chain.closed), _at_joints(turn, chain.closed)
    direction = _mixed(normals[edge], normals[edge + 1], share)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    return (
        _mixed(gives[edge, 0], gives[edge, 1], share), _mixed(keeps[edge, 0], keeps[edge, 1], share), direction,
        _mixed(turns[edge], turns[edge + 1], share[..., None]),
    )  # fmt: skip


def _axes(corners: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Of edges, (E, start end third corner, x y): unit vectors along and towards the third corner, and lengths."""
    along = corners[:, 1] - corners[:, 0]
    lengths = np.linalg.norm(along, axis=1)
    along = along / np.maximum(lengths, 1e-9)[:, None]
    apex = corners[:, 2] - corners[:, 0]
    inward = apex - along * np.einsum("ei,ei->e", apex, along)[:, None]
    return along, inward / np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-9), lengths


def _at_joints(values: Doubles, closed: bool) -> Doubles:
    """Means of consecutive edges, and what is at both ends."""
    joints = np.concatenate([values[:1], (values[:-1] + values[1:]) / 2, values[-1:]])
    if closed:
        joints[0] = joints[-1] = (values[0] + values[-1]) / 2
    return joints


def _mixed(a: Doubles, b: Doubles, share: Doubles) -> Doubles:
    return np.asarray(a + share * (b - a), np.float64)
