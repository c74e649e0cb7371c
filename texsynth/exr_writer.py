"""The EXR writer of mipmap, under its earlier name."""

from mipmap.exr import ExrWriter

__all__ = ["ExrWriter"]
