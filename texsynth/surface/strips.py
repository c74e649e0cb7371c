"""Strips along UV seams: where each point of the side that gives way lies if the other side's texture is continued.

Along every chain there is a sample about each texel of the giving side. From a sample at `gives` a point at the offset
o (texels, in the giving side's part of the texture) lies on the surface where `keeps + turn o` lies in the keeping
side's part, continued beyond its border. `turn` rotates, mirrors and scales; it and `inward` pass smoothly from edge to
edge, so that the continuation of a bent border has no gaps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from texsynth.surface.uv_topology import Topology

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_STRETCHED = 4.0  # by which factor more along one axis than along the other a continued texture may be stretched


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

    @cached_property
    def turn_back(self) -> tuple[Doubles, NDArray[np.bool_]]:
        """float64 (N, 2, 2), from the keeping side to the giving one, and bool (N,), where there is such a turn; the
        identity elsewhere."""
        sound = np.abs(np.linalg.det(self.turn)) >= 1e-9
        return np.asarray(np.linalg.inv(np.where(sound[:, None, None], self.turn, np.eye(2)))), sound

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


def seam_strips(topology: Topology, size: int) -> Strips | None:
    """Along all seams of a material in a texture of `size` x `size` texels; None without seams."""
    chains, uvs = topology.chains, topology.mesh.uvs
    if not chains:
        return None
    gives = uvs[np.concatenate([chain.gives for chain in chains])].astype(np.float64) * size
    keeps = uvs[np.concatenate([chain.keeps for chain in chains])].astype(np.float64) * size
    closed = np.array([chain.closed for chain in chains])
    first = np.cumsum([0, *(len(chain.gives) for chain in chains)])  # edge of each chain
    along, inward, lengths = _axes(gives)
    along_there, inward_there, lengths_there = _axes(keeps)
    # what goes into the giving side goes out of the keeping one
    turn = np.einsum("ei,ej->eij", along_there, along) - np.einsum("ei,ej->eij", inward_there, inward)
    turn *= (lengths_there / np.maximum(lengths, 1e-9))[:, None, None]
    if topology.fitted:
        places = topology.mesh.positions
        on_surface = [places[np.concatenate(each)] for each in ([c.gives for c in chains], [c.keeps for c in chains])]
        turn = _through_surface(_from_surface(on_surface[0], gives), _from_surface(on_surface[1], keeps), turn)
    ends = np.concatenate([np.cumsum(lengths[a:b]) for a, b in pairwise(first)])  # of edges, along their chain
    counts = np.maximum(1, np.ceil(ends[first[1:] - 1])).astype(np.int64)
    edge, share = _samples(ends, lengths, first, counts)
    direction = _at_samples(inward, edge, share, first, closed)
    direction /= np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-9)
    part = share[:, None]
    return Strips(
        _mixed(gives[edge, 0], gives[edge, 1], part), _mixed(keeps[edge, 0], keeps[edge, 1], part), direction,
        _at_samples(turn, edge, share, first, closed), np.cumsum([0, *counts]), closed,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _samples(ends, lengths, first, counts):  # type: ignore[no-untyped-def]
    """Of samples evenly along every chain the edge that they are on, int64 (N,), and how far along it, float64 (N,)."""
    edges, shares = np.empty(counts.sum(), np.int64), np.empty(counts.sum(), np.float64)
    n = 0
    for chain in range(len(counts)):
        edge, last = first[chain], first[chain + 1] - 1
        for k in range(counts[chain]):
            at = (k + 0.5) * ends[last] / counts[chain]
            while edge < last and ends[edge] <= at:
                edge += 1
            share = 1 - (ends[edge] - at) / max(lengths[edge], 1e-9)
            edges[n], shares[n] = edge, min(max(share, 0.0), 1.0)
            n += 1
    return edges, shares


def _from_surface(places: NDArray[np.float32], corners: Doubles) -> Doubles:
    """float64 (E, 2, 2): the maps from offsets on the triangles beside edges, along them and to the third corner's
    side, in units of length, to texels. places: (E, 3, 3), in space; corners: (E, 3, 2), in the texture."""
    edge, apex = (places[:, k].astype(np.float64) - places[:, 0] for k in (1, 2))
    length = np.maximum(np.linalg.norm(edge, axis=1), 1e-30)
    share = np.einsum("ei,ei->e", apex, edge) / length**2
    height = np.maximum(np.linalg.norm(apex - share[:, None] * edge, axis=1), 1e-30)
    along = corners[:, 1] - corners[:, 0]
    across = corners[:, 2] - corners[:, 0] - share[:, None] * along
    return np.stack([along / length[:, None], across / height[:, None]], axis=2)


def _through_surface(gives: Doubles, keeps: Doubles, turn: Doubles) -> Doubles:
    """float64 (E, 2, 2): where the sides are sheared, or stretched along one axis, a texture that is continued has to
    be so too; `turn`, which only turns and scales, where one of the triangles is a sliver."""
    sound = np.abs(np.linalg.det(gives)) > 1e-12 * np.maximum((gives**2).sum(axis=(1, 2)), 1e-30)
    back = np.linalg.inv(np.where(sound[:, None, None], gives, np.eye(2)))
    whole = keeps * np.array([1.0, -1.0]) @ back
    values = np.linalg.svd(whole, compute_uv=False)
    sound &= values[:, 0] < MOST_STRETCHED * values[:, 1]
    return np.asarray(np.where(sound[:, None, None], whole, turn))


def _at_samples(values: Doubles, edge: Ints, share: Doubles, first: Ints, closed: NDArray[np.bool_]) -> Doubles:
    """What edges have, (E, ...), passing evenly from the mean of an edge and the one before to that of it and the one
    after; at both ends of a chain what is there."""
    before, after = np.arange(len(values)) - 1, np.arange(len(values)) + 1
    starts, stops = first[:-1], first[1:] - 1
    before[starts], after[stops] = np.where(closed, stops, starts), np.where(closed, starts, stops)
    entering, leaving = (values[before] + values) / 2, (values + values[after]) / 2
    return _mixed(entering[edge], leaving[edge], share.reshape(-1, *[1] * (values.ndim - 1)))


def _axes(corners: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Of edges, (E, start end third corner, x y): unit vectors along and towards the third corner, and lengths."""
    along = corners[:, 1] - corners[:, 0]
    lengths = np.linalg.norm(along, axis=1)
    along = along / np.maximum(lengths, 1e-9)[:, None]
    apex = corners[:, 2] - corners[:, 0]
    inward = apex - along * np.einsum("ei,ei->e", apex, along)[:, None]
    return along, inward / np.maximum(np.linalg.norm(inward, axis=1, keepdims=True), 1e-9), lengths


def _mixed(a: Doubles, b: Doubles, share: Doubles) -> Doubles:
    return np.asarray(a + share * (b - a), np.float64)
