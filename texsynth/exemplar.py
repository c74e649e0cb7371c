"""`Exemplar`: the stack of an exemplar's maps as synthesis sees it, its pyramid, its edges and its lattice.

All maps travel as one stack of channels in encoded values (albedo sRGB, normal x and y as (n + 1) / 2, scalars 0..1),
so
that they cannot drift apart. A weighted copy of the stack is what distances are measured in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from texsynth.errors import bad_input
from texsynth.lattice import Lattice, find_lattice
from texsynth.material import CHANNELS, MapKind, Material
from texsynth.wraps import goes_on

Floats = NDArray[np.float32]

# How much a map counts in distances beside albedo, after each is brought to unit deviation.
MAP_WEIGHT = {
    MapKind.ALBEDO: 1.0,
    MapKind.NORMAL: 0.6,
    MapKind.ROUGHNESS: 0.4,
    MapKind.METALNESS: 0.3,
    MapKind.HEIGHT: 0.4,
    MapKind.OPACITY: 0.4,
}
# A map flatter than this (encoded deviation) is not blown up to full weight: its noise would outvote structure.
FLAT = 0.02
SMALLEST_SIDE = 64
# The coarsest level still shows this many exemplar texels a side: 15 tokens, against patches of 3.
COARSEST_SIDE = 120


@dataclass(frozen=True)
class Exemplar:
    """What synthesis knows of an exemplar.

    maps: which maps the stack holds, in the order of its channels. stack: float32 (H, W, K), encoded values, all
    channels of every map (normals keep three). weighted: float32 (H, W, K'), normals as x and y, each channel scaled so
    that squared distances weigh the maps as MAP_WEIGHT says. wraps: whether rows, columns continue across the edge.
    """

    maps: tuple[MapKind, ...]
    stack: Floats
    weighted: Floats
    wraps: tuple[bool, bool]
    lattice: Lattice

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in texels."""
        return self.stack.shape[0], self.stack.shape[1]


def prepare_exemplar(material: Material, maps: Sequence[MapKind], density: float = 1.0) -> Exemplar:
    """The exemplar's stack at `density` exemplar texels per output texel (1 keeps every texel as it is).

    Raises TexsynthError(BAD_INPUT) for an exemplar with fewer than 64 texels a side or without any of the maps.
    """
    kinds = tuple(kind for kind in MapKind if kind in maps and kind in material.maps)  # albedo, which guides, first
    if not kinds:
        raise bad_input(
            material.name, f"the exemplar has no {', '.join(maps)}", f"ask for some of {', '.join(material.maps)}"
        )
    stack = np.concatenate([material.maps[kind].encoded() for kind in kinds], axis=2)
    height, width = stack.shape[:2]
    if density != 1.0:
        target = max(1, round(width / density)), max(1, round(height / density))
        how = cv2.INTER_AREA if density > 1 else cv2.INTER_CUBIC
        # channel by channel: OpenCV resizes at most four together by area
        resized = [cv2.resize(channel, target, interpolation=how) for channel in np.moveaxis(stack, 2, 0)]
        stack = np.clip(np.stack(resized, axis=2), 0, 1)
        height, width = stack.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise bad_input(
            material.name,
            f"the exemplar has {width} x {height} texels at this density",
            f"give one with at least {SMALLEST_SIDE} a side",
        )
    return build_exemplar(stack, kinds)


def build_exemplar(stack: Floats, kinds: tuple[MapKind, ...]) -> Exemplar:
    """An `Exemplar` from a stack of encoded channels, float32 (H, W, K), that holds `kinds` in this order."""
    weighted = _weighted(stack, kinds)
    wraps = goes_on(weighted)
    return Exemplar(kinds, np.ascontiguousarray(stack), weighted, wraps, find_lattice(weighted, wraps))


def _weighted(stack: Floats, kinds: tuple[MapKind, ...]) -> Floats:
    parts = []
    first = 0
    for kind in kinds:
        channels = CHANNELS[kind]
        values = stack[:, :, first : first + (2 if kind is MapKind.NORMAL else channels)]
        deviation = float(np.sqrt(values.var(axis=(0, 1)).sum()))
        parts.append(values * np.float32(MAP_WEIGHT[kind] / max(deviation, FLAT)))
        first += channels
    return np.ascontiguousarray(np.concatenate(parts, axis=2), dtype=np.float32)


def coarsest_scale(exemplar: Exemplar) -> int:
    """The largest power of two by which the exemplar may be reduced for its layout."""
    scale = 1
    while min(exemplar.size) // (2 * scale) >= COARSEST_SIDE:
        scale *= 2
    return scale


def halved(image: Floats, times: int) -> Floats:
    """Area-average float32 (H, W, K) by 2 in each direction, `times` times; a last odd row or column is dropped."""
    for _ in range(times):
        height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
        cut = image[:height, :width]
        image = (cut[0::2, 0::2] + cut[1::2, 0::2] + cut[0::2, 1::2] + cut[1::2, 1::2]) * np.float32(0.25)
    return np.ascontiguousarray(image)
