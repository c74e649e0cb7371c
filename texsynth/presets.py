"""Presets: how much work goes into a result. Values in one place; everything else derives from them."""

from __future__ import annotations

from dataclasses import dataclass

from texsynth.options import PresetName


@dataclass(frozen=True)
class FineLevel:
    """Steps, first noise level and largest tried shift (texels of the level) at one fine level."""

    steps: int
    noise: float
    jitter: int


@dataclass(frozen=True)
class Preset:
    """base_steps: denoising steps of the coarsest level. fine: the levels from the finest (full size) to coarser ones;
    the last one serves all that are coarser still. settle_steps: sparse steps that end the coarsest level. cut_sweeps:
    of the minimum cuts, by side of a cell in texels. sheet_steps: of a user's checkpoint at each noise level. keys:
    places of the exemplar that expected detail is the mean of.
    """

    base_steps: int
    fine: tuple[FineLevel, ...]
    settle_steps: int
    cut_sweeps: dict[int, int]
    sheet_steps: int
    keys: int


_NOISE = ((0.4, 2), (0.6, 3), (0.8, 3), (1.0, 3))  # (first noise level, jitter) from the finest level to coarser ones


def _preset(
    base_steps: int, fine_steps: tuple[int, ...], settle_steps: int, cuts: tuple[int, ...], sheet_steps: int, keys: int
) -> Preset:
    fine = tuple(FineLevel(n, noise, jitter) for n, (noise, jitter) in zip(fine_steps, _NOISE, strict=True))
    return Preset(base_steps, fine, settle_steps, dict(zip((8, 4, 2, 1), cuts, strict=True)), sheet_steps, keys)


PRESETS: dict[PresetName, Preset] = {
    "draft": _preset(18, (3, 4, 6, 6), 5, (16, 8, 6, 4), 3, 2**13),
    "standard": _preset(30, (5, 6, 8, 8), 6, (64, 16, 8, 6), 6, 2**15),
    "high": _preset(60, (8, 10, 12, 12), 8, (128, 48, 16, 12), 12, 2**16),
}
