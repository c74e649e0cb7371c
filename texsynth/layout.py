"""The layout: which part of the exemplar each token of the coarsest level comes from, by latent diffusion.

Pure noise is denoised with the closed-form exemplar score. Beside the patches three priors act on the attention: the
lattice's phase (regular structure), the content (restyle), and a source plan that prefers different parts of the
exemplar in different regions, so that the result is neither a copy nor an average.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree
from torch import Tensor

from texsynth.content import Content, guidance_of_content, guidance_of_exemplar
from texsynth.exemplar import Exemplar, coarsest_scale, halved
from texsynth.grain_bands import grain_bands
from texsynth.lattice import Lattice
from texsynth.lead import lead_at, origin_of, tokens_of
from texsynth.model.exemplar_score import ExemplarScore, Prior, noise_levels, step_weights
from texsynth.model.latent import BLOCK, to_tensor
from texsynth.model.mixed_denoiser import Learned, mixed_denoiser
from texsynth.model.reference_unet import STEP
from texsynth.outside import Outside, held_tokens
from texsynth.presets import Preset
from texsynth.profiles import ON_CPU, Compute
from texsynth.prune.variants import window_importance
from texsynth.run import Run

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FIRST_NOISE, LAST_NOISE = 4.0, 0.05  # whitened units: pure noise, and attention to one place
# On a lead: with 0.3 to 1 the layouts of rock, bark, bricks and rusted metal follow it alike, with 1.6 less.
LED_NOISE = 0.6
PATCH_SHARE = 0.13  # of the exemplar's shorter side that a patch covers, at least 3 tokens
KEY_DIMENSIONS = 96
BASE_CHANNELS = 16
FLOOR = 0.15  # whitening floor; see model/latent.py
CELL = 16  # texels of the level; parts of the exemplar that are to be used equally
MOST_KEYS = 2**14
MOST_PAIRS = 2**28  # query-key pairs a step: larger results use a sparser grid of keys
BALANCE_ITERATIONS = 30
# A preference of this many nats for each of the harmonics of the planned source; regions are this part of the side.
SOURCE_NATS, SOURCE_HARMONICS, SOURCE_REGION = 4.0, 4, 0.15
LOOSEST_PHASE = 0.02  # cycles; at high noise a crisper lattice would only cost precision


@dataclass(frozen=True)
class Frame:
    """What all levels share. size: (height, width) texels of the result, multiples of 8. torus: directions that tile.

    own: the exemplar's lattice, or as much of it as the result has room for. lattice: it as the result has it (closed
    on the torus). origin: the lattice's random offset.
    shift: float32 (size / 8, 2), texels (y, x) by which the lattice lies further down and right at each token of the
    full size, or None for nowhere.
    """

    size: tuple[int, int]
    torus: tuple[bool, bool]
    own: Lattice
    lattice: Lattice
    origin: tuple[float, float]
    seed: int
    shift: NDArray[np.float32] | None = None

    def tokens(self, scale: int) -> tuple[int, int]:
        """Rows and columns of tokens at a level reduced by `scale`."""
        return max(1, -(-self.size[0] // (BLOCK * scale))), max(1, -(-self.size[1] // (BLOCK * scale)))

    def phases(self, scale: int) -> Doubles:
        """float64 (rows, columns, n): the phases of the lattice, in cycles, that the tokens of a level should have."""
        rows, columns = self.tokens(scale)
        places = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1) * (BLOCK * scale)
        if self.shift is not None:
            last = self.shift.shape[0] - 1, self.shift.shape[1] - 1
            at = [np.minimum(np.arange(n) * scale + scale // 2, m) for n, m in zip((rows, columns), last, strict=True)]
            places = places - self.shift[at[0]][:, at[1]]
        return np.asarray((places + np.array(self.origin)) @ self.lattice.waves.T, np.float64)


def plan_frame(
    exemplar: Exemplar,
    size: tuple[int, int],
    torus: tuple[bool, bool],
    seed: int,
    shift: NDArray[np.float32] | None = None,
    lead: Floats | None = None,
    *,
    free: bool = False,
) -> Frame:
    """The frame of a result: its lattice closed in the directions that tile, its offset drawn from the seed.

    lead: as of `sample_layout`; the lattice then lies as it does there. free: nothing says what lies where, so that
    there may be bands of grain.
    """
    own, lattice = exemplar.lattice.fitted(size, torus)
    bands = grain_bands(exemplar, size, torus, seed, shift) if free else None
    if bands is not None:
        return Frame(size, torus, bands.own, bands.lattice, (0.0, 0.0), seed, bands.shift)
    origin = np.random.default_rng([seed, 1]).uniform(0, 1, 2) * exemplar.size
    frame = Frame(size, torus, own, lattice, (float(origin[0]), float(origin[1])), seed, shift)
    if lead is None or len(lattice.waves) == 0:
        return frame
    scale = coarsest_scale(exemplar)
    level = lead_at(lead, exemplar, scale, frame.tokens(scale))
    return replace(frame, origin=origin_of(level, exemplar, scale, own, lattice, shift))


def sample_layout(
    exemplar: Exemplar,
    frame: Frame,
    content: Content | None,
    preset: Preset,
    run: Run,
    compute: Compute = ON_CPU,
    *,
    lead: Floats | None = None,
    learned: Learned | None = None,
    outside: Outside | None = None,
) -> tuple[Ints, int]:
    """Positions int32 (h, w, 2) at the coarsest level, in that level's texels, and the level's scale.

    lead: encoded albedo float32 (H, W, 3) of the whole result, at any size, that the layout follows (`texsynth.lead`).
    learned: a network for high noise; None, as shipped: the closed form at every noise level.
    outside: what is known of the result, which the rest continues (`texsynth.outside`).
    Random numbers are drawn on the CPU: a seed means the same layout on every device, up to rounding.
    """
    scale = coarsest_scale(exemplar)
    image = to_tensor(halved(exemplar.weighted, int(math.log2(scale))))
    rows, columns = frame.tokens(scale)
    most = min(MOST_KEYS, max(1024, MOST_PAIRS // (rows * columns)))
    stride = 1
    while stride < BLOCK and (image.shape[1] // stride) * (image.shape[2] // stride) > most:
        stride *= 2
    patch = max(3, int(PATCH_SHARE * min(image.shape[1:]) / BLOCK) // 2 * 2 + 1)
    score = ExemplarScore(
        image, exemplar.wraps, patch=patch, stride=stride, channels=BASE_CHANNELS, floor=FLOOR,
        dimensions=KEY_DIMENSIONS, cell=CELL, device=compute.device, dtype=compute.dtype,
    )  # fmt: skip
    prior = _priors(exemplar, frame, content, score, scale, planned=lead is None)
    if prior is not None:
        prior = prior.to(compute.device)
    generator = torch.Generator().manual_seed(frame.seed)
    first = FIRST_NOISE if lead is None else LED_NOISE
    sigmas = noise_levels(first, LAST_NOISE, preset.base_steps)
    denoiser = mixed_denoiser(
        score, prior, learned, image, exemplar.maps, exemplar.wraps, _importance(content, rows, columns),
        sum(sigma > learned.level for sigma in sigmas) if learned else 0,
    )  # fmt: skip
    z = (torch.randn(BASE_CHANNELS, rows, columns, generator=generator) * first).to(compute.device)
    if lead is not None:
        z += tokens_of(lead_at(lead, exemplar, scale, (rows, columns)), score.latent).to(compute.device)
    held = None if outside is None else held_tokens(outside, exemplar, score.latent, (rows, columns))
    for i, (sigma, following) in enumerate(itertools.pairwise(sigmas)):
        run.step(i / preset.base_steps)
        if held is not None:
            held.put(z, torch.randn(z.shape, generator=generator) * sigma)
        score.balance(z, sigma, frame.torus, prior, BALANCE_ITERATIONS, 1.0, generator)
        if following == 0:
            break
        mean = denoiser.denoise(z, sigma, frame.torus)
        keep, fresh = step_weights(sigma, following)
        z = mean + (z - mean) * keep + fresh * torch.randn(z.shape, generator=generator).to(compute.device)
    return score.attended(z, sigmas[-2], frame.torus, prior).cpu().numpy(), scale


def _importance(content: Content | None, rows: int, columns: int) -> NDArray[np.float32]:
    """Of the tokens, by what the content says there; all alike where nothing says which matter."""
    visible = np.ones((rows, columns), np.float32)
    if content is None:
        return visible
    return window_importance(guidance_of_content(content, rows, columns), visible, STEP)


def _priors(
    exemplar: Exemplar, frame: Frame, content: Content | None, score: ExemplarScore, scale: int, *, planned: bool
) -> Prior | None:
    """What acts on the attention beside the patches. planned: whether the source plan does; a lead stands for it."""
    rows, columns = frame.tokens(scale)
    places = score.positions.numpy() * scale  # exemplar texels at full size
    parts = [_source_plan(exemplar, frame, rows, columns, places)] if planned else []
    if len(frame.lattice.waves):
        tolerance = max(frame.lattice.tolerance, LOOSEST_PHASE)
        wanted = frame.phases(scale).reshape(rows * columns, -1)
        # kappa cos(d) falls like a Gaussian of `tolerance` cycles for kappa = 1 / (2 pi tolerance)^2
        offered_phases: Doubles = places.astype(np.float64) @ frame.own.waves.T
        parts.append(_cosine(wanted, offered_phases, 1 / (2 * math.pi * tolerance) ** 2))
    if content is not None:
        wanted_features = guidance_of_content(content, rows, columns).reshape(rows * columns, -1)
        level = guidance_of_exemplar(content, exemplar.stack, scale, BLOCK, exemplar.wraps)
        at = score.positions.numpy()
        offered = level[at[:, 0], at[:, 1]]
        # -|a - b|^2 / 2 up to a constant of the query: a . b - |b|^2 / 2
        query = np.concatenate([wanted_features, np.ones((len(wanted_features), 1), np.float32)], 1)
        key = np.concatenate([offered, -0.5 * (offered**2).sum(1, keepdims=True)], 1)
        parts.append(Prior(_tensor(query), _tensor(key)))
    if not parts:
        return None
    return Prior(torch.cat([p.queries for p in parts], 1), torch.cat([p.keys for p in parts], 1))


def _cosine(wanted: Doubles, offered: Doubles, nats: float) -> Prior:
    """The prior nats * sum cos 2 pi (wanted - offered), phases in cycles: (N, n) and (M, n)."""
    amplitude = math.sqrt(nats)

    def waves(phases: Doubles) -> Tensor:
        turns = 2 * np.pi * phases
        return _tensor(amplitude * np.concatenate([np.cos(turns), np.sin(turns)], 1))

    return Prior(waves(wanted), waves(offered))


def _source_plan(exemplar: Exemplar, frame: Frame, rows: int, columns: int, places: NDArray[np.int64]) -> Prior:
    """Each region (a cell of a jittered grid's Voronoi diagram) prefers its own, rigidly continued part of the
    exemplar."""
    rng = np.random.default_rng([frame.seed, 2])
    extent = np.array(frame.size, float)
    count = np.maximum(1, np.round(extent / (SOURCE_REGION * min(exemplar.size)))).astype(int)
    total = int(count.prod())
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in count], indexing="ij"), -1).reshape(-1, 2)
    centres = (grid + rng.uniform(0, 1, grid.shape)) * extent / count
    side = math.ceil(math.sqrt(total))
    strata = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    sources = ((strata + rng.uniform(0, 1, strata.shape)) / side)[rng.permutation(len(strata))[:total]]
    ys, xs = (np.arange(rows) + 0.5) * extent[0] / rows, (np.arange(columns) + 0.5) * extent[1] / columns
    tokens = np.stack(np.meshgrid(ys, xs, indexing="ij"), -1).reshape(-1, 2)
    nearest, offset = _nearest(tokens, centres, extent, frame.torus)
    wanted = sources[nearest] + offset / exemplar.size
    period: Doubles = np.where(exemplar.wraps, 1.0, 0.5)  # half a turn over an exemplar that does not continue
    harmonics = np.arange(1, SOURCE_HARMONICS + 1)
    offered = places / np.array(exemplar.size, float)
    return _cosine(
        np.concatenate([wanted * period * float(m) for m in harmonics], 1),
        np.concatenate([offered * period * float(m) for m in harmonics], 1),
        SOURCE_NATS,
    )


def _nearest(
    points: Doubles, centres: Doubles, extent: Doubles, torus: tuple[bool, bool]
) -> tuple[NDArray[np.intp], Doubles]:
    """The centre nearest to each point, and the way (n, 2) from it to the point; all in 0..extent, (y, x).

    By a tree: a small exemplar has tens of thousands of regions in an 8K result.
    """
    box = np.where(torus, extent, 0)  # a side of 0 does not wrap
    nearest: NDArray[np.intp] = KDTree(centres, boxsize=box).query(points)[1]
    offset = points - centres[nearest]
    return nearest, np.where(torus, (offset + extent / 2) % extent - extent / 2, offset)


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
