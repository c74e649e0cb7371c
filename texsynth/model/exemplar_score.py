"""The closed-form exemplar score: the exact denoiser of one exemplar is attention.

Under locality and translation equivariance (Kamb and Ganguli, "An analytic theory of creativity in convolutional
diffusion models") the posterior mean of a token is softmax attention: queries are patches of noisy tokens, keys the
exemplar's patches, values their centre tokens, temperature sigma^2. Column potentials (Sinkhorn, log domain) make every
part of the exemplar used equally, as optimal transport asks; without them the flattest part wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from texsynth.model.latent import BLOCK, BlockPCA, dense_tokens

QUERY_CHUNK = 8192  # queries a fused attention call; bounds working memory
PATCH_CHUNK = 2**16  # patches that are unfolded at once, for the same reason
# Logits that exist at once. Buffers of 64 MB, freed in another order than they were made, left the heap in pieces: its
# peak varied by up to 1 GB from run to run.
MOST_LOGITS = 2**22
SAMPLE = 1024  # queries that estimate the potentials
# Below this noise bfloat16's 8 bits of q . k / sigma^2 would move attention; above it they do not (error < 0.3 nats).
BFLOAT16_SIGMA = 0.3
# exp of less is no normal float32, for which MKL takes 15 to 45 times as long; sums below LEAST_SUM count as that.
LEAST_EXPONENT, LEAST_SUM = -87.0, 1e-30
HEAD_STEP = 8  # CUDA's fused attention kernels take heads whose dimension is a multiple of this
CPU = torch.device("cpu")


def patches(tokens: Tensor, patch: int, torus: tuple[bool, bool], rows: tuple[int, int] | None = None) -> Tensor:
    """Patches of float32 (C, h, w) around every token as rows (h w, C patch^2); edges wrap or repeat.

    rows: only of the tokens in these rows (first, last).
    """
    r = patch // 2
    padded = F.pad(tokens[None], (0, 0, r, r), mode="circular" if torus[0] else "replicate")
    padded = F.pad(padded, (r, r, 0, 0), mode="circular" if torus[1] else "replicate")
    if rows is not None:
        padded = padded[:, :, rows[0] : rows[1] + 2 * r]
    return F.unfold(padded, patch)[0].T


@dataclass(frozen=True)
class Prior:
    """Log-weights beside the patches: `queries` (N, P) . `keys` (M, P) is added to the logits at every noise level."""

    queries: Tensor
    keys: Tensor

    def to(self, device: torch.device) -> Prior:
        """The same prior on another device."""
        return Prior(self.queries.to(device), self.keys.to(device))


class ExemplarScore:
    """Posterior mean of clean tokens given noisy ones, for one level of the exemplar's pyramid.

    image: float32 (K, H, W), the weighted stack at this level. patch: odd, tokens a side. stride: texels between keys.
    The latent is the image's own block PCA. Keys are projected to the `dimensions` in which the exemplar's patches lie:
    noise outside that space moves all logits alike and so changes nothing.

    device: where keys, values, potentials and attention live; `z` and `prior` must lie there too, and means come back
    there. `positions` (M, 2), texels of the keys, stay on the CPU. dtype: of attention from BFLOAT16_SIGMA upwards.
    """

    def __init__(
        self,
        image: Tensor,
        wraps: tuple[bool, bool],
        *,
        patch: int,
        stride: int,
        channels: int,
        floor: float,
        dimensions: int,
        cell: int,
        device: torch.device = CPU,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        # On the CPU for every device, at little cost: a component's sign is the solver's choice, and with another sign
        # a seed would mean another layout; and cuDNN would round the tokens to TF32.
        self.latent = BlockPCA.fit(image, channels, floor)
        self.patch, self.device, self.dtype = patch, device, dtype
        self.tokens = dense_tokens(self.latent, image, wraps, stride).to(device)
        gh, gw = self.tokens.shape[1:]
        r, step = patch // 2, BLOCK // stride
        ys = torch.arange(gh) if wraps[0] else torch.arange(min(r * step, gh // 2), max(gh - r * step, gh // 2 + 1))
        xs = torch.arange(gw) if wraps[1] else torch.arange(min(r * step, gw // 2), max(gw - r * step, gw // 2 + 1))
        around = []
        for i in range(-r, r + 1):
            for j in range(-r, r + 1):
                yy = (ys + i * step) % gh if wraps[0] else (ys + i * step).clamp(0, gh - 1)
                xx = (xs + j * step) % gw if wraps[1] else (xs + j * step).clamp(0, gw - 1)
                around.append(self.tokens[:, yy][:, :, xx].reshape(self.tokens.shape[0], -1))
        full = torch.stack(around, 1).reshape(-1, len(ys) * len(xs))
        self.key_mean = full.mean(dim=1)
        full = full - self.key_mean[:, None]
        sample = full[:, :: max(1, full.shape[1] // 8192)]
        vectors = torch.linalg.eigh((sample @ sample.T / sample.shape[1]).double())[1].flip(1).float()
        self.projection = vectors[:, :dimensions].contiguous()
        self.keys = (self.projection.T @ full).T.contiguous()
        self.values = self.tokens[:, ys][:, :, xs].reshape(self.tokens.shape[0], -1).T.contiguous()
        self.positions = torch.stack(torch.meshgrid(ys * stride, xs * stride, indexing="ij"), -1).reshape(-1, 2)
        lines = torch.div(self.positions, cell, rounding_mode="floor")
        _, groups = torch.unique(lines[:, 0] * (1 << 20) + lines[:, 1], return_inverse=True)
        count = torch.bincount(groups)
        self.groups = groups.to(device)
        self.target = (count / count.sum()).to(device)
        self.potentials = torch.zeros(len(count), device=device)

    def queries(self, z: Tensor, torus: tuple[bool, bool]) -> Tensor:
        """Projected patches (h w, D) of the noisy tokens `z`, float32 (C, h, w)."""
        rows, columns = z.shape[1:]
        projected = z.new_empty(rows * columns, self.projection.shape[1])
        step = max(1, PATCH_CHUNK // columns)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            around = patches(z, self.patch, torus, (first, last))
            projected[first * columns : last * columns] = (around - self.key_mean) @ self.projection
        return projected

    def logits(self, queries: Tensor, sigma: float, prior: Tensor | None, prior_keys: Tensor | None) -> Tensor:
        """log p(key | query) up to a constant of the row, without potentials: (n, M)."""
        logits: Tensor = queries @ self.keys.T
        logits.sub_(0.5 * self.keys.square().sum(1)).div_(sigma**2)
        if prior is not None and prior_keys is not None:
            logits.add_(prior @ prior_keys.T)
        return logits

    def balance(self, z: Tensor, sigma: float, torus: tuple[bool, bool], prior: Prior | None, iterations: int,
                damping: float, generator: torch.Generator) -> None:  # fmt: skip
        """Move the potentials towards equal use of every exemplar cell, on a sample of queries.

        Relaxed Sinkhorn: v <- v - damping * log(use / target); carried from noise level to noise level, so that a few
        iterations a step converge. `generator` is a CPU generator, so that all devices draw the same sample.
        """
        queries = self.queries(z, torus)
        pick = torch.randperm(len(queries), generator=generator)[:SAMPLE].to(self.device)
        sums = []
        for part in self._chunks(len(pick)):
            logits = self.logits(
                queries[pick[part]], sigma, None if prior is None else prior.queries[pick[part]],
                None if prior is None else prior.keys,
            )  # fmt: skip
            logits.sub_(logits.amax(dim=1, keepdim=True)).clamp_min_(LEAST_EXPONENT)
            sums.append(self._by_group(logits.exp_()))
        grouped = torch.cat(sums).clamp_min_(LEAST_SUM).log_()
        for _ in range(iterations):
            use = torch.softmax(grouped + self.potentials, dim=1).mean(dim=0)
            self.potentials -= damping * (use.clamp_min(1e-6) / self.target).log().clamp(-4, 4)
            self.potentials -= self.potentials.mean()

    def _by_group(self, weights: Tensor) -> Tensor:
        """Sums of `weights` (n, M) over the keys of each exemplar cell: (n, groups)."""
        if self.device.type == "cpu":
            sums = torch.zeros(len(weights), len(self.target))
            return sums.index_add_(1, self.groups, weights)
        # elsewhere index_add_ sums in any order, and one seed would give different layouts from run to run
        return weights @ F.one_hot(self.groups, len(self.target)).to(weights.dtype)

    def denoise(self, z: Tensor, sigma: float, torus: tuple[bool, bool], prior: Prior | None = None) -> Tensor:
        """Posterior mean of the clean tokens, float32 (C, h, w); z = clean + sigma * noise."""
        queries = self.queries(z, torus)
        bias = self.potentials[self.groups] - 0.5 * self.keys.square().sum(1) / sigma**2
        coarse = bias.bfloat16().float()  # in two halves, so that bfloat16 keeps 16 bits of it
        key_parts = [self.keys, coarse[:, None], (bias - coarse)[:, None]]
        if prior is not None:
            key_parts.append(prior.keys)
        kind = self.dtype if sigma >= BFLOAT16_SIGMA else torch.float32
        key = self._head(torch.cat(key_parts, 1)).to(kind)
        value = F.pad(self.values, (0, key.shape[1] - self.values.shape[1])).to(kind)
        mean = queries.new_empty(len(queries), self.values.shape[1])
        for first in range(0, len(queries), QUERY_CHUNK):
            part = slice(first, first + QUERY_CHUNK)
            query_parts = [queries[part] / sigma**2, queries.new_ones(len(queries[part]), 2)]
            if prior is not None:
                query_parts.append(prior.queries[part])
            query = self._head(torch.cat(query_parts, 1)).to(kind)
            attended = F.scaled_dot_product_attention(query[None, None], key[None, None], value[None, None], scale=1.0)
            mean[part] = attended[0, 0, :, : self.values.shape[1]]
        return mean.T.reshape(z.shape)

    def _head(self, rows: Tensor) -> Tensor:
        """`rows` (n, D) with zeros up to the next dimension that the device's fused attention takes."""
        return rows if self.device.type == "cpu" else F.pad(rows, (0, -rows.shape[1] % HEAD_STEP))

    def attended(self, z: Tensor, sigma: float, torus: tuple[bool, bool], prior: Prior | None) -> Tensor:
        """Exemplar texel (y, x) of the block that each token attends to most, int32 (h, w, 2)."""
        queries = self.queries(z, torus)
        best = torch.empty(len(queries), dtype=torch.int64, device=self.device)
        for part in self._chunks(len(queries)):
            logits = self.logits(
                queries[part], sigma, None if prior is None else prior.queries[part],
                None if prior is None else prior.keys,
            )  # fmt: skip
            best[part] = logits.add_(self.potentials[self.groups]).argmax(dim=1)
        return self.positions.to(self.device)[best].reshape(*z.shape[1:], 2).int()

    def _chunks(self, queries: int) -> Iterator[slice]:
        """Slices of so many queries that there are at most MOST_LOGITS logits at once."""
        step = max(1, MOST_LOGITS // len(self.keys))
        for first in range(0, queries, step):
            yield slice(first, min(first + step, queries))


def noise_levels(first: float, last: float, steps: int) -> list[float]:
    """`steps` noise levels in geometric order from `first` to `last`, then 0."""
    return [first * (last / first) ** (i / max(1, steps - 1)) for i in range(steps)] + [0.0]


def step_weights(sigma: float, following: float) -> tuple[float, float]:
    """Ancestral step from `sigma` to `following`: z' = mean + (z - mean) * keep + fresh * noise; returns (keep, fresh).

    Ancestral sampling with eta = 1 (Song et al. 2021); eta = 0 loses energy in flat regions.
    """
    fresh = min(following, math.sqrt(max(0.0, following**2 * (sigma**2 - following**2) / sigma**2)))
    return math.sqrt(max(0.0, following**2 - fresh**2)) / sigma, fresh
