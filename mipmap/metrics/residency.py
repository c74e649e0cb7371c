"""VMO of a set of textures: what they hold of a driver's memory once they are uploaded, or by computation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from mipmap.gl_context import GlContext, GlUnavailable
from mipmap.metrics.gpu_formats import chain_bytes
from mipmap.metrics.memory_counters import counting_display, gl_counter
from mipmap.metrics.memory_watch import MemoryWatch, VideoMemory
from mipmap.metrics.textures import Texture

BAND = 256  # rows that are handed to the driver at a time


def gpu_format(texture: Texture) -> str:
    """The uncompressed format (see `BLOCKS`) that holds the texels as stored: three channels become four, as on GPUs.

    float32 texels become half floats. Raises ValueError for more than four channels.
    """
    if texture.channels > 4:
        raise ValueError(f"a GPU texture has at most four channels, not {texture.channels}")
    depth = {np.dtype(np.uint8): "8", np.dtype(np.uint16): "16", np.dtype(np.float32): "16f"}[texture.texels.dtype]
    return ("r" if texture.channels == 1 else "rgba") + depth


def occupancy(textures: Sequence[Texture], geometry: int = 0) -> VideoMemory:
    """VMO of textures with all their mip levels in `gpu_format`, beside `geometry` bytes.

    Where a GL driver counts its memory (GL_NVX_gpu_memory_info, GL_ATI_meminfo), the textures are uploaded, and the
    number is how far its counter rose, plus the geometry; elsewhere nothing is resident that could be counted, and the
    number is the computed size. `source` says which.
    """
    formats = [gpu_format(texture) for texture in textures]
    computed = geometry + sum(chain_bytes(*texture.size, name) for texture, name in zip(textures, formats, strict=True))
    display = None
    with suppress(GlUnavailable):
        display = counting_display()
    if display is None:
        return VideoMemory(computed, "computed", computed)
    try:
        with MemoryWatch(computed, open_counter=lambda: gl_counter(display)) as watch:
            context = GlContext(display)
            try:
                for texture in textures:
                    upload(texture)
            finally:
                context.close()
    except Exception as error:  # out of video memory, or PyOpenGL's own errors
        return VideoMemory(computed, f"computed, because GL failed ({' '.join(str(error).split())[:120]})", computed)
    found = watch.result
    if found.samples == 0:
        return found
    return VideoMemory(found.bytes + geometry, found.source, computed, found.samples, found.longest_gap)


def upload(texture: Texture) -> Any:
    """Give `texture` with all its mip levels, which the driver makes, to the current GL context; its name there."""
    from OpenGL import GL

    height, width = texture.size
    internal = getattr(GL, f"GL_{gpu_format(texture).upper()}")
    if internal == GL.GL_RGBA8 and texture.encoding == "srgb" and texture.channels == 3:
        internal = GL.GL_SRGB8_ALPHA8
    layout = (GL.GL_RED, GL.GL_RG, GL.GL_RGB, GL.GL_RGBA)[texture.channels - 1]
    kinds = {np.uint8: GL.GL_UNSIGNED_BYTE, np.uint16: GL.GL_UNSIGNED_SHORT, np.float32: GL.GL_FLOAT}
    kind = kinds[texture.texels.dtype.type]
    name = GL.glGenTextures(1)
    GL.glBindTexture(GL.GL_TEXTURE_2D, name)
    GL.glPixelStorei(GL.GL_UNPACK_ALIGNMENT, 1)
    GL.glTexImage2D(GL.GL_TEXTURE_2D, 0, internal, width, height, 0, layout, kind, None)
    for top in range(0, height, BAND):
        band = np.ascontiguousarray(texture.texels[top : top + BAND])
        GL.glTexSubImage2D(GL.GL_TEXTURE_2D, 0, 0, top, width, len(band), layout, kind, band)
    GL.glGenerateMipmap(GL.GL_TEXTURE_2D)
    GL.glFinish()  # memory is taken when the driver gets to it, not when it is asked for
    return name
