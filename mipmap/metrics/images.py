"""The small image operations that several metrics share. Images are float arrays (H, W, C) or (H, W), values 0..1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Image = NDArray[np.float32]

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)  # ITU-R BT.709


def as_image(values: ArrayLike) -> Image:
    """(H, W) or (H, W, C) of any real type to float32 (H, W, C), values unchanged. ValueError for any other shape."""
    image = np.asarray(values, np.float32)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"an image has the shape (H, W) or (H, W, C), not {np.shape(values)}")
    return image


def same_size(a: Image, b: Image) -> None:
    """ValueError naming both shapes unless `a` and `b` have the same (H, W, C)."""
    if a.shape != b.shape:
        raise ValueError(f"the images differ in size or channels: {a.shape} against {b.shape}")


def luminance(image: ArrayLike) -> Image:
    """(H, W, C) to (H, W): BT.709 weights on encoded values for three channels, the mean of the channels otherwise."""
    pixels = as_image(image)
    if pixels.shape[2] == 3:
        return np.asarray(pixels @ LUMA, np.float32)
    return np.asarray(pixels.mean(2), np.float32)


def halve(image: ArrayLike) -> Image:
    """Half the size by the area mean of 2 x 2 texels; an odd last row or column is left out."""
    pixels = as_image(image)
    height, width, channels = pixels.shape
    cut = pixels[: height // 2 * 2, : width // 2 * 2]
    blocks = cut.reshape(height // 2, 2, width // 2, 2, channels)
    return np.asarray(0.25 * (blocks[:, 0, :, 0] + blocks[:, 0, :, 1] + blocks[:, 1, :, 0] + blocks[:, 1, :, 1]))


def deviation(image: ArrayLike) -> float:
    """Standard deviation of the texels about the mean colour: root of the channels' mean variance."""
    channels = np.moveaxis(as_image(image), 2, 0)  # one at a time: float64 for all of them is much for large images
    return float(np.sqrt(np.mean([channel.var(dtype=np.float64) for channel in channels])))


def central(image: Image, side: int) -> Image:
    """The central window of at most `side` x `side` texels of an (H, W, ...) array: bounds the cost of a metric."""
    top, left = max(0, (image.shape[0] - side) // 2), max(0, (image.shape[1] - side) // 2)
    return image[top : top + side, left : left + side]


def spread_windows(image: Image, side: int, count: int) -> list[Image]:
    """`count` x `count` windows of `side` texels, evenly spread from corner to corner: a sample of a large image.

    An image of at most (count x side)^2 texels is returned whole, as the only window.
    """
    height, width = image.shape[:2]
    if height * width <= (count * side) ** 2 or min(height, width) < side:
        return [image]
    tops = np.linspace(0, height - side, count).astype(int)
    lefts = np.linspace(0, width - side, count).astype(int)
    return [image[y : y + side, x : x + side] for y in tops for x in lefts]
