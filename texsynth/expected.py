"""Expected detail: an asset enlarged with what an exemplar of its own material lets expect beyond the asset's texels.

The score of one exemplar is attention, and attention gives a mean: of all places of the exemplar that look like what
the asset shows around a block, reduced as far as the asset is, the detail that they have beyond interpolation. Layout
and expansion sample one of these places instead, which is as sharp as the exemplar and texel by texel wrong; the mean
is smoother and as near to the truth as the closed form comes (`--faithful`). All maps travel by the same weights.

queries: patches of the asset's texels around each block. keys: the same of the exemplar, at random texel offsets, less
most of their mean, so that a lighter place may look up the detail of a darker one. values: the exemplar's blocks with a
margin, which cross-fade, less the interpolation of their patch; of a map that the asset lacks, the blocks themselves.
Temperature and strength are those that do best on one half of the exemplar with the keys of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from texsynth.errors import bad_input
from texsynth.exemplar import FLAT, MAP_WEIGHT, Exemplar
from texsynth.layer import channels_of
from texsynth.material import MapKind, linear_to_srgb, srgb_to_linear
from texsynth.model.latent import BLOCK

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

LARGEST_FACTOR = 8  # in one pass; more is done in two
MARGIN = BLOCK // 2  # texels by which a block's values reach into its neighbours
AROUND = {2: 4, 4: 3, 8: 2}  # texels of the asset that a patch has on each side of the block, by factor
FEATURES, COMPONENTS = 32, 64  # principal components of patches and of blocks
LIGHTNESS = 0.3  # how much of a patch's mean counts
TEMPERATURES = (0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0)  # that are tried, in deviations of a patch's texels
TRIED = 2048  # blocks that they are tried on
FITTED = 4096  # blocks that principal components are fitted to
SMALLEST = 16  # texels of the reduced exemplar: less has no halves with patches of their own
CHUNK = 512  # queries at once: with 32,768 keys 64 MB of logits


class Patches(NamedTuple):
    """around: float32 (n, P, K), texels of the asset around each block. blocks: float32 (n, S * S, K) with margin."""

    around: Floats
    blocks: Floats


@dataclass(frozen=True)
class Expectation:
    """What the exemplar lets expect beneath a patch.

    factor: exemplar texels per texel of the asset. maps: of the exemplar; given: per channel, whether the asset has it.
    places: int64 (N, 2), exemplar texels (y, x) of the keys' blocks. explained: share of the detail's variance that is
    found on the exemplar's other half.
    """

    factor: int
    maps: tuple[MapKind, ...]
    given: NDArray[np.bool_]
    explained: float
    places: Ints
    _scale: Floats  # (K,), what makes channels comparable
    _interpolation: Floats  # (S * S, P)
    _axes: Floats  # (P * K', F)
    _keys: Tensor  # (N, F)
    _values: Tensor  # (N, C)
    _basis: Floats  # (S * S * K, C)
    _mean: Floats  # (S * S * K,)
    _temperature: float
    _strength: Floats  # (C,)

    @property
    def around(self) -> int:
        """Texels of the asset that a patch has on each side of its block."""
        return AROUND[self.factor]

    def blocks(self, patches: Floats) -> tuple[Floats, Ints]:
        """Blocks with their margins, float32 (n, S * S, K), under patches (n, P, K), and the key that counts most.

        Channels that are not given are not read.
        """
        made, best = [], []
        for first in range(0, len(patches), CHUNK):
            part = patches[first : first + CHUNK]
            queries = torch.from_numpy(_features(part, self._scale, self.given) @ self._axes)
            logits = _logits(queries, self._keys, self._temperature)
            best.append(logits.argmax(dim=1).numpy())
            mean = (logits.softmax(dim=1) @ self._values).numpy() * self._strength
            detail = (mean @ self._basis.T + self._mean).reshape(len(part), -1, len(self.given)) / self._scale
            made.append(detail + _interpolated(part * self.given, self._interpolation))
        return np.concatenate(made), np.concatenate(best)


def expect(exemplar: Exemplar, given: tuple[MapKind, ...], factor: int, keys: int, seed: int) -> Expectation:
    """Learn from the exemplar what lies beneath texels of `factor` x `factor` of its own.

    given: the maps that the asset has. keys: how many places are looked at; their cost is linear.
    Raises TexsynthError(BAD_INPUT) if the exemplar has none of the maps, or is too small to be reduced so far.
    """
    if not set(given) & set(exemplar.maps):
        raise bad_input("faithful", "asset and exemplar have no map in common", "give an exemplar with albedo")
    if min(exemplar.size) < SMALLEST * factor:
        height, width = exemplar.size
        raise bad_input(
            "faithful", f"the exemplar has {width} x {height} texels for an enlargement by {factor}",
            f"give one with at least {SMALLEST * factor} a side, or a larger asset",
        )  # fmt: skip
    parts = list(zip(exemplar.maps, channels_of(exemplar.maps), strict=True))
    known = np.zeros(exemplar.stack.shape[2], np.bool_)
    scale = np.empty(exemplar.stack.shape[2], np.float32)
    for kind, part in parts:
        known[part] = kind in given
        deviation = float(np.sqrt(exemplar.stack[:, :, part].var(axis=(0, 1)).sum()))
        scale[part] = MAP_WEIGHT[kind] / max(deviation, FLAT)
    interpolation = _interpolation(factor)
    halves = _halves(exemplar.size, factor, keys // 2, np.random.default_rng([seed, 11]))
    reduced = _reduced(exemplar, factor)
    detail = [_detail(exemplar, reduced, places[:FITTED], factor, known, interpolation, scale) for places in halves]
    axes = _principal(np.concatenate([_features(each.around, scale, known) for each in detail]), FEATURES)[1]
    mean, basis = _principal(np.concatenate([each.blocks.reshape(len(each.blocks), -1) for each in detail]), COMPONENTS)
    found = [_projected(exemplar, reduced, places, factor, known, interpolation, scale, axes, mean, basis)
             for places in halves]  # fmt: skip
    unit = float(np.sqrt(np.concatenate([q[::8] for q, _ in found]).var(axis=0).sum() / (len(axes) or 1)))
    temperature, strength, explained = _tried(found[0], found[1], max(unit, 1e-6))
    queries, values = (torch.from_numpy(np.concatenate([each[i] for each in found])) for i in range(2))
    return Expectation(
        factor, exemplar.maps, known, explained, np.concatenate(halves), scale, interpolation, axes, queries, values,
        basis, mean, temperature, strength,
    )  # fmt: skip


def _halves(size: tuple[int, int], factor: int, count: int, rng: np.random.Generator) -> list[Ints]:
    """Random places of blocks whose patches lie inside the one and the other half of the exemplar, along its width."""
    reach = max(AROUND[factor] * factor, MARGIN)
    rows, middle = (reach, size[0] - reach - BLOCK), size[1] // 2
    columns = (reach, middle - reach - BLOCK), (middle + reach, size[1] - reach - BLOCK)
    return [np.stack([rng.integers(*rows, count, endpoint=True), rng.integers(*each, count, endpoint=True)], axis=1)
            for each in columns]  # fmt: skip


def _reduced(exemplar: Exemplar, factor: int) -> Floats:
    """At each texel the mean of the `factor` x `factor` texels that begin there, as the asset would have it: albedo in
    linear light; float32 (H, W, K), encoded."""
    reduced = np.empty_like(exemplar.stack)
    for kind, part in zip(exemplar.maps, channels_of(exemplar.maps), strict=True):
        for channel in range(part.start, part.stop):
            plane = np.ascontiguousarray(exemplar.stack[:, :, channel])
            light = srgb_to_linear(plane) if kind is MapKind.ALBEDO else plane
            mean = np.asarray(cv2.blur(light, (factor, factor), anchor=(0, 0)), np.float32)
            reduced[:, :, channel] = linear_to_srgb(mean) if kind is MapKind.ALBEDO else mean
    return reduced


def _detail(
    exemplar: Exemplar, reduced: Floats, places: Ints, factor: int, known: NDArray[np.bool_], interpolation: Floats,
    scale: Floats,
) -> Patches:  # fmt: skip
    """The patches around the blocks at `places`, and what these have beyond interpolation, scaled."""
    ys, xs = places[:, 0, None, None], places[:, 1, None, None]
    steps = np.arange(-AROUND[factor], BLOCK // factor + AROUND[factor]) * factor
    inside = np.arange(-MARGIN, BLOCK + MARGIN)
    around = reduced[ys + steps[:, None], xs + steps].reshape(len(places), len(steps) ** 2, -1)
    blocks = exemplar.stack[ys + inside[:, None], xs + inside].reshape(len(places), len(inside) ** 2, -1)
    return Patches(around, (blocks - _interpolated(around * known, interpolation)) * scale)


def _projected(
    exemplar: Exemplar, reduced: Floats, places: Ints, factor: int, known: NDArray[np.bool_], interpolation: Floats,
    scale: Floats, axes: Floats, mean: Floats, basis: Floats,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Keys (n, F) and values (n, C) at `places`, in parts, as whole blocks of them all would not fit in memory."""
    keys, values = [], []
    for first in range(0, len(places), 1024):
        part = _detail(exemplar, reduced, places[first : first + 1024], factor, known, interpolation, scale)
        keys.append(_features(part.around, scale, known) @ axes)
        values.append((part.blocks.reshape(len(part.blocks), -1) - mean) @ basis)
    return np.concatenate(keys), np.concatenate(values)


def _tried(keys: tuple[Floats, Floats], asked: tuple[Floats, Floats], unit: float) -> tuple[float, Floats, float]:
    """Temperature, strength of each component and explained share that do best for `asked` by the other half's keys."""
    step = max(1, len(asked[0]) // TRIED)
    queries, truth = torch.from_numpy(asked[0][::step]), asked[1][::step]
    known, values = torch.from_numpy(keys[0]), torch.from_numpy(keys[1])
    best: tuple[float, float, Floats] | None = None
    for temperature in (unit * tried for tried in TEMPERATURES):
        parts = [_logits(part, known, temperature).softmax(dim=1) @ values for part in queries.split(CHUNK)]
        guess = torch.cat(parts).numpy()
        strength = (guess * truth).sum(axis=0) / np.maximum((guess**2).sum(axis=0), 1e-12)
        strength = np.asarray(np.clip(strength, 0, 1), np.float32)
        error = float(((truth - strength * guess) ** 2).sum())
        if best is None or error < best[0]:
            best = error, temperature, strength
    assert best is not None
    return best[1], best[2], 1 - best[0] / max(float((truth**2).sum()), 1e-12)


def _logits(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """-|q - k|^2 / 2 T^2, (n, N), up to what is the same for all keys of a query."""
    scaled = keys / temperature**2
    return torch.addmm(-0.5 * (keys * scaled).sum(dim=1), queries, scaled.T)


def _features(around: Floats, scale: Floats, known: NDArray[np.bool_]) -> Floats:
    """(n, P * K'): the texels of the maps that are known, scaled, with LIGHTNESS of their mean."""
    texels = around[:, :, known] * scale[known]
    kept = texels - np.float32(1 - LIGHTNESS) * texels.mean(axis=1, keepdims=True)
    return np.ascontiguousarray(kept.reshape(len(around), -1), np.float32)


def _principal(samples: Floats, most: int) -> tuple[Floats, Floats]:
    """The mean of float32 (n, d), and its at most `most` principal axes, (d, m)."""
    mean = samples.mean(axis=0)
    centred = (samples - mean).astype(np.float32)
    covariance = torch.from_numpy(centred.T @ centred).double()
    axes = torch.linalg.eigh(covariance)[1].flip(1)[:, :most].float().numpy()
    return np.asarray(mean, np.float32), np.ascontiguousarray(axes)


def _interpolation(factor: int) -> Floats:
    """What cubic interpolation makes of a patch for a block with its margin: float32 (S * S, P)."""
    cells = BLOCK // factor + 2 * AROUND[factor]
    impulses = np.eye(cells, dtype=np.float32)
    rows = cv2.resize(impulses, (cells, cells * factor), interpolation=cv2.INTER_CUBIC)
    first = AROUND[factor] * factor - MARGIN
    rows = rows[first : first + BLOCK + 2 * MARGIN]
    return np.ascontiguousarray(np.kron(rows, rows), np.float32)


def _interpolated(around: Floats, interpolation: Floats) -> Floats:
    return np.asarray(np.matmul(interpolation, around), np.float32)
