"""A lead: a picture of the whole result that says what lies where in the layout.

It is somebody else's albedo (`texsynth.sheet`: that of a user's checkpoint), so its colours are matched to the
exemplar's, and it is seen through the exemplar's own block latent, of which it knows the albedo alone. The layout is
denoised from there instead of from pure noise; every texel still is the exemplar's own.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from texsynth.content import LUMINANCE, Content
from texsynth.exemplar import Exemplar, halved
from texsynth.lattice import Lattice
from texsynth.model.latent import BLOCK, BlockPCA, to_tensor

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

ALBEDO = 3  # channels, the first of the stack
MOST_GAIN = 4.0  # of contrast along any direction of colour: more would show the lead's noise
HARMONICS, PHASES = 3, 64  # of each wave of the lattice, and how many phases are tried along it
LONG = 3  # waves with fewer turns over the exemplar have joints of a hundredth of their period
LONG_HARMONICS, LONG_PHASES = 16, 512  # the former shared by two waves, whose harmonics are taken in pairs
# Of the guidance by its tone at the finer levels, where large pieces are cut up and would otherwise be replaced by any
# that fit. Rock, rusted metal and bark at 1024 texels, led by themselves with their quadrants exchanged, blurred and
# faded: the result's albedo at 16 x 16 correlates with the lead's by 0.54, 0.48 and 0.43 without it, by 0.83, 0.82 and
# 0.79 with it, d 0.21 and 0.17 in the mean; with twice as much by 0.92, 0.85 and 0.86, d 0.22.
STRENGTH = 0.3


def sized(picture: Floats, shape: tuple[int, int]) -> Floats:
    """`picture`, float32 (h, w, C), averaged or interpolated to (*shape, C)."""
    how = cv2.INTER_AREA if shape[0] < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, shape[::-1], interpolation=how), np.float32)


def in_colours_of(picture: Floats, model: Floats) -> Floats:
    """`picture`, float32 (h, w, 3), with the mean and the covariance of the colours of `model`, (H, W, 3).

    The linear Monge-Kantorovich map (Pitie and Kokaram 2007).
    """
    wanted, given = (image.reshape(-1, ALBEDO).astype(np.float64) for image in (model, picture))
    moved = (given - given.mean(axis=0)) @ _optimal_map(np.cov(given.T), np.cov(wanted.T)) + wanted.mean(axis=0)
    return np.ascontiguousarray(moved.reshape(picture.shape), dtype=np.float32)


def _optimal_map(given: Doubles, wanted: Doubles) -> Doubles:
    """The symmetric matrix T with T given T = wanted, its factors at most MOST_GAIN times those of all together."""
    largest = np.trace(wanted) / max(np.trace(given), 1e-12)
    values, vectors = np.linalg.eigh(given)
    floor = max(values[-1], 1e-12) / MOST_GAIN**2
    root = np.sqrt(np.maximum(values, floor))
    forth, back = (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
    inner, turned = np.linalg.eigh(forth @ wanted @ forth)
    made = back @ (turned * np.sqrt(np.maximum(inner, 0))) @ turned.T @ back
    factors, axes = np.linalg.eigh(made)
    return np.asarray((axes * np.minimum(factors, MOST_GAIN * np.sqrt(largest))) @ axes.T)


def lead_at(lead: Floats, exemplar: Exemplar, scale: int, shape: tuple[int, int]) -> Floats:
    """`lead`, float32 (h, w, 3), as weighted albedo of the level reduced by `scale`: (8 rows, 8 columns, 3).

    shape: rows and columns of its tokens.
    """
    image = halved(exemplar.weighted, int(math.log2(scale)))
    return in_colours_of(sized(lead, (shape[0] * BLOCK, shape[1] * BLOCK)), image[:, :, :ALBEDO])


def guidance_of(lead: Floats) -> Content:
    """What guides the finer levels: the tone of `lead`, encoded albedo float32 (h, w, 3)."""
    return Content(STRENGTH, np.ascontiguousarray(lead @ LUMINANCE), None)


def tokens_of(lead: Floats, latent: BlockPCA) -> Tensor:
    """The latent (C, h, w) that albedo alone lets expect: `lead` as `lead_at` makes it, (8 h, 8 w, 3).

    Components are normal with the deviation `scale`, so what albedo does not tell stays at its mean of 0; what the
    latent leaves out counts as noise of the smallest component's size.
    """
    known = ALBEDO * BLOCK**2
    blocks = F.unfold(to_tensor(lead)[None], BLOCK, stride=BLOCK)[0] - latent.mean[:known, None]
    basis = latent.basis[:known] * latent.scale
    gram = basis.T @ basis + latent.scale.min() ** 2 * torch.eye(latent.channels)
    tokens: Tensor = torch.linalg.solve(gram, basis.T @ blocks)
    return tokens.reshape(latent.channels, lead.shape[0] // BLOCK, lead.shape[1] // BLOCK)


def origin_of(
    lead: Floats, exemplar: Exemplar, scale: int, own: Lattice, made: Lattice, shift: Floats | None
) -> tuple[float, float]:
    """The offset (y, x), full-size texels, by which the lead shows the exemplar's lattice: lead(p) ~ exemplar(p + it).

    lead: as `lead_at` makes it. own, made: the exemplar's lattice, and as the result has it. shift: as of
    `layout.Frame`. By the phases of both pictures at the lattice's waves and their harmonics (phase correlation).
    """
    long = np.abs(own.waves * exemplar.size).max(axis=1) < LONG
    harmonics = np.where(long, LONG_HARMONICS // len(own.waves), HARMONICS)
    phases = tuple(np.where(long, LONG_PHASES, PHASES).tolist())
    steps = [np.arange(-most, most + 1) for most in harmonics]
    times = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, len(own.waves))
    image = halved(exemplar.weighted, int(math.log2(scale)))[:, :, :ALBEDO]
    there = _spectrum(image, times @ own.waves, scale, None)
    here = _spectrum(lead, times @ made.waves, scale, shift)
    cross = (here * there.conj()).sum(axis=1)
    spectrum = np.zeros(phases, np.complex128)
    spectrum[tuple(times.T)] = cross  # negative harmonics count from the end
    fit = np.fft.fftn(spectrum).real  # at every phase that is tried
    best = np.array(np.unravel_index(int(fit.argmax()), phases)) / phases
    offset = np.linalg.pinv(made.waves) @ best
    return float(offset[0]), float(offset[1])


def _spectrum(image: Floats, waves: Doubles, scale: int, shift: Floats | None) -> NDArray[np.complex128]:
    """Fourier coefficients (n, 3) of float32 (H, W, 3) at `waves` (n, 2), cycles per full-size texel."""
    centred = image - image.mean(axis=(0, 1))
    ys, xs = (np.arange(side) * float(scale) for side in image.shape[:2])
    found = []
    for wave in waves:
        if shift is None:
            rows, columns = np.exp(-2j * np.pi * wave[0] * ys), np.exp(-2j * np.pi * wave[1] * xs)
            found.append(np.einsum("y,yxc,x->c", rows, centred, columns, optimize=True))
            continue
        at = [np.minimum(line.astype(int) // BLOCK, n - 1) for line, n in zip((ys, xs), shift.shape[:2], strict=True)]
        moved = shift[at[0]][:, at[1]]
        turns = (ys[:, None] - moved[:, :, 0]) * wave[0] + (xs[None, :] - moved[:, :, 1]) * wave[1]
        found.append((np.exp(-2j * np.pi * turns)[:, :, None] * centred).sum(axis=(0, 1)))
    return np.asarray(np.array(found) / centred[:, :, 0].size, np.complex128)
