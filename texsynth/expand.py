"""From the layout to full size: x2 until the size is reached, each level a few denoising steps with sparse attention.

A level's latent and positions lie in memory-mapped files and are worked on in bands of windows; a band depends on the
step before alone, so order is irrelevant and windowed equals whole. The state after every band is on disk: a killed run
goes on from there to the same bytes.
"""

from __future__ import annotations

import json
import logging
import math
import mmap
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from texsynth.content import Content, guidance_of_content, guidance_of_exemplar
from texsynth.cut import mismatch_features
from texsynth.exemplar import Exemplar, halved
from texsynth.fault import fault_point
from texsynth.layout import FLOOR, Frame
from texsynth.model.coherent_score import TOKEN_CHANNELS, WINDOW, Keys, attend, build_keys
from texsynth.model.exemplar_score import noise_levels, step_weights
from texsynth.model.latent import BLOCK
from texsynth.pieces import middles_of_pieces
from texsynth.presets import FineLevel, Preset
from texsynth.quilting import replace_large_pieces, replace_repeated
from texsynth.registration import register_pieces
from texsynth.run import Run
from texsynth.seams import anneal_seams

_LOG = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

LAST_NOISE = 0.08
RADIUS = 1  # tokens around the own one that a patch compares
# In units of `Keys.spacing`: what a place costs that continues no neighbour, and the gains with which the use of the
# exemplar's cells and tones is evened out from step to step; and that of blocks shown more than once although there are
# enough of them, by their number over that of the tokens (1 would grow larger pieces where it is 1).
JUMP, EVEN, TONE, ONCE = 0.2, 0.2, 0.25, 0.3
MANY_BLOCKS = 0.25  # tokens a block; fewer need no higher gain
TONES = 8  # classes of the blocks' first principal component, equally frequent in the exemplar
SPREAD = 25.0  # and what it costs to continue a piece at twice its radius
SWEEPS = 32  # of the seams, before a level's denoising steps
LAST_SWEEPS = 16  # and after those of the finest level
# Of the exemplar's shorter side: the diagonal of pieces that are quilted, the fields they are cut into, and the radius
# of pieces.
LONGEST_PIECE, CUT_PIECE, PIECE_RADIUS = 0.35, 0.25, 0.15
SHIFT = 1 / 256  # of the exemplar's shorter side, by which pieces are shifted to meet their neighbours
TOKENS_A_CELL = 8  # expected; fewer would even out noise
CRISP = 0.5  # lattices stronger than this are held ever tighter as the noise falls
# Importance: in every other step, tokens that all their neighbours continue are left as they are.
# `benchmarks/importance.py` turns it off to measure what it saves and costs.
REST = True


@dataclass
class Steps:
    """Token steps, and those of them that importance left out, for the report."""

    done: int = 0
    saved: int = 0


def expand(
    exemplar: Exemplar,
    frame: Frame,
    content: Content | None,
    layout: tuple[Ints, int],
    mask: NDArray[np.bool_] | None,
    preset: Preset,
    work: Path,
    run: Run,
    preview: Callable[[Ints, int], None],
) -> tuple[Ints, Steps]:
    """Positions int32 (H / 8, W / 8, 2) at full size, from `layout` = positions and scale of the coarsest level.

    mask: bool (h, w) windows of the full-size token grid that hold a texel to be made, or None for all. work: folder of
    the run's state; what lies there from an earlier, killed run of the same inputs is continued. preview(positions,
    scale) is called after each level.
    """
    positions, coarsest = layout
    steps = Steps()
    scales = [coarsest >> i for i in range(int(math.log2(coarsest)) + 1)]
    weights = np.cumsum([0.0] + [_cost(frame, preset, scale) for scale in scales])
    for level, scale in enumerate(scales):
        fine = preset.fine[min(int(math.log2(scale)), len(preset.fine) - 1)]
        if scale == coarsest:
            fine = replace(fine, steps=preset.settle_steps)
        else:
            positions = _doubled(positions, frame.tokens(scale))
        part = weights[level] / weights[-1], weights[level + 1] / weights[-1]
        image = halved(exemplar.weighted, int(math.log2(scale)))
        positions = _refine(
            exemplar, image, frame, content, positions, scale, coarsest, fine, mask, work, run, part, steps
        )
        preview(positions, scale)
    return positions, steps


def _cost(frame: Frame, preset: Preset, scale: int) -> float:
    rows, columns = frame.tokens(scale)
    return rows * columns * preset.fine[min(int(math.log2(scale)), len(preset.fine) - 1)].steps + 2**14


def _doubled(positions: Ints, shape: tuple[int, int]) -> Ints:
    """Positions of the next finer level: each token becomes 2 x 2 that continue each other."""
    finer = np.repeat(np.repeat(positions * 2, 2, axis=0), 2, axis=1)
    finer[1::2, :, 0] += BLOCK
    finer[:, 1::2, 1] += BLOCK
    return np.ascontiguousarray(finer[: shape[0], : shape[1]])


def _refine(
    exemplar: Exemplar,
    image: Floats,
    frame: Frame,
    content: Content | None,
    positions: Ints,
    scale: int,
    coarsest: int,
    fine: FineLevel,
    mask: NDArray[np.bool_] | None,
    work: Path,
    run: Run,
    part: tuple[float, float],
    steps: Steps,
) -> Ints:
    rows, columns = positions.shape[:2]
    state = _State(work, scale, (rows, columns))
    if state.finished:
        steps.done, steps.saved = state.counts
        return state.read_positions()
    guide, guide_keys = _guidance(exemplar, content, scale, (rows, columns), image.shape[:2])
    keys = build_keys(image, exemplar.wraps, frame.own, scale, FLOOR, guide_keys)
    phases = frame.phases(scale)
    radius = PIECE_RADIUS * min(keys.size) / BLOCK
    balance = _Balance(keys, rows * columns)
    wanted = _wanted(mask, scale, (rows, columns))
    sigmas = noise_levels(fine.noise, LAST_NOISE, fine.steps)
    if state.step is None:
        placed = _inside(_in_phase(positions, keys, phases), keys)
        _begin(state, placed, keys, frame, scale, fine.noise, guide, balance, phases, scale >= coarsest // 2)
        state.advance(0, 0, (steps.done, steps.saved))
    steps.done, steps.saved = state.counts
    step, start = state.step or (0, 0)
    balance.potentials = state.potentials(step)
    for i in range(step, fine.steps):
        sigma = sigmas[i]
        crisp = frame.own.strength >= CRISP
        now = replace(keys, tolerance=keys.tolerance * (min(1.0, sigma / 0.4) if crisp else 1.0))
        keep, fresh = step_weights(sigma, sigmas[i + 1])
        z, place = state.latent(i % 2), state.places(i % 2)
        z_next, place_next = state.latent(1 - i % 2), state.places(1 - i % 2)
        nats = keys.spacing / (2 * sigma**2)
        middles = middles_of_pieces(place, keys.size, keys.wraps, frame.torus)
        rest = REST and i % 2 == 0 and i < fine.steps - 1
        for first, last in _bands(rows):
            if first < start:
                continue
            run.step(part[0] + (part[1] - part[0]) * (i + first / rows) / fine.steps)
            mean, chosen, worked = attend(
                now, z, place, sigma, (first, last), radius=RADIUS, torus=frame.torus, phases=phases,
                potentials=(balance.potentials / (2 * sigma**2)).astype(np.float32), cell=BLOCK, guide=guide,
                middles=middles, piece_radius=radius, spread_cost=SPREAD * nats, jump_cost=JUMP * nats,
                jitter=fine.jitter, seed=_seed(frame.seed, scale, i), active=wanted, rest=rest,
            )  # fmt: skip
            following_z = mean + (z[first:last] - mean) * np.float32(keep)
            if fresh:
                following_z += np.float32(fresh) * _noise(frame.seed, scale, i, first, mean.shape)
            z_next[first:last], place_next[first:last] = following_z, chosen
            steps.done += worked
            steps.saved += (last - first) * columns - worked
            state.keep(1 - i % 2, first, last)
            state.advance(i, last, (steps.done, steps.saved))
            fault_point("expand_band")
        start = 0
        balance.update(place_next, keys.spacing)
        state.keep_potentials(balance.potentials, i + 1)
        state.advance(i + 1, 0, (steps.done, steps.saved))
    end = fine.steps % 2
    if scale == 1:
        before, end = state.places(end), 1 - end
        # into the other field: a run that is killed here finds what it started from
        state.places(end)[:] = _settled(exemplar, image, keys, before, frame, guide, _seed(frame.seed, 1, fine.steps))
        fault_point("expand_seams")
    state.finish(end)
    return state.read_positions()


def _settled(
    exemplar: Exemplar, image: Floats, keys: Keys, positions: Ints, frame: Frame, guide: Floats, seed: int
) -> Ints:
    """The finest level's positions with the borders of pieces, then the pieces themselves, where they fit best."""
    radius = PIECE_RADIUS * min(keys.size) / BLOCK
    annealed = anneal_seams(keys, positions, frame.torus, guide, radius, LAST_SWEEPS, seed)
    features = mismatch_features(image, exemplar.wraps)
    reach = max(1, round(SHIFT * min(exemplar.size)))
    return register_pieces(features, annealed, exemplar.wraps, frame.torus, reach, seed)


def _guidance(
    exemplar: Exemplar, content: Content | None, scale: int, shape: tuple[int, int], size: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """Guidance features of the tokens, (*shape, G), and of the level's texels, (*size, G); G = 0 without content."""
    if content is None:
        return np.zeros((*shape, 0), np.float32), np.zeros((*size, 0), np.float32)
    offered = guidance_of_exemplar(content, exemplar.stack, scale, BLOCK, exemplar.wraps)
    return guidance_of_content(content, *shape), offered[: size[0], : size[1]]


def _begin(
    state: _State,
    positions: Ints,
    keys: Keys,
    frame: Frame,
    scale: int,
    noise: float,
    guide: Floats,
    balance: _Balance,
    phases: NDArray[np.float64],
    coarse: bool,
) -> None:
    """The state before a level's first step: the tokens of `positions` with fresh noise of deviation `noise`."""
    rng = np.random.default_rng([frame.seed, scale, 0])
    if coarse:  # finer levels could not heal the cuts any more
        side = min(keys.size) / BLOCK
        positions = replace_large_pieces(
            keys, positions, frame.torus, guide, phases, LONGEST_PIECE * side, CUT_PIECE * side,
            balance.cell, rng,
        )  # fmt: skip
    if balance.area <= 1:
        positions = replace_repeated(keys, positions, frame.torus, guide, phases, rng)
    if not coarse:  # at the coarse ones a boundary's few tokens would be a piece's whole width
        radius = PIECE_RADIUS * min(keys.size) / BLOCK
        positions = anneal_seams(
            keys, positions, frame.torus, guide, radius, SWEEPS, _seed(frame.seed, scale, -1)
        )  # fmt: skip
    state.begin(positions, balance.potentials)
    for first, last in _bands(positions.shape[0]):
        clean = keys.tokens[positions[first:last, :, 0] // keys.stride, positions[first:last, :, 1] // keys.stride]
        fresh = _noise(frame.seed, scale, -1, first, clean.shape)
        state.latent(0)[first:last] = clean + np.float32(noise) * fresh
        state.keep(0, first, last)


def _bands(rows: int) -> Iterator[tuple[int, int]]:
    for first in range(0, rows, WINDOW):
        yield first, min(first + WINDOW, rows)


def _seed(seed: int, scale: int, step: int) -> int:
    return int(np.random.default_rng([seed, scale, 3, step + 1]).integers(2**62))


def _noise(seed: int, scale: int, step: int, first: int, shape: tuple[int, ...]) -> Floats:
    """Standard normal noise of one band at one step: the same whatever was computed before."""
    return np.random.default_rng([seed, scale, step + 5, first]).standard_normal(shape, dtype=np.float32)


def _in_phase(positions: Ints, keys: Keys, phases: NDArray[np.float64]) -> Ints:
    """Positions moved to the nearest place of the wanted lattice phase."""
    if len(keys.waves) == 0:
        return positions
    error = positions @ keys.waves.T - phases
    error -= np.round(error)
    return np.round(positions - error @ np.linalg.pinv(keys.waves).T).astype(np.int32)


def _inside(positions: Ints, keys: Keys) -> Ints:
    """Positions brought into the exemplar: wrapped, or clamped to the last whole block."""
    placed = []
    for axis in range(2):
        line = positions[..., axis]
        limit = (keys.tokens.shape[axis] - 1) * keys.stride
        placed.append(line % keys.size[axis] if keys.wraps[axis] else np.clip(line, 0, limit))
    return np.ascontiguousarray(np.stack(placed, -1), dtype=np.int32)


def _wanted(mask: NDArray[np.bool_] | None, scale: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Windows of WINDOW x WINDOW tokens of a level of `shape` that hold a texel to be made; mask: as in `expand`."""
    windows = -(-shape[0] // WINDOW), -(-shape[1] // WINDOW)
    if mask is None:
        return np.ones(windows, np.bool_)
    side = WINDOW * scale
    padded = np.zeros((windows[0] * side, windows[1] * side), np.bool_)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(windows[0], side, windows[1], side).any(axis=(1, 3)))


class _Balance:
    """Evens out the use of the exemplar's cells, tones and blocks, from step to step: dual ascent on transport costs.

    potentials: float32 (ceil(H / 8), ceil(W / 8)), squared distance, of the exemplar's blocks. cell: side of a cell,
    texels. area: of the result over the exemplar's.
    """

    def __init__(self, keys: Keys, tokens: int) -> None:
        side = BLOCK * math.sqrt(TOKENS_A_CELL * (keys.size[0] * keys.size[1] / BLOCK**2) / tokens)
        self.cell = int(min(max(BLOCK, side), min(keys.size) // 4))
        self.area = tokens * BLOCK**2 / (keys.size[0] * keys.size[1])
        ys, xs = (np.arange(0, size, BLOCK) for size in keys.size)
        cells = ys[:, None] // self.cell * -(-keys.size[1] // self.cell) + xs // self.cell
        at = [np.minimum(line // keys.stride, n - 1) for line, n in zip((ys, xs), keys.tokens.shape, strict=False)]
        tone = keys.tokens[at[0][:, None], at[1], 0]
        classes = max(2, min(TONES, tokens // TOKENS_A_CELL))
        tones = np.searchsorted(np.quantile(tone, np.arange(1, classes) / classes), tone)
        # a result smaller than the exemplar cannot show all of its cells in whole pieces, but all of its tones
        self._groups = (EVEN * min(1.0, self.area), cells), (TONE, tones)
        self.potentials = np.zeros(cells.shape, np.float32)

    def update(self, positions: Ints, spacing: float) -> None:
        at = tuple((positions.reshape(-1, 2) // BLOCK).T)
        for gain, groups in self._groups:
            wanted = np.maximum(np.bincount(groups.ravel()), 1) / groups.size
            use = np.bincount(groups[at], minlength=len(wanted)) / len(at[0])
            self.potentials -= (gain * spacing * np.log((use / wanted + 0.1) / 1.1)).astype(np.float32)[groups]
        if self.area <= 1:  # there are enough blocks to show each one once
            counts = np.zeros(self.potentials.shape, np.float32)
            np.add.at(counts, at, 1)
            gain = ONCE / max(self.area, MANY_BLOCKS)
            self.potentials -= np.float32(gain * spacing) * np.maximum(counts - 1, 0)
        self.potentials -= self.potentials.mean()


class _Damaged(Exception):
    """What lies on the disk is not what was written."""


def _sum(array: Any, before: int = 0) -> int:
    return int(google_crc32c.extend(before, np.ascontiguousarray(array).tobytes()))


class _State:
    """A level's state on disk: two latents and two position fields in turn, and a journal of the band reached.

    The journal has a CRC-32C of every band that counts. State that does not agree with it is left, and the level begins
    anew: a disk that rots costs time, not the result.
    """

    def __init__(self, work: Path, scale: int, shape: tuple[int, int]) -> None:
        self._folder = work / f"level_{scale}"
        self._shape = shape
        self._journal = self._folder / "journal.json"
        self.step: tuple[int, int] | None = None
        self.counts = 0, 0
        self.finished = False
        self._last = 0
        self._seals: tuple[dict[int, list[int]], dict[int, list[int]]] = {}, {}  # first row: [last, CRC] of each field
        self._potentials = 0
        self._maps: dict[str, np.memmap[Any, Any]] = {}
        if not self._journal.is_file():
            return
        try:
            self._read(json.loads(self._journal.read_text()))
        except (_Damaged, OSError, ValueError, KeyError, TypeError, IndexError) as error:
            _LOG.warning("%s: the checkpoint is damaged (%s); the level is made anew", self._folder, error)
            self._maps.clear()
            shutil.rmtree(self._folder)
            self.step, self.counts, self.finished, self._last, self._seals = None, (0, 0), False, 0, ({}, {})

    def _read(self, journal: dict[str, Any]) -> None:
        self.counts = journal["done"], journal["saved"]
        step, row = self.step = journal["step"], journal["row"]
        self.finished, self._last, self._potentials = journal["finished"], journal["last"], journal["potentials"]
        for known, seals in zip(self._seals, journal["seals"], strict=True):
            known.update({int(first): seal for first, seal in seals.items()})
        if self.finished:
            if _sum(self.read_positions()) != journal["result"]:
                raise _Damaged("its result")
            return
        if _sum(self.potentials(step)) != self._potentials:
            raise _Damaged("its potentials")
        done = [last for last, _ in self._seals[step % 2].values()]
        if max(done, default=0) != self._shape[0]:
            raise _Damaged("a band is missing")
        for field, end in ((step % 2, self._shape[0]), (1 - step % 2, row)):
            for first, (last, seal) in self._seals[field].items():
                if last <= end and self._seal(field, first, last) != seal:
                    raise _Damaged(f"rows {first} to {last}")

    def _map(self, name: str, dtype: type, channels: tuple[int, ...], create: bool = False) -> Any:
        if name not in self._maps:
            path = self._folder / f"{name}.bin"
            shape = (*self._shape, *channels)
            if create:  # reserved at once: a page that finds the disk full kills the process
                with path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(dtype).itemsize)
            self._maps[name] = np.memmap(path, dtype, "r+", shape=shape)
        return np.asarray(self._maps[name])

    def begin(self, positions: Ints, potentials: Floats) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        for i in range(2):
            self._map(f"latent{i}", np.float32, (TOKEN_CHANNELS,), create=True)
            self._map(f"places{i}", np.int32, (2,), create=True)
        self.places(0)[:] = positions
        self.keep_potentials(potentials, 0)

    def latent(self, i: int) -> Any:
        return self._map(f"latent{i}", np.float32, (TOKEN_CHANNELS,))

    def places(self, i: int) -> Any:
        return self._map(f"places{i}", np.int32, (2,))

    def keep(self, i: int, first: int, last: int) -> None:
        """Rows `first` to `last` of field `i` are written. Takes the pages touched so far out of this process's memory;
        the files and the page cache keep them."""
        self._seals[i][first] = [last, self._seal(i, first, last)]
        for mapped in self._maps.values():
            mapped._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]  # numpy has no public name for it

    def _seal(self, i: int, first: int, last: int) -> int:
        return _sum(self.places(i)[first:last], _sum(self.latent(i)[first:last]))

    def keep_potentials(self, potentials: Floats, step: int) -> None:
        np.save(self._folder / f"potentials{step}.npy", potentials)
        self._potentials = _sum(np.asarray(potentials, np.float32))

    def potentials(self, step: int) -> Floats:
        return np.asarray(np.load(self._folder / f"potentials{step}.npy"), np.float32)

    def advance(self, step: int, row: int, counts: tuple[int, int]) -> None:
        self.step, self.counts = (step, row), counts
        self._write()

    def finish(self, last: int) -> None:
        self.finished, self._last = True, last
        self._write(result=_sum(self.places(last)))
        self._maps.clear()
        for name in ("latent0", "latent1", f"places{1 - last}"):
            (self._folder / f"{name}.bin").unlink(missing_ok=True)

    def _write(self, **more: int) -> None:
        step, row = self.step or (0, 0)
        done, saved = self.counts
        journal = {
            "step": step, "row": row, "done": done, "saved": saved, "finished": self.finished, "last": self._last,
            "potentials": self._potentials, "seals": self._seals, **more,
        }  # fmt: skip
        # Renamed into place but not forced to the disk: a killed process loses nothing of what it wrote, and after a
        # power cut the job's key (restyle.py) makes a half-written state start anew.
        temporary = self._journal.with_suffix(".tmp")
        temporary.write_text(json.dumps(journal))
        temporary.replace(self._journal)

    def read_positions(self) -> Ints:
        path = self._folder / f"places{self._last}.bin"
        return np.fromfile(path, np.int32).reshape(*self._shape, 2)
