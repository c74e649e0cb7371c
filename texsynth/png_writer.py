"""The PNG writer of mipmap, under its earlier name."""

from mipmap.png import COLOUR_TYPE, FILTER_UP, SIGNATURE, PngWriter

__all__ = ["COLOUR_TYPE", "FILTER_UP", "SIGNATURE", "PngWriter"]
