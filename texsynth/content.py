"""Content: how an asset's own texture steers a restyle.

Two ways together, both growing with the slider from 0 to 1. Guidance: tokens prefer exemplar places that are as light
or dark, and as steep, as the content there. Carrying over: the content's relief (luminance against its surroundings,
and its normals) is laid over the gathered maps, because an exemplar may simply have no such edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from texsynth.material import MapKind, Material

Floats = NDArray[np.float32]

LARGEST_CONTENT = 2048  # texels a side at which content is kept; finer detail comes from the exemplar
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
FEATURES = 3


@dataclass(frozen=True)
class Content:
    """An asset's texture as guidance. strength: 0..1. tone: float32 (H, W), encoded luminance. slope: float32 (H, W,
    2), tangent-space normal x, y; None where the asset has no normal map.
    """

    strength: float
    tone: Floats
    slope: Floats | None


def prepare_content(material: Material, strength: float) -> Content | None:
    """Content from the asset's maps, or None at strength 0."""
    if strength == 0:
        return None
    kinds = (MapKind.ALBEDO, MapKind.HEIGHT, MapKind.ROUGHNESS)
    source = next((material.maps[k] for k in kinds if k in material.maps), None)
    # without any of these only the normals steer
    tone = np.full(material.size, 0.5, np.float32) if source is None else _bounded(source.encoded())
    tone = tone @ LUMINANCE if tone.ndim == 3 and tone.shape[2] == 3 else tone.reshape(tone.shape[:2])
    slope = None
    if MapKind.NORMAL in material.maps and MapKind.NORMAL not in material.estimated:
        slope = np.ascontiguousarray(_bounded(material.maps[MapKind.NORMAL].encoded())[:, :, :2] * 2 - 1)
    return Content(strength, np.ascontiguousarray(tone, dtype=np.float32), slope)


def with_geometry(own: Content | None, tone: Floats, strength: float) -> Content:
    """Content of the geometry's tone, float32 (H, W) with 0.5 for plain surface (`surface.geometry_guidance`), or of
    both, at the larger size: what the geometry has above or below 0.5 is added to the asset's own tone."""
    if own is None:
        return Content(strength, tone, None)
    height, width = max(own.tone.shape[0], tone.shape[0]), max(own.tone.shape[1], tone.shape[1])
    one, two = (cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in (own.tone, tone))
    return replace(own, tone=np.clip(one + two - 0.5, 0, 1).astype(np.float32))


def _bounded(image: Floats) -> Floats:
    factor = max(image.shape[:2]) / LARGEST_CONTENT
    if factor <= 1:
        return image
    size = max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def guidance_of_content(content: Content, rows: int, columns: int) -> Floats:
    """Features float32 (rows, columns, FEATURES) of a token grid."""
    how = cv2.INTER_AREA if rows < content.tone.shape[0] else cv2.INTER_LINEAR
    return _features(np.asarray(cv2.resize(content.tone, (columns, rows), interpolation=how), np.float32), content)


def guidance_of_exemplar(content: Content, stack: Floats, scale: int, block: int, wraps: tuple[bool, bool]) -> Floats:
    """Features float32 (H / scale, W / scale, FEATURES) of blocks that start at each texel of a level.

    stack: float32 (H, W, K), albedo first, at full size; the level is reduced by `scale`.
    """
    tone = stack[:, :, :3] @ LUMINANCE if stack.shape[2] >= 3 else stack[:, :, 0]
    height, width = stack.shape[0] // scale, stack.shape[1] // scale
    level = cv2.resize(np.ascontiguousarray(tone), (width, height), interpolation=cv2.INTER_AREA)
    after = block - 1
    padded = np.pad(level, ((0, after), (0, 0)), mode="wrap" if wraps[0] else "edge")
    padded = np.pad(padded, ((0, 0), (0, after)), mode="wrap" if wraps[1] else "edge")
    blocks = cv2.blur(padded, (block, block), anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)[:height, :width]
    return _features(np.asarray(blocks, np.float32), content, block)


def _features(tone: Floats, content: Content, spacing: int = 1) -> Floats:
    """Tone by rank (so that any content spans the exemplar's range) and its slope per token, scaled by the strength."""
    ranked = _ranked(tone)
    smooth = cv2.GaussianBlur(ranked, (0, 0), 0.5 * spacing)
    dy = (np.roll(smooth, -spacing, 0) - np.roll(smooth, spacing, 0)) * np.float32(0.5)
    dx = (np.roll(smooth, -spacing, 1) - np.roll(smooth, spacing, 1)) * np.float32(0.5)
    weight = np.float32(8 * content.strength)
    return np.ascontiguousarray(np.stack([ranked, dy, dx], axis=2) * weight, dtype=np.float32)


def _ranked(tone: Floats) -> Floats:
    """Each value's normal score by its rank among all values: mean 0, deviation 1, whatever the distribution."""
    levels = np.clip(tone * 4095, 0, 4095).astype(np.int32)
    counts = np.bincount(levels.ravel(), minlength=4096).astype(np.float64)
    middle = (np.cumsum(counts) - 0.5 * counts) / levels.size
    scores: Floats = ndtri(np.clip(middle, 1e-3, 1 - 1e-3)).astype(np.float32)
    return scores[levels]


class Relief:
    """The content's relief, row band by row band, at the result's size."""

    def __init__(self, content: Content, size: tuple[int, int]) -> None:
        around = cv2.GaussianBlur(content.tone, (0, 0), max(content.tone.shape) / 24, borderType=cv2.BORDER_REFLECT)
        self._detail = no_larger(content.tone - around, size)
        self._slope = None if content.slope is None else no_larger(content.slope, size)
        self._content = content
        self._size = size

    def lay_over(self, stack: Floats, maps: tuple[MapKind, ...], first: int) -> None:
        """Add the relief to `stack`, float32 (rows, W, K), encoded maps of the result from row `first` on, in place.

        Encoded albedo takes the tone's detail times strength^1.5; normals are combined by reoriented normal mapping
        (Barre-Brisebois and Hill 2012) with the content's normal, its x and y times strength.
        """
        strength = self._content.strength
        rows = first, first + stack.shape[0]
        channel = 0
        for kind in maps:
            if kind is MapKind.ALBEDO:
                detail = resized_rows(self._detail[:, :, None], self._size, rows)
                stack[:, :, channel : channel + 3] += np.float32(strength**1.5) * detail
            if kind is MapKind.NORMAL and self._slope is not None:
                base = resized_rows(self._slope, self._size, rows) * np.float32(strength)
                normal = stack[:, :, channel : channel + 3]
                normal[:] = reoriented(base, normal * 2 - 1) * np.float32(0.5) + np.float32(0.5)
            channel += 3 if kind in (MapKind.ALBEDO, MapKind.NORMAL) else 1
        np.clip(stack, 0, 1, out=stack)


def no_larger(image: Floats, size: tuple[int, int]) -> Floats:
    """Averaged down to `size` where it is larger: taking single texels of it would alias."""
    height, width = min(image.shape[0], size[0]), min(image.shape[1], size[1])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def reoriented(base_xy: Floats, detail: Floats) -> Floats:
    """Reoriented normal mapping: unit (H, W, 3) of `detail` (H, W, 3) bent by the normal with x, y = `base_xy`."""
    base_z = np.sqrt(np.maximum(1 - (base_xy**2).sum(axis=2), 0.01))
    t = np.stack([base_xy[:, :, 0], base_xy[:, :, 1], base_z + 1], axis=2)
    u = detail * np.array([-1, -1, 1], np.float32)
    bent = t * ((t * u).sum(axis=2, keepdims=True) / t[:, :, 2:]) - u
    return np.asarray(bent / np.maximum(np.linalg.norm(bent, axis=2, keepdims=True), 1e-6), np.float32)


def resized_rows(image: Floats, size: tuple[int, int], rows: tuple[int, int]) -> Floats:
    """Rows `rows` of `image`, float32 (H, W, C), resized bilinearly to `size`, texel centres at +0.5: (rows, W', C)."""
    sy, sx = image.shape[0] / size[0], image.shape[1] / size[1]
    x = ((np.arange(size[1]) + 0.5) * sx - 0.5).astype(np.float32)
    y = ((np.arange(*rows) + 0.5) * sy - 0.5).astype(np.float32)
    first = max(0, int(np.floor(y[0])) - 1)
    source = image[first : int(np.ceil(y[-1])) + 2]
    grid_x, grid_y = np.meshgrid(x, y - np.float32(first))
    out = cv2.remap(
        np.ascontiguousarray(source), grid_x, grid_y, interpolation=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(out.reshape(rows[1] - rows[0], size[1], image.shape[2]), np.float32)
