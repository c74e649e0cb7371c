"""The exemplar score with few candidates a token: sparse attention for the fine levels.

Where the coarser level has decided the layout, a token's attention is concentrated on the exemplar texels that continue
its neighbours (coherence), on places that look alike (k-coherence, Tong et al. 2002) and on small shifts of these. The
same softmax over those candidates alone costs a few dozen key reads a token instead of one a key, at every texel
offset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit, prange
from numpy.typing import NDArray

from texsynth.lattice import Lattice
from texsynth.model.latent import BLOCK, BlockPCA, dense_tokens, to_tensor
from texsynth.pieces import beyond

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

CANDIDATES = 28
WINDOW = 32  # tokens a side of the windows that checkpoints and step counts go by


@dataclass(frozen=True)
class Keys:
    """What fine levels attend to.

    tokens: float32 (gh, gw, C), the exemplar's tokens at every `stride` texels of its level. size: the level's height
    and width in texels. wraps: directions in which positions wrap. similar: int32 (sh, sw, n, 2), for positions on a
    grid of `similar_step` texels, places whose patches look alike. guide: float32 (gh, gw, G), guidance features of
    every position, already scaled (a squared distance of 2 costs one nat). waves, tolerance: the lattice in this
    level's texels. spacing: median squared distance between a patch and the most similar one elsewhere, the unit that
    costs are given in.
    """

    tokens: Floats
    stride: int
    size: tuple[int, int]
    wraps: tuple[bool, bool]
    similar: Ints
    similar_step: int
    guide: Floats
    waves: NDArray[np.float64]
    tolerance: float
    spacing: float


@njit(cache=True, fastmath=True, inline="always")
def _hash(state):  # type: ignore[no-untyped-def]
    """One step of splitmix64: 64 well mixed bits of a 64-bit state."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


@njit(cache=True, fastmath=True, inline="always")
def _into(value, size, limit, wraps):  # type: ignore[no-untyped-def]
    """A position brought into the exemplar: wrapped, or clamped to the last whole block."""
    if wraps:
        return value % size
    return min(max(value, 0), limit)


@njit(cache=True, fastmath=True, inline="always")
def settled(positions, y, x, height, width, wrap_y, wrap_x, torus_y, torus_x):  # type: ignore[no-untyped-def]
    """Whether all eight neighbours of a token continue it."""
    rows, columns = positions.shape[:2]
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            ny, nx = y + dy, x + dx
            if torus_y:
                ny = ny % rows
            if torus_x:
                nx = nx % columns
            if ny < 0 or ny >= rows or nx < 0 or nx >= columns:
                continue
            py = positions[ny, nx, 0] - positions[y, x, 0] - dy * BLOCK
            px = positions[ny, nx, 1] - positions[y, x, 1] - dx * BLOCK
            if wrap_y:
                py = py % height
            if wrap_x:
                px = px % width
            if py != 0 or px != 0:
                return False
    return True


@njit(cache=True, fastmath=True, parallel=True, nogil=True)
def _attend(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915
    z, positions, tokens, stride, height, width, wrap_y, wrap_x, torus_y, torus_x, radius, inverse, waves, phases,
    phase_weight, potentials, cell, similar, similar_step, guide, guide_keys, jump_cost, jitter, seed,
    middles, piece_radius, spread_cost, active, rest, first, last, mean, chosen, worked,
):  # fmt: skip
    rows, columns, channels = z.shape
    limit_y = (tokens.shape[0] - 1) * stride
    limit_x = (tokens.shape[1] - 1) * stride
    alike = similar.shape[2]
    features = guide.shape[2]
    span = 2 * radius + 1
    for y in prange(first, last):
        cand = np.empty((CANDIDATES, 2), np.int32)
        score = np.empty(CANDIDATES, np.float32)
        spread = np.empty(CANDIDATES, np.float32)
        zi = np.empty((span * span, 2), np.int32)
        for x in range(columns):
            idle = not active[y // WINDOW, x // WINDOW]
            if rest and not idle:
                idle = settled(positions, y, x, height, width, wrap_y, wrap_x, torus_y, torus_x)
            if idle:
                py, px = positions[y, x, 0], positions[y, x, 1]
                chosen[y - first, x, 0], chosen[y - first, x, 1] = py, px
                for c in range(channels):
                    mean[y - first, x, c] = tokens[py // stride, px // stride, c]
                continue
            worked[y - first] += 1
            rng = _hash(np.uint64(seed) ^ (np.uint64(y) * np.uint64(0x100000001B3) + np.uint64(x)))
            n = 0
            # own place and the places that continue the eight neighbours
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    ny, nx = y + dy, x + dx
                    if torus_y:
                        ny = ny % rows
                    if torus_x:
                        nx = nx % columns
                    if ny < 0 or ny >= rows or nx < 0 or nx >= columns:
                        continue
                    py = positions[ny, nx, 0] - dy * BLOCK
                    px = positions[ny, nx, 1] - dx * BLOCK
                    if not wrap_y and (py < 0 or py > limit_y):
                        continue
                    if not wrap_x and (px < 0 or px > limit_x):
                        continue
                    cand[n, 0] = _into(py, height, limit_y, wrap_y)
                    cand[n, 1] = _into(px, width, limit_x, wrap_x)
                    spread[n] = spread_cost * beyond(
                        y, x, middles[ny, nx, 0], middles[ny, nx, 1], rows, columns, torus_y, torus_x, piece_radius
                    )
                    n += 1
            own = n
            # small shifts of one of these
            if jitter > 0:
                for _ in range(4):
                    rng = _hash(rng)
                    base = int((rng >> np.uint64(8)) % np.uint64(own))
                    sy = (int((rng >> np.uint64(20)) % np.uint64(2 * jitter + 1)) - jitter) * stride
                    sx = (int((rng >> np.uint64(40)) % np.uint64(2 * jitter + 1)) - jitter) * stride
                    cand[n, 0] = _into(cand[base, 0] + sy, height, limit_y, wrap_y)
                    cand[n, 1] = _into(cand[base, 1] + sx, width, limit_x, wrap_x)
                    n += 1
            # places that look like the own one and like one neighbour's
            for k in range(2):
                base = 0
                if k == 0:
                    py, px = positions[y, x, 0], positions[y, x, 1]
                else:
                    rng = _hash(rng)
                    base = int((rng >> np.uint64(16)) % np.uint64(own))
                    py, px = cand[base, 0], cand[base, 1]
                gy = min(py // similar_step, similar.shape[0] - 1)
                gx = min(px // similar_step, similar.shape[1] - 1)
                for m in range(alike):
                    cand[n, 0] = _into(similar[gy, gx, m, 0] + py - gy * similar_step, height, limit_y, wrap_y)
                    cand[n, 1] = _into(similar[gy, gx, m, 1] + px - gx * similar_step, width, limit_x, wrap_x)
                    n += 1
            for i in range(span):
                for j in range(span):
                    ny, nx = y + i - radius, x + j - radius
                    if torus_y:
                        ny = ny % rows
                    if torus_x:
                        nx = nx % columns
                    inside = ny >= 0 and ny < rows and nx >= 0 and nx < columns
                    zi[i * span + j, 0] = ny if inside else -1
                    zi[i * span + j, 1] = nx
            best = np.float32(-1e30)
            for k in range(n):
                ey, ex = cand[k, 0], cand[k, 1]
                ey -= ey % stride
                ex -= ex % stride
                cand[k, 0], cand[k, 1] = ey, ex
                again = False
                for m in range(k):
                    if cand[m, 0] == ey and cand[m, 1] == ex:
                        again = True
                if again:
                    score[k] = np.float32(-1e30)
                    continue
                total = np.float32(0)
                for i in range(span):
                    ty = _into(ey + (i - radius) * BLOCK, height, limit_y, wrap_y) // stride
                    for j in range(span):
                        ny = zi[i * span + j, 0]
                        if ny < 0:
                            continue
                        nx = zi[i * span + j, 1]
                        tx = _into(ex + (j - radius) * BLOCK, width, limit_x, wrap_x) // stride
                        for c in range(channels):
                            d = z[ny, nx, c] - tokens[ty, tx, c]
                            total += d * d
                value = (
                    -total * inverse
                    + potentials[min(ey // cell, potentials.shape[0] - 1), min(ex // cell, potentials.shape[1] - 1)]
                )
                for w in range(waves.shape[0]):
                    turn = waves[w, 0] * ey + waves[w, 1] * ex - phases[y, x, w]
                    turn -= np.round(turn)
                    value -= np.float32(turn * turn * phase_weight)
                for f in range(features):
                    d = guide[y, x, f] - guide_keys[ey // stride, ex // stride, f]
                    value -= np.float32(0.5) * d * d
                value -= jump_cost if k >= own else spread[k]
                score[k] = value
                best = max(best, value)
            total = np.float32(0)
            for c in range(channels):
                mean[y - first, x, c] = 0
            pick = 0
            for k in range(n):
                weight = np.exp(score[k] - best)
                if weight > 1e-6:
                    total += weight
                    for c in range(channels):
                        mean[y - first, x, c] += weight * tokens[cand[k, 0] // stride, cand[k, 1] // stride, c]
                if score[k] == best:
                    pick = k
            for c in range(channels):
                mean[y - first, x, c] /= total
            chosen[y - first, x, 0] = cand[pick, 0]
            chosen[y - first, x, 1] = cand[pick, 1]


def attend(
    keys: Keys,
    z: Floats,
    positions: Ints,
    sigma: float,
    rows: tuple[int, int],
    *,
    radius: int,
    torus: tuple[bool, bool],
    phases: NDArray[np.float64],
    potentials: Floats,
    cell: int,
    guide: Floats,
    jump_cost: float,
    jitter: int,
    seed: int,
    middles: Floats,
    piece_radius: float,
    spread_cost: float,
    active: NDArray[np.bool_],
    rest: bool = False,
) -> tuple[Floats, Ints, int]:
    """Posterior mean and best position of the tokens in `rows` (first, last) of the noisy latent `z` = clean + sigma n.

    z: float32 (h, w, C). positions: int32 (h, w, 2), where each token attended before, exemplar texels (y, x) of its
    block's top left. The result depends on z and positions within `radius` tokens of the rows and on nothing else, so
    any order of windows gives the same bytes. phases: float64 (h, w, n), those of the lattice that tokens should have.
    potentials: float32 (cy, cx), log weights of exemplar cells of `cell` texels. guide: float32 (h, w, G).
    jump_cost: nats that a place costs which continues no neighbour. jitter: largest shift tried, in strides.
    middles: float32 (h, w, 2), from `pieces.middles_of_pieces`; continuing a piece twice `piece_radius` tokens from its
    middle costs `spread_cost` nats. active:
    (ceil(h / WINDOW), ceil(w / WINDOW)); tokens of the other windows keep their place, at hardly any cost, and
    with `rest` so do those that all their neighbours continue. Returns mean float32 (rows, w, C), chosen int32
    (rows, w, 2) and the number of tokens that attended.
    """
    first, last = rows
    mean = np.empty((last - first, *z.shape[1:]), np.float32)
    chosen = np.empty((last - first, z.shape[1], 2), np.int32)
    worked = np.zeros(last - first, np.int64)
    _attend(
        z, positions, keys.tokens, keys.stride, *keys.size, *keys.wraps, *torus, radius, np.float32(0.5 / sigma**2),
        keys.waves, phases, 0.5 / keys.tolerance**2, potentials, cell, keys.similar, keys.similar_step, guide,
        keys.guide, np.float32(jump_cost), jitter, seed, middles, np.float32(piece_radius), np.float32(spread_cost),
        active, rest, first, last, mean, chosen, worked,
    )  # fmt: skip
    return mean, chosen, int(worked.sum())


TOKEN_CHANNELS = 16  # one cache line of float32
MOST_POSITIONS = 2**22  # token positions kept; larger levels are sampled at every 2nd, 4th ... texel
SIMILAR = 3  # like-looking places a position
SIMILAR_APART = 24  # texels that a like-looking place must lie away, else it is the same place
MOST_SIMILAR = 8192  # grid positions that like-looking places are searched among
SIMILAR_CHUNK = 256  # of them at once: 8 MB of distances, 32 MB of offsets


def build_keys(
    image: Floats, wraps: tuple[bool, bool], lattice: Lattice, scale: int, floor: float, guide: Floats
) -> Keys:
    """The keys of one level: `image` float32 (H, W, K), the weighted stack reduced by `scale`.

    guide: float32 (H, W, G), guidance features of every texel as the top left of a block. floor: whitening floor.
    """
    tensor = to_tensor(image)
    height, width = image.shape[:2]
    stride = 1
    while (height // stride) * (width // stride) > MOST_POSITIONS:
        stride *= 2
    height, width = height // stride * stride, width // stride * stride  # so that every place has a token
    dense = dense_tokens(BlockPCA.fit(tensor, TOKEN_CHANNELS, floor), tensor, wraps, stride)
    tokens: Floats = np.ascontiguousarray(dense.permute(1, 2, 0).numpy())
    del dense
    guide = np.ascontiguousarray(guide[::stride, ::stride][: tokens.shape[0], : tokens.shape[1]])
    similar, step, spacing = _similar_places(tokens, stride, (height, width), wraps)
    return Keys(
        tokens, stride, (height, width), wraps, similar, step, guide, lattice.waves * scale, lattice.tolerance, spacing
    )


def _similar_places(
    tokens: Floats, stride: int, size: tuple[int, int], wraps: tuple[bool, bool]
) -> tuple[Ints, int, float]:
    """For positions on a grid: places with the nearest 3 x 3 token patches; the grid's step; the median distance."""
    limits = (tokens.shape[0] - 1) * stride, (tokens.shape[1] - 1) * stride
    step = 2 * BLOCK
    while (size[0] // step) * (size[1] // step) > MOST_SIMILAR:
        step += BLOCK
    lines = [torch.arange(0, limit + 1, step) for limit in limits]

    def moved(axis: int, shift: int) -> torch.Tensor:
        at = lines[axis] + shift
        return (at % size[axis] if wraps[axis] else at.clamp(0, limits[axis])).div(stride, rounding_mode="floor")

    table = torch.from_numpy(tokens)
    around = [
        table[moved(0, i * BLOCK)][:, moved(1, j * BLOCK)].reshape(-1, tokens.shape[2])
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    patches = torch.cat(around, 1)
    patches = patches - patches.mean(dim=0)
    # in double: of a flat exemplar only rounding is left, on which eigh does not converge in float
    patches = patches @ torch.linalg.eigh((patches.T @ patches).double())[1].flip(1)[:, :48].float()
    places = torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)
    norms = patches.square().sum(1)
    count = min(SIMILAR, len(places))
    found, nearest = [], []
    for first in range(0, len(places), SIMILAR_CHUNK):
        part = slice(first, first + SIMILAR_CHUNK)
        distance = norms + norms[part, None] - 2 * patches[part] @ patches.T
        apart = (places[part, None] - places).abs()
        for axis in range(2):
            if wraps[axis]:
                apart[:, :, axis] = torch.minimum(apart[:, :, axis], size[axis] - apart[:, :, axis])
        distance[(apart < SIMILAR_APART).all(dim=2)] = torch.inf
        best = distance.topk(count, largest=False)
        found.append(places[best.indices])
        nearest.append(best.values[:, 0])
    spacing = torch.cat(nearest).median().clamp(1e-6, 1e6)
    similar = torch.cat(found).reshape(len(lines[0]), len(lines[1]), count, 2).int().numpy()
    return np.ascontiguousarray(similar), step, float(spacing)
