"""Autocorrelation of textures: regular structure, and repetition that the exemplar itself lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

from mipmap.metrics.images import Image, central, luminance

REGULAR = 0.25  # a main peak above this is regular structure; of 12 real materials tiles, plates and checked cloth have
#                 0.78-0.99, the others at most 0.17; brickwork in courses has 0.25-0.8
PROMINENCE = 0.08  # how far the ground between the centre and a peak must fall below the peak
FINE = 4.0  # sigma in texels of the high-pass for repetition: chance correlation of real materials stays below 0.04
LAG_BAND = 256  # rows of lags that are normalised at a time, so that float64 is never needed for all of them
LARGEST = 2048  # a side; of larger images the central window is looked at


def high_pass(image: ArrayLike, sigma: float) -> Image:
    """Luminance (H, W) minus its local mean, for autocorrelation; edges mirrored.

    The mean is a Gaussian of `sigma` texels; above 8 texels three box filters of the same variance, which cost the
    same for every width.
    """
    values = luminance(image)
    if sigma <= 8:
        return np.asarray(values - ndimage.gaussian_filter(values, sigma, mode="reflect", truncate=3.0), np.float32)
    mean, width = values, 2 * int(np.sqrt(sigma**2 + 0.25)) + 1  # an odd box of width w has the variance (w^2 - 1) / 12
    for _ in range(3):
        mean = ndimage.uniform_filter(mean, width, mode="reflect")
    return np.asarray(values - mean, np.float32)


def autocorrelation(values: NDArray[np.float32], max_lag: tuple[int, int]) -> NDArray[np.float32]:
    """Normalised autocorrelation (2 Y + 1, 2 X + 1) of (H, W) at the lags -Y..Y, -X..X, lag 0 in the middle.

    Without periodic wrap and without bias: each lag is the correlation coefficient of the overlap,
    sum a(p) a(p + l) / sqrt(sum a(p)^2 sum a(p + l)^2), p over the texels for which both lie in the image
    (Padfield, "Masked object registration in the Fourier domain", IEEE TIP 2012, with the mean already removed).
    So lag 0 is 1 and every value lies in -1..1. max_lag (Y, X) must be smaller than (H, W).
    """
    height, width = values.shape
    reach_y, reach_x = max_lag
    if not (0 <= reach_y < height and 0 <= reach_x < width):
        raise ValueError(f"lags up to {max_lag} do not fit an image of {values.shape}")
    shape = [fft.next_fast_len(height + reach_y, real=True), fft.next_fast_len(width + reach_x, real=True)]
    spectrum = fft.rfft2(values, shape)
    products = _lags(fft.irfft2(spectrum * spectrum.conj(), shape), max_lag)
    # Energy of the overlap: a rectangle of the image that the cumulative sum of squares answers at once.
    energy = np.zeros((height + 1, width + 1))
    np.square(values, out=energy[1:, 1:], dtype=np.float64)
    for axis in (0, 1):
        np.cumsum(energy, axis=axis, out=energy)
    dy, dx = np.arange(-reach_y, reach_y + 1)[:, None], np.arange(-reach_x, reach_x + 1)[None, :]
    nothing = 1e-12 * max(float(energy[-1, -1]), 1e-30)
    result = np.empty(products.shape, np.float32)
    for top in range(0, len(dy), LAG_BAND):
        rows = slice(top, top + LAG_BAND)
        here, there = _overlap_energy(energy, dy[rows], dx), _overlap_energy(energy, -dy[rows], -dx)
        scale = np.sqrt(np.maximum(here, 0) * np.maximum(there, 0))
        result[rows] = np.where(scale > nothing, np.clip(products[rows] / np.maximum(scale, nothing), -1, 1), 0)
    return result


@dataclass(frozen=True)
class Regularity:
    """The exemplar's main autocorrelation peak and what became of it in the result.

    lag: (dy, dx) texels of the peak, dy >= 0; (0, 0) if there is none. exemplar, result: its heights (-1..1).
    kept: result over exemplar, 1 if the exemplar has no peak. regular: the exemplar's peak is above REGULAR.
    """

    lag: tuple[int, int]
    exemplar: float
    result: float
    kept: float
    regular: bool


def regularity(result: ArrayLike, exemplar: ArrayLike) -> Regularity:
    """How much of the exemplar's regular structure (bricks, tiles, weave) the result keeps.

    Both images (encoded 0..1, one texel density) are reduced to luminance and freed of blotches (high-pass, sigma =
    the shorter side / 16; joints and threads pass). The main peak is the highest local maximum of the exemplar's
    `autocorrelation`, lags up to a third of the exemplar (it shows three periods) and half of the result, that is
    separated from the centre: on the straight way from lag 0 the autocorrelation falls at least PROMINENCE below it.
    Of peaks within 2 % of the highest the one with the shortest lag is taken. The result's height is its largest
    autocorrelation within 2 texels or 2 % of that lag, so another period or courses that bend and break off lose it.
    Images above LARGEST: their central window.
    """
    source, made = central(luminance(exemplar), LARGEST), central(luminance(result), LARGEST)
    sigma = min(*source.shape, *made.shape) / 16
    reach = (min(source.shape[0] // 3, made.shape[0] // 2), min(source.shape[1] // 3, made.shape[1] // 2))
    lag, height = main_peak(autocorrelation(high_pass(source, sigma), reach))
    if lag == (0, 0):
        return Regularity(lag, 0.0, 0.0, 1.0, False)
    found = _near(autocorrelation(high_pass(made, sigma), reach), lag)
    return Regularity(lag, height, found, found / height, height > REGULAR)


@dataclass(frozen=True)
class Repetition:
    """The strongest peak of the result that the exemplar lacks.

    excess: its autocorrelation minus what the exemplar has there, at least 0. lag: where (dy, dx), texels.
    height: its autocorrelation.
    """

    excess: float
    lag: tuple[int, int]
    height: float


def repetition(result: ArrayLike, exemplar: ArrayLike) -> Repetition:
    """The strongest repetition in the result that the exemplar itself lacks; excess 0 is best, near 1 a plain repeat.

    Autocorrelation R of the result and E of the exemplar after a fine high-pass (sigma = FINE texels), which a copy
    of the same texels survives and two stones of one shape do not. If the exemplar is regular, both images are first
    replaced by their difference over one main period, so that the lattice cancels and each brick's own face is left.
    From each R(lag), lags up to half of the result but longer than a sixteenth of the exemplar's shorter side, is
    taken what the exemplar explains: the maximum of E near that lag (4 texels or 2 % of the reach) where the exemplar
    is large enough to know it; beyond that its main peak and the maximum of E at the longer half of its lags; and
    nowhere less than its main peak if it is still regular.

    The exemplar simply tiled scores 0.8 to 1 on natural materials and 0.4 on nearly identical tiles; other parts of
    one material score below 0.1 unless their maker cloned them. Copies scattered over many lags do not add up to a
    peak (`evenness` sees those). Both images of one texel density, encoded 0..1, sides of at least 32. Of a result
    above 3 x the exemplar (and above LARGEST) the central window.
    """
    source = high_pass(central(luminance(exemplar), LARGEST), FINE)
    made = high_pass(central(luminance(result), max(LARGEST, 3 * max(source.shape))), FINE)
    lag, height = main_peak(autocorrelation(source, (source.shape[0] // 3, source.shape[1] // 3)))
    if height > REGULAR and 2 * max(lag[0], abs(lag[1])) < min(made.shape):
        source, made = _difference(source, lag), _difference(made, lag)
    known, found = _half_reach(source), _half_reach(made)
    excess = found - _explained(known, (found.shape[0] // 2, found.shape[1] // 2))
    dy, dx = _lag_grid(excess)
    excess[np.hypot(dy, dx) <= min(source.shape) / 16] = -1
    y, x = np.unravel_index(int(excess.argmax()), excess.shape)
    worst = (int(dy[y, 0]), int(dx[0, x]))
    worst = worst if worst > (0, 0) else (-worst[0], -worst[1])
    return Repetition(max(0.0, float(excess[y, x])), worst, float(found[y, x]))


def _half_reach(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return autocorrelation(values, (values.shape[0] // 2, values.shape[1] // 2))


def _difference(values: NDArray[np.float32], lag: tuple[int, int]) -> NDArray[np.float32]:
    """values(p + lag) - values(p) where both lie in the image; lag (dy >= 0, dx)."""
    dy, dx = lag
    height, width = values.shape
    here = values[: height - dy, max(0, -dx) : width - max(0, dx)]
    there = values[dy:, max(0, dx) : width - max(0, -dx)]
    return there - here


def _explained(known: NDArray[np.float32], reach: tuple[int, int]) -> NDArray[np.float32]:
    """What an exemplar with autocorrelation `known` explains at the lags -reach..reach (see `repetition`)."""
    peak = main_peak(known)[1]
    dy, dx = _lag_grid(known)
    long = np.maximum(np.abs(dy) / (known.shape[0] // 2), np.abs(dx) / (known.shape[1] // 2)) >= 0.5
    beyond = max(peak, float(known[long].max(initial=0.0)))
    radius = max(4, round(0.02 * max(known.shape) / 2))
    near = np.maximum(ndimage.maximum_filter(known, 2 * radius + 1, mode="nearest"), peak if peak > REGULAR else 0)
    explained = np.full((2 * reach[0] + 1, 2 * reach[1] + 1), beyond, np.float32)
    y, x = min(reach[0], known.shape[0] // 2), min(reach[1], known.shape[1] // 2)
    cut_y, cut_x = known.shape[0] // 2 - y, known.shape[1] // 2 - x
    explained[reach[0] - y : reach[0] + y + 1, reach[1] - x : reach[1] + x + 1] = near[
        cut_y : cut_y + 2 * y + 1, cut_x : cut_x + 2 * x + 1
    ]
    return explained


def main_peak(correlation: NDArray[np.float32]) -> tuple[tuple[int, int], float]:
    """Lag (dy, dx), dy >= 0, and height of the main peak outside the central lobe; ((0, 0), 0) if there is none.

    Main is the shortest lag among the peaks of at least 0.98 of the highest one. See `regularity` for what a peak is.
    """
    reach_y, reach_x = correlation.shape[0] // 2, correlation.shape[1] // 2
    half = correlation[reach_y:]
    top = ndimage.maximum_filter(half, 5, mode="nearest")
    y, x = np.nonzero((half == top) & (half > PROMINENCE))
    inside = (y < reach_y) & (np.abs(x - reach_x) < reach_x) & (np.maximum(y, np.abs(x - reach_x)) >= 3)
    y, x = y[inside], x[inside]
    order = np.argsort(-half[y, x], kind="stable")[:500]
    peaks = [(int(y[i]), int(x[i]) - reach_x) for i in order]
    peaks = [lag for lag in peaks if _stands_alone(half, lag)]
    if not peaks:
        return (0, 0), 0.0
    highest = float(half[peaks[0][0], peaks[0][1] + reach_x])
    main = min(
        (lag for lag in peaks if half[lag[0], lag[1] + reach_x] >= 0.98 * highest),
        key=lambda lag: float(np.hypot(*lag)),
    )
    return main, float(half[main[0], main[1] + reach_x])


def _stands_alone(half: NDArray[np.float32], lag: tuple[int, int]) -> bool:
    """Whether the ground on the straight way from lag 0 falls PROMINENCE below the peak at `lag` (rows dy >= 0)."""
    reach_x = half.shape[1] // 2
    way = np.linspace(0, 1, 2 * max(lag[0], abs(lag[1])) + 1)
    ground = ndimage.map_coordinates(half, [way * lag[0], way * lag[1] + reach_x], order=1, mode="nearest")
    return bool(half[lag[0], lag[1] + reach_x] - ground.min() >= PROMINENCE)


def _near(correlation: NDArray[np.float32], lag: tuple[int, int]) -> float:
    """The largest autocorrelation within 2 texels or 2 % of `lag`."""
    reach_y, reach_x = correlation.shape[0] // 2, correlation.shape[1] // 2
    radius = max(2, round(0.02 * float(np.hypot(*lag))))
    y, x = lag[0] + reach_y, lag[1] + reach_x
    return float(correlation[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1].max())


def _lags(circular: NDArray[np.float32], max_lag: tuple[int, int]) -> NDArray[np.float32]:
    rows = np.arange(-max_lag[0], max_lag[0] + 1) % circular.shape[0]
    columns = np.arange(-max_lag[1], max_lag[1] + 1) % circular.shape[1]
    return circular[np.ix_(rows, columns)]


def _lag_grid(correlation: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The lags dy (2 Y + 1, 1) and dx (1, 2 X + 1) of an autocorrelation."""
    height, width = correlation.shape
    return np.arange(height)[:, None] - height // 2, np.arange(width)[None, :] - width // 2


def _overlap_energy(table: NDArray[np.float64], dy: NDArray[np.intp], dx: NDArray[np.intp]) -> NDArray[np.float64]:
    """Sum of squares over the texels p of the image for which p + (dy, dx) lies in it too, from the summed table."""
    height, width = table.shape[0] - 1, table.shape[1] - 1
    rows = (np.maximum(-dy, 0).ravel(), np.minimum(height - dy, height).ravel())
    left, right = np.maximum(-dx, 0).ravel(), np.minimum(width - dx, width).ravel()
    strips = table[rows[1]] - table[rows[0]]
    return np.asarray(strips[:, right] - strips[:, left])
