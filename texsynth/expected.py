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
from functools import cached_property
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
AROUND = {2: 5, 4: 4, 8: 3}  # texels of the asset that a patch has on each side of the block, by factor
FEATURES, COMPONENTS = 32, 64  # principal components of patches and of blocks
NARROW = 0.5  # deviation of a texel's weight in a patch, over AROUND: what lies farther from the block counts less
LIGHTNESS = 0.1  # how much of a patch's mean counts
TEMPERATURES = (0.15, 0.25, 0.4, 0.6, 0.9, 1.3, 2.0)  # that are tried, in mean deviations of the keys' components
TRIED = 2048  # blocks that they are tried on
FITTED = 4096  # blocks that principal components are fitted to
CHUNK = 512  # blocks at once where they are cut out
LOGITS = 2**24  # at once: 64 MB
MOST = 4  # times as many keys as are asked for, where they pay
WORTH = 0.01  # share of the detail's variance that twice as many keys must find beside: they take twice as long


class Patches(NamedTuple):
    """around: float32 (n, P, K), texels of the reduced exemplar around each block. blocks: float32 (n, S * S, K), what
    it and its margin have beyond interpolation, scaled."""

    around: Floats
    blocks: Floats


@dataclass(frozen=True)
class Lens:
    """How patches and blocks are seen. factor: exemplar texels per texel of the asset. given: bool (K,), whether the
    asset has the channel. scale: float32 (K,), what makes channels comparable."""

    factor: int
    given: NDArray[np.bool_]
    scale: Floats

    @property
    def around(self) -> int:
        """Texels of the asset that a patch has on each side of its block."""
        return AROUND[self.factor]

    @property
    def cells(self) -> int:
        """Texels of the asset along a patch."""
        return BLOCK // self.factor + 2 * self.around

    @cached_property
    def weights(self) -> Floats:
        """Of a patch's texels, float32 (P,): a Gaussian around its middle."""
        line = np.arange(self.cells) - (self.cells - 1) / 2
        line = np.exp(-((line / (NARROW * self.around)) ** 2) / 4)
        return np.outer(line, line).astype(np.float32).ravel()

    @cached_property
    def interpolation(self) -> Floats:
        """What cubic interpolation makes of a patch for a block with its margin: float32 (S * S, P)."""
        impulses = np.eye(self.cells, dtype=np.float32)
        rows = cv2.resize(impulses, (self.cells, self.cells * self.factor), interpolation=cv2.INTER_CUBIC)
        first = self.around * self.factor - MARGIN
        rows = rows[first : first + BLOCK + 2 * MARGIN]
        return np.ascontiguousarray(np.kron(rows, rows), np.float32)

    def interpolated(self, around: Floats) -> Floats:
        """Blocks float32 (n, S * S, K) of patches (n, P, K); channels that are not given are 0."""
        return np.asarray(np.matmul(self.interpolation, around * self.given), np.float32)

    def features(self, around: Floats) -> Floats:
        """(n, P * K'): the texels of the given channels, scaled and weighted, with LIGHTNESS of their mean."""
        texels = around[:, :, self.given] * self.scale[self.given]
        shares = self.weights**2 / (self.weights**2).sum()
        mean = np.einsum("p,npk->nk", shares, texels)[:, None]
        kept = (texels - np.float32(1 - LIGHTNESS) * mean) * self.weights[:, None]
        return np.ascontiguousarray(kept.reshape(len(around), -1), np.float32)


@dataclass(frozen=True)
class Axes:
    """Principal axes of patches, (P * K', F), and of blocks, (S * S * K, C), these around their mean."""

    patches: Floats
    blocks: Floats
    mean: Floats


class Half(NamedTuple):
    """Of one half of the exemplar: keys (n, F) and values (n, C)."""

    keys: Floats
    values: Floats


class Choice(NamedTuple):
    """What does best on the exemplar's other half; the fields as of `Expectation`."""

    temperature: float
    strength: Floats
    explained: float


@dataclass(frozen=True)
class Expectation:
    """What the exemplar lets expect beneath a patch.

    maps: of the exemplar. places: int64 (N, 2), exemplar texels (y, x) of the keys' blocks. keys, values: (N, F) and
    (N, C), by `axes`. strength: of each component, (C,). explained: share of the detail's variance that is found on the
    exemplar's other half.
    """

    maps: tuple[MapKind, ...]
    lens: Lens
    axes: Axes
    places: Ints
    keys: Tensor
    values: Tensor
    temperature: float
    strength: Floats
    explained: float

    def blocks(self, patches: Floats, share: float = 1.0) -> tuple[Floats, Ints]:
        """Blocks with their margins, float32 (n, S * S, K), under patches (n, P, K), and the key that counts most.

        share: of the mean, 0..1; the rest is the detail of that key, which is sharper and likelier to be wrong.
        Channels that are not given are not read.
        """
        made, best = [], []
        step = _at_once(self.keys)
        for first in range(0, len(patches), step):
            part = patches[first : first + step]
            queries = torch.from_numpy(self.lens.features(part) @ self.axes.patches)
            logits = _logits(queries, self.keys, self.temperature)
            first_of_all = logits.argmax(dim=1)
            best.append(first_of_all.numpy())
            mean = (logits.softmax(dim=1) @ self.values).numpy() * self.strength
            mean += np.float32(1 - share) * (self.values[first_of_all].numpy() - mean)
            detail = (mean @ self.axes.blocks.T + self.axes.mean).reshape(len(part), -1, len(self.lens.scale))
            made.append(detail / self.lens.scale + self.lens.interpolated(part))
        return np.concatenate(made), np.concatenate(best)


def smallest_side(factor: int) -> int:
    """Texels a side of the smallest exemplar whose halves have patches of their own."""
    return 2 * (2 * AROUND[factor] * factor + BLOCK)


def expect(exemplar: Exemplar, given: tuple[MapKind, ...], factor: int, keys: int, seed: int) -> Expectation:
    """Learn from the exemplar what lies beneath texels of `factor` x `factor` of its own: 2, 4 or 8.

    given: the maps that the asset has. keys: how many places are looked at; where the exemplar's halves then know
    clearly more of each other, twice or four times as many. The cost is linear in them.
    The exemplar has at least `smallest_side(factor)` texels a side.
    Raises TexsynthError(BAD_INPUT) if it has none of the maps.
    """
    if not set(given) & set(exemplar.maps):
        raise bad_input("faithful", "asset and exemplar have no map in common", "give an exemplar with albedo")
    lens = _lens(exemplar, given, factor)
    count = keys // 2
    halves = _halves(exemplar.size, lens, count, np.random.default_rng([seed, 11]))
    reduced = _reduced(exemplar, factor)
    axes = _axes([_patches(exemplar, reduced, places[:FITTED], lens) for places in halves], lens)
    known = [_projected(exemplar, reduced, places, lens, axes) for places in halves]
    asked, best = known[1], _tried(known[0], known[1])
    while count < MOST * keys // 2:
        more = _halves(exemplar.size, lens, count, np.random.default_rng([seed, 11, count]))
        found = [_projected(exemplar, reduced, places, lens, axes) for places in more]
        wider = [_joined(old, new) for old, new in zip(known, found, strict=True)]
        better = _tried(wider[0], asked)
        if better.explained < best.explained + WORTH:
            break
        halves = [np.concatenate(each) for each in zip(halves, more, strict=True)]
        known, best, count = wider, better, 2 * count
    keys_and_values = _joined(*known)
    return Expectation(
        exemplar.maps, lens, axes, np.concatenate(halves), torch.from_numpy(keys_and_values.keys),
        torch.from_numpy(keys_and_values.values), best.temperature, best.strength, best.explained,
    )  # fmt: skip


def _lens(exemplar: Exemplar, given: tuple[MapKind, ...], factor: int) -> Lens:
    known = np.zeros(exemplar.stack.shape[2], np.bool_)
    scale = np.empty(exemplar.stack.shape[2], np.float32)
    for kind, part in zip(exemplar.maps, channels_of(exemplar.maps), strict=True):
        known[part] = kind in given
        deviation = float(np.sqrt(exemplar.stack[:, :, part].var(axis=(0, 1)).sum()))
        scale[part] = MAP_WEIGHT[kind] / max(deviation, FLAT)
    return Lens(factor, known, scale)


def _halves(size: tuple[int, int], lens: Lens, count: int, rng: np.random.Generator) -> list[Ints]:
    """Random places of blocks whose patches lie inside the one and the other half of the exemplar, along its width."""
    reach = max(lens.around * lens.factor, MARGIN)
    rows, middle = (reach, size[0] - reach - BLOCK), size[1] // 2
    columns = (reach, middle - reach - BLOCK), (middle + reach, size[1] - reach - BLOCK)
    return [
        np.stack([rng.integers(*line, count, endpoint=True) for line in (rows, across)], axis=1) for across in columns
    ]


def _reduced(exemplar: Exemplar, factor: int) -> Floats:
    """At each texel the mean of the `factor` x `factor` texels that begin there, as the asset would have it: albedo in
    linear light; float32 (H, W, K), encoded."""
    reduced = np.empty_like(exemplar.stack)
    for kind, part in zip(exemplar.maps, channels_of(exemplar.maps), strict=True):
        for channel in range(*part.indices(exemplar.stack.shape[2])):
            plane = np.ascontiguousarray(exemplar.stack[:, :, channel])
            light = srgb_to_linear(plane) if kind is MapKind.ALBEDO else plane
            mean = np.asarray(cv2.blur(light, (factor, factor), anchor=(0, 0)), np.float32)
            reduced[:, :, channel] = linear_to_srgb(mean) if kind is MapKind.ALBEDO else mean
    return reduced


def _patches(exemplar: Exemplar, reduced: Floats, places: Ints, lens: Lens) -> Patches:
    ys, xs = places[:, 0, None, None], places[:, 1, None, None]
    steps = (np.arange(lens.cells) - lens.around) * lens.factor
    inside = np.arange(-MARGIN, BLOCK + MARGIN)
    around = reduced[ys + steps[:, None], xs + steps].reshape(len(places), len(steps) ** 2, -1)
    blocks = exemplar.stack[ys + inside[:, None], xs + inside].reshape(len(places), len(inside) ** 2, -1)
    return Patches(around, (blocks - lens.interpolated(around)) * lens.scale)


def _axes(samples: list[Patches], lens: Lens) -> Axes:
    patches = _principal(np.concatenate([lens.features(each.around) for each in samples]), FEATURES)[1]
    mean, blocks = _principal(np.concatenate([_flat(each.blocks) for each in samples]), COMPONENTS)
    return Axes(patches, blocks, mean)


def _projected(exemplar: Exemplar, reduced: Floats, places: Ints, lens: Lens, axes: Axes) -> Half:
    """Keys and values at `places`, in parts: all blocks at once would not fit in memory."""
    keys, values = [], []
    for first in range(0, len(places), CHUNK):
        part = _patches(exemplar, reduced, places[first : first + CHUNK], lens)
        keys.append(lens.features(part.around) @ axes.patches)
        values.append((_flat(part.blocks) - axes.mean) @ axes.blocks)
    return Half(np.concatenate(keys), np.concatenate(values))


def _joined(first: Half, second: Half) -> Half:
    return Half(np.concatenate([first.keys, second.keys]), np.concatenate([first.values, second.values]))


def _tried(keys: Half, asked: Half) -> Choice:
    """What does best for `asked` by the other half's keys."""
    step = max(1, len(asked[0]) // TRIED)
    queries, truth = torch.from_numpy(asked[0][::step].copy()), asked[1][::step]
    known, values = (torch.from_numpy(part) for part in keys)
    unit = max(float(np.sqrt(keys[0].var(axis=0).mean())), 1e-6)
    best: Choice | None = None
    whole = max(float((truth**2).sum()), 1e-12)
    for temperature in (unit * tried for tried in TEMPERATURES):
        parts = [
            _logits(part, known, temperature).softmax(dim=1) @ values for part in torch.split(queries, _at_once(known))
        ]
        guess = torch.cat(parts).numpy()
        strength = (guess * truth).sum(axis=0) / np.maximum((guess**2).sum(axis=0), 1e-12)
        strength = np.asarray(np.clip(strength, 0, 1), np.float32)
        explained = 1 - float(((truth - strength * guess) ** 2).sum()) / whole
        if best is None or explained > best.explained:
            best = Choice(temperature, strength, explained)
    assert best is not None
    return best


def _at_once(keys: Tensor) -> int:
    """Queries at once, so that memory does not grow with the keys."""
    return max(1, LOGITS // len(keys))


def _logits(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """-|q - k|^2 / 2 T^2, (n, N), up to what is the same for all keys of a query."""
    scaled = keys / temperature**2
    return torch.addmm(-0.5 * (keys * scaled).sum(dim=1), queries, scaled.T)


def _principal(samples: Floats, most: int) -> tuple[Floats, Floats]:
    """The mean of float32 (n, d), and its at most `most` principal axes, (d, m)."""
    mean = np.asarray(samples.mean(axis=0), np.float32)
    centred = samples - mean
    covariance = torch.from_numpy(centred.T @ centred).double()  # of a flat exemplar only rounding is left
    axes = torch.linalg.eigh(covariance)[1].flip(1)[:, :most].float().numpy()
    return mean, np.ascontiguousarray(axes)


def _flat(blocks: Floats) -> Floats:
    return blocks.reshape(len(blocks), -1)
