"""Normal, roughness and height of a material that has only a photo: a simple, bounded guess, flagged as such.

Height: dark is deep. The logarithm of luminance is split into octaves (a Laplacian pyramid, 6 levels, so tints wider
than about 64 texels are no height) and summed again with octave k weighted by 2^(0.75 k): luminance shows the slope of
wide shapes weakly. Over 196 published materials with a normal map this height's gradient correlates with the true
slopes by 0.4 in the median (0.34 unweighted); for a quarter of them by less than 0.1. It is a guess.

Normal: the gradient of that height (OpenGL), scaled to a mean slope of 0.08 (4.6 degrees). The median of those
materials has 0.19, but this much of a guess that is often wrong is 23 % further from the truth than a flat normal;
0.08 is as near to it as that, 0.04 would be 3 % nearer. Luminance predicts their slope hardly at all (correlation of
logarithms 0.26). A photo that is almost uniform gets proportionally less, so that sensor noise does not become relief.

A height whose normal is given is not guessed: it is the surface whose gradient is nearest to the normal's slopes
(R. Frankot and R. Chellappa 1988), in Fourier or cosine series; wavelengths beyond about 512 texels fade, for there
the errors of the slopes add up.

Roughness: 0.6 minus 0.05 per deviation of the same detail, kept in 0.4..0.9. The mean of 71 published roughness maps
is 0.56 in the median, their deviation 0.04, their correlation with luminance -0.08: it says next to nothing there.

All of it is periodic along an axis where the photo is.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import fft

from texsynth.errors import bad_input
from texsynth.material import BAND, Float32, MapKind, Material, TextureMap, encode_linear, unit_normals
from texsynth.pyramid import enlarged, halved

OCTAVES = 6
OCTAVE_WEIGHT = 2**0.75
# Mean slope of a normal from luminance, and of one from a height map, whose unit nobody knows.
ESTIMATED_SLOPE, MEAN_SLOPE = 0.08, 0.19
# Wavelength in texels at which an integrated height has lost half of its amplitude, and the steepest slope in it.
WIDEST, STEEPEST = 512, 4.0
# Deviation of the logarithm of luminance below which a photo counts as almost uniform.
FULL_CONTRAST = 0.05
ROUGHNESS, ROUGHNESS_PER_DEVIATION = 0.6, 0.05
# Luminance below this (linear light) is noise: without a floor its logarithm would dominate.
DARKEST = 0.02


def with_estimates(material: Material, wanted: frozenset[MapKind]) -> Material:
    """See `texsynth.material.estimate_missing`.

    A normal is taken from the material's own height map where it has one.
    Memory: about 15 bytes a texel beyond the material.
    """
    kinds = [
        kind for kind in (MapKind.NORMAL, MapKind.ROUGHNESS, MapKind.HEIGHT) if kind in wanted - set(material.maps)
    ]
    if not kinds:
        return material
    if MapKind.ALBEDO not in material.maps:
        raise bad_input(
            material.name,
            f"has no albedo to estimate {' and '.join(kinds)} from",
            "give a photo or those maps, or ask for others (--maps)",
        )
    light = log_luminance(material.maps[MapKind.ALBEDO])
    wrap = wraps(light)
    height, detail = split_octaves(light, wrap)
    deviation = float(detail.std())
    height *= np.float32(ESTIMATED_SLOPE * min(1.0, deviation / FULL_CONTRAST) / max(mean_slope(height, wrap), 1e-9))
    maps, notes = dict(material.maps), list(material.notes)
    for kind in kinds:
        if kind is MapKind.NORMAL:
            source = "luminance"
            if MapKind.HEIGHT in material.maps:
                source = "the height map"
                given = material.maps[MapKind.HEIGHT].linear()[..., 0]
                height = given * np.float32(MEAN_SLOPE / max(mean_slope(given, wrap), 1e-9))
            maps[kind] = normal_from_height(height, wrap)
            notes.append(
                f"{material.name}: normal was estimated from {source}, mean slope {mean_slope(height, wrap):.2f}"
            )
        elif kind is MapKind.ROUGHNESS:
            rough = ROUGHNESS - ROUGHNESS_PER_DEVIATION * detail / np.float32(max(deviation, FULL_CONTRAST))
            maps[kind] = TextureMap.from_linear(kind, np.clip(rough, 0.4, 0.9)[..., None])
            notes.append(f"{material.name}: roughness was estimated ({ROUGHNESS} on average)")
        else:
            source = "luminance"
            if MapKind.NORMAL in material.maps:
                source, height = "the normal map", integrated(slopes_of(material.maps[MapKind.NORMAL]), wrap)
            low, high = float(height.min()), float(height.max())
            scaled = (height - np.float32(low)) / np.float32(max(high - low, 1e-9))
            maps[kind] = TextureMap.from_linear(kind, scaled[..., None], np.uint16)
            notes.append(f"{material.name}: height was estimated from {source}; 0..1 spans {high - low:.1f} texels")
    return replace(material, maps=maps, estimated=material.estimated | set(kinds), notes=tuple(notes))


def log_luminance(albedo: TextureMap) -> Float32:
    """(H, W): natural logarithm of Rec. 709 luminance in linear light, with a floor of 0.02."""
    out = np.empty(albedo.size, np.float32)
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32)
    for start in range(0, len(out), BAND):
        out[start : start + BAND] = np.log(albedo.linear(slice(start, start + BAND)) @ weights + np.float32(DARKEST))
    return out


def wraps(image: Float32) -> tuple[bool, bool]:
    """Does (H, W) continue from the last row to the first, from the last column to the first?

    Yes where the step across the edge is at most 1.15 times the 99th percentile of the steps between neighbouring rows
    (columns): then, even if wrong, it is not conspicuous among the texture's own edges. (A mean would refuse tiles
    whose edge is a joint.)
    """
    steps_down = [float(np.abs(a - b).mean()) for a, b in pairwise(image)]
    across = np.zeros(max(0, image.shape[1] - 1), np.float64)
    for start in range(0, len(image), BAND):
        across += np.abs(np.diff(image[start : start + BAND], axis=1)).sum(axis=0, dtype=np.float64)
    edge_down = float(np.abs(image[0] - image[-1]).mean())
    edge_across = float(np.abs(image[:, 0] - image[:, -1]).mean())
    return (
        len(steps_down) > 1 and edge_down <= 1.15 * float(np.quantile(steps_down, 0.99)),
        len(across) > 1 and edge_across <= 1.15 * float(np.quantile(across / len(image), 0.99)),
    )


def split_octaves(light: Float32, wrap: tuple[bool, bool]) -> tuple[Float32, Float32]:
    """(H, W) to its weighted octaves (the height, unscaled) and its unweighted ones (the detail), both without what is
    wider than 2^OCTAVES texels."""
    if min(light.shape) < 2:
        return np.zeros_like(light), np.zeros_like(light)
    levels = [light]
    while len(levels) <= OCTAVES and min(levels[-1].shape) >= 8:
        levels.append(halved(levels[-1], wrap))
    low = levels.pop() if len(levels) > 1 else np.full_like(light, light.mean())
    height = np.zeros_like(low)
    # Coarse to fine: what a level holds beyond the one below it is its octave.
    for octave in range(len(levels) - 1, -1, -1):
        level = levels[octave]
        height = enlarged(height, level.shape, wrap)
        height += np.float32(OCTAVE_WEIGHT**octave) * (level - enlarged(_below(levels, octave, low), level.shape, wrap))
    for level in levels[::-1]:
        low = enlarged(low, level.shape, wrap)
    return height, light - low


def _below(levels: list[Float32], octave: int, low: Float32) -> Float32:
    return levels[octave + 1] if octave + 1 < len(levels) else low


def _slopes(height: Float32, rows: slice, wrap: tuple[bool, bool]) -> tuple[Float32, Float32]:
    """Central differences of `rows` to the right and downwards, in height per texel; one-sided at an open edge."""
    count, width = height.shape
    y, x = np.arange(*rows.indices(count)), np.arange(width)
    above, below = (y - 1) % count, (y + 1) % count
    before, after = (x - 1) % width, (x + 1) % width
    if not wrap[0]:
        above, below = np.maximum(y - 1, 0), np.minimum(y + 1, count - 1)
    if not wrap[1]:
        before, after = np.maximum(x - 1, 0), np.minimum(x + 1, width - 1)
    down = np.float32(1) / np.maximum((below - above) % max(count, 1), 1).astype(np.float32)
    right = np.float32(1) / np.maximum((after - before) % max(width, 1), 1).astype(np.float32)
    band = height[rows]
    return (band[:, after] - band[:, before]) * right, (height[below] - height[above]) * down[:, None]


def mean_slope(height: Float32, wrap: tuple[bool, bool]) -> float:
    """Mean over all texels of the length of the gradient."""
    total = 0.0
    for start in range(0, len(height), BAND):
        right, down = _slopes(height, slice(start, start + BAND), wrap)
        total += float(np.hypot(right, down).sum(dtype=np.float64))
    return total / height.size


def normal_from_height(height: Float32, wrap: tuple[bool, bool]) -> TextureMap:
    """OpenGL normals, uint8, of a height in texels: normalise(-dh/dx, -dh/dy, 1) with y upwards."""
    out = np.empty((*height.shape, 3), np.uint8)
    for start in range(0, len(height), BAND):
        right, down = _slopes(height, slice(start, start + BAND), wrap)
        vectors = unit_normals(np.stack([-right, down, np.ones_like(right)], axis=-1))
        out[start : start + BAND] = encode_linear(MapKind.NORMAL, vectors, out.dtype)
    return TextureMap(MapKind.NORMAL, out)


def slopes_of(normal: TextureMap) -> Float32:
    """(H, W, 2): n_x / n_z and n_y / n_z, at most STEEPEST."""
    out = np.empty((*normal.size, 2), np.float32)
    for start in range(0, len(out), BAND):
        vectors = normal.linear(slice(start, start + BAND))
        slopes = vectors[..., :2] / np.maximum(vectors[..., 2:], np.float32(1e-3))
        out[start : start + BAND] = np.clip(slopes, -STEEPEST, STEEPEST)
    return out


def integrated(slopes: Float32, wrap: tuple[bool, bool]) -> Float32:
    """Height (H, W) in texels, mean 0, of slopes (H, W, 2): n_x / n_z and n_y / n_z of an OpenGL normal.

    The least-squares solution of dh/dx = -n_x/n_z, dh/dy (downwards) = n_y/n_z. Where both axes wrap in a Fourier
    series; else in cosines, whose derivative vanishes at the edges.
    """
    height, width = slopes.shape[:2]
    lowest = np.float32(2 * np.pi / WIDEST)
    if all(wrap):
        down = 2 * np.pi * fft.fftfreq(height).astype(np.float32)[:, None]
        across = 2 * np.pi * fft.rfftfreq(width).astype(np.float32)[None]
        spectrum = 1j * down * fft.rfft2(slopes[..., 1], workers=-1)
        spectrum -= 1j * across * fft.rfft2(slopes[..., 0], workers=-1)
        # h^ = conj(i w) . g^ / |w|^2, and conj(i w) = -i w
        spectrum /= -(down**2 + across**2 + lowest**2)
        return np.asarray(fft.irfft2(spectrum, s=(height, width), workers=-1), np.float32)
    down = (np.pi * np.arange(height, dtype=np.float32) / np.float32(height))[:, None]
    across = (np.pi * np.arange(width, dtype=np.float32) / np.float32(width))[None]
    # d/dx of a cosine series is a series of sines, times minus the frequency
    spectrum = -across * _sines(-slopes[..., 0], 1) - down * _sines(slopes[..., 1], 0)
    spectrum /= down**2 + across**2 + lowest**2
    return np.asarray(fft.idctn(spectrum, type=2, norm="ortho", workers=-1), np.float32)


def _sines(values: Float32, axis: int) -> Float32:
    """Coefficients of (H, W): of sines along `axis`, of cosines along the other, those of frequency 0 first (0)."""
    cosines = fft.dct(values, type=2, norm="ortho", axis=1 - axis, workers=-1)
    sines = fft.dst(cosines, type=2, norm="ortho", axis=axis, workers=-1)
    out = np.zeros_like(sines)
    # the sine of frequency k stands at k - 1
    if axis == 0:
        out[1:] = sines[:-1]
    else:
        out[:, 1:] = sines[:, :-1]
    return np.asarray(out, np.float32)
