"""`Layer`: one exemplar's texture, from its coarsest layout to texels.

layout (latent diffusion) -> expand (x2 until the size is reached) -> cuts between the pieces -> texels of all maps, row
band by row band, with one index. A result is one layer, or two of them blended (`texsynth.blend`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.content import Content
from texsynth.cut import OWN, cut_overlaps
from texsynth.exemplar import Exemplar
from texsynth.expand import PIECE_RADIUS, Steps, expand
from texsynth.fault import fault_point
from texsynth.gather import gather
from texsynth.gather_cut import Cuts, gather_cut
from texsynth.kept import keep_arrays, kept_arrays
from texsynth.layout import Frame, plan_frame, sample_layout
from texsynth.lead import guidance_of
from texsynth.levelling import level
from texsynth.material import CHANNELS, MapKind
from texsynth.model.latent import BLOCK
from texsynth.model.mixed_denoiser import Learned
from texsynth.options import Options
from texsynth.outside import Outside
from texsynth.presets import PRESETS, Preset
from texsynth.profiles import Compute
from texsynth.run import Run
from texsynth.wrap_edge import calm_roll

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

DETAIL_BLUR = 4.0  # texels; what stays of the exemplar at --detail 0
# Shares of a layer's time: where layout and expansion end.
LAYOUT_END, EXPAND_END = 0.25, 0.9


@dataclass(frozen=True)
class Layer:
    """positions: int32 (H / 8, W / 8, 2), where in the exemplar each block of the result begins. cuts: None where the
    pieces cross-fade instead."""

    exemplar: Exemplar
    frame: Frame
    positions: Ints
    cuts: Cuts | None
    steps: Steps

    @property
    def index(self) -> Ints:
        """As `positions`, rolled as the texels are."""
        return self.positions if self.cuts is None else self.cuts.index()


def make_layer(
    exemplar: Exemplar,
    content: Content | None,
    mask: NDArray[np.bool_] | None,
    size: int,
    options: Options,
    compute: Compute,
    work: Path,
    run: Run,
    *,
    torus: tuple[bool, bool],
    shift: Floats | None = None,
    lead: Floats | None = None,
    name: str = "",
    span: tuple[float, float],
    show: Callable[[Exemplar, Frame, Ints, int], None],
    learned: Learned | None = None,
    outside: Outside | None = None,
) -> Layer:
    """Sample, expand and cut; what an interrupted run left in `work` is continued.

    mask: tokens that hold a texel to be made (None: all). size: texels a side, a multiple of 8. torus: directions that
    tile. shift: as of `layout.Frame`. lead, learned, outside: as of `layout.sample_layout`. name: of the layer, before
    its stages' names. span: the fractions of the run that it fills. show(exemplar, frame, positions, scale) is called
    after each level.
    """
    work.mkdir(exist_ok=True)
    preset = PRESETS[options.preset]
    shown = outside.filled() if lead is None and outside is not None else lead
    frame = plan_frame(
        exemplar, (size, size), torus, options.seed, shift, shown, free=content is None and shown is None
    )

    def at(share: float) -> float:
        return span[0] + (span[1] - span[0]) * share

    with run.stage(f"{name}layout", at(0), at(LAYOUT_END)):
        layout = _kept(
            work / "layout.npz",
            lambda: sample_layout(
                exemplar, frame, content, preset, run, compute, lead=lead, learned=learned, outside=outside
            ),
        )
    with run.stage(f"{name}expand", at(LAYOUT_END), at(EXPAND_END)):
        guide = guidance_of(lead) if content is None and lead is not None else content
        positions, steps = expand(
            exemplar, frame, guide, layout, mask, preset, work, run, lambda p, scale: show(exemplar, frame, p, scale)
        )
    layer = Layer(exemplar, frame, positions, None, steps)
    if options.overlap == "hann":
        return layer
    with run.stage(f"{name}cut", at(EXPAND_END), at(1)):
        layer = replace(layer, cuts=_cuts(layer, mask, preset, options.seed, work, run))
        if options.tileable and content is None and mask is None:  # nothing ties the result to its place
            layer = replace(layer, cuts=_cut_open_calmly(layer))
    return layer


def _kept(path: Path, make: Callable[[], tuple[Ints, int]]) -> tuple[Ints, int]:
    """The layout, from the file of an earlier run if it is there."""
    if (kept := kept_arrays(path)) is not None:
        return kept["positions"], int(kept["scale"])
    positions, scale = make()
    keep_arrays(path, positions=positions, scale=scale)
    fault_point("layout")
    return positions, scale


def _cuts(layer: Layer, mask: NDArray[np.bool_] | None, preset: Preset, seed: int, work: Path, run: Run) -> Cuts:
    """Minimum cuts between the pieces, from the file of an earlier run if it is there."""
    exemplar, path = layer.exemplar, work / "cuts.npz"
    if (kept := kept_arrays(path)) is not None:
        labels = kept["labels"]
    else:
        labels = cut_overlaps(
            exemplar.weighted, layer.positions, exemplar.wraps, layer.frame.torus, preset.cut_sweeps, seed,
            radius=PIECE_RADIUS * min(exemplar.size) / BLOCK, wanted=mask, step=run.step,
        )  # fmt: skip
        keep_arrays(path, labels=labels)
        fault_point("cut")
    return Cuts.of(labels, layer.positions, exemplar.size, exemplar.wraps, layer.frame.torus, (0, 0))


def _cut_open_calmly(layer: Layer) -> Cuts:
    """The cuts, rolled so that the wrap edge looks like any other line."""
    assert layer.cuts is not None
    texels, exemplar = Texels(layer, 1.0), layer.exemplar
    roll = calm_roll(
        exemplar.stack, layer.cuts, channels_of(exemplar.maps), wraps=exemplar.wraps, normal=texels.normal,
        levelled=texels.levelled, offsets=texels.offsets,
    )  # fmt: skip
    return replace(layer.cuts, roll=roll)


class Texels:
    """The maps of a layer, gathered from its exemplar.

    detail: how much of the exemplar's own texels returns, 0..1. extra: float32 (h, w, E) of the exemplar that travels
    by the same index, behind the maps' channels.
    """

    def __init__(self, layer: Layer, detail: float, extra: Floats | None = None) -> None:
        self._layer = layer
        maps, stack = layer.exemplar.maps, layer.exemplar.stack
        if detail < 1:
            smooth = np.stack([cv2.GaussianBlur(c, (0, 0), DETAIL_BLUR) for c in np.moveaxis(stack, 2, 0)], axis=2)
            stack = np.ascontiguousarray(smooth + np.float32(detail) * (stack - smooth))
        parts = dict(zip(maps, channels_of(maps), strict=True))
        # first channel of the normal, -1 if there is none
        self.normal = parts[MapKind.NORMAL].start if MapKind.NORMAL in parts else -1
        # channels whose steps at joins are levelled: all but directions and masks
        unlevelled = (MapKind.NORMAL, MapKind.METALNESS, MapKind.OPACITY)
        self.levelled = tuple(c for kind in maps if kind not in unlevelled for c in range(*parts[kind].indices(2**16)))
        self.offsets = self._offsets(stack)
        self._stack = stack if extra is None else np.concatenate([stack, extra], axis=2)

    def rows(self, first: int, last: int) -> Floats:
        """Encoded values float32 (last - first, W, K + E) of those rows of the result."""
        layer = self._layer
        shared: dict[str, Any] = {
            "wraps": layer.exemplar.wraps, "torus": layer.frame.torus, "normal": self.normal, "offsets": self.offsets,
            "levelled": self.levelled,
        }  # fmt: skip
        if layer.cuts is None:
            band = gather(self._stack, layer.positions, (first, last), **shared)
        else:
            band = gather_cut(self._stack, layer.cuts, (first, last), **shared)
        return band[:, : layer.frame.size[1]]

    def _offsets(self, stack: Floats) -> Floats | None:
        """What levels the steps at the joins, see `levelling.level`; None where no map is levelled."""
        if not self.levelled:
            return None
        layer, wraps, torus = self._layer, self._layer.exemplar.wraps, self._layer.frame.torus
        if layer.cuts is not None:
            return level(stack, layer.positions, layer.cuts.labels, layer.cuts.sources, self.levelled, wraps, torus)
        labels = np.full((layer.positions.shape[0] * BLOCK, layer.positions.shape[1] * BLOCK), OWN, np.uint8)
        return level(stack, layer.positions, labels, layer.positions, self.levelled, wraps, torus)


def channels_of(maps: tuple[MapKind, ...]) -> list[slice]:
    """The channels of each map in a stack of `maps`."""
    ends = np.cumsum([CHANNELS[kind] for kind in maps]).tolist()
    return [slice(end - CHANNELS[kind], end) for kind, end in zip(maps, ends, strict=True)]
