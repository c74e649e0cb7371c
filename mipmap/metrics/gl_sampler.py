"""Views of a texture filtered by a GL driver, and the test that tells whether the driver really filters.

A driver may report 16x anisotropy and not do it (Mesa's software rasteriser does two probes whatever is asked for),
so `mipmap.metrics.gl_trial` compares what it draws with the exact footprint before any number comes from it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.gl_context import GlContext, GlUnavailable
from mipmap.gl_program import linked_program
from mipmap.metrics.images import Image
from mipmap.metrics.oblique import ANISOTROPY, View
from mipmap.metrics.textures import Texture

TILE_ROWS, TILE_COLUMNS = 64, 256  # screen pixels drawn at a time, so that the window of texels behind them stays small
ALIGNED = 32  # windows start at multiples of it, so that their mip levels are made of the same texels everywhere
TEXTURE_MAX_ANISOTROPY, MAX_TEXTURE_MAX_ANISOTROPY = 0x84FE, 0x84FF

VERTEX = """#version 330 core
void main() {
    vec2 corner = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2);
    gl_Position = vec4(2.0 * corner - 1.0, 0.0, 1.0);
}
"""
# The affine map keeps its derivatives constant, so the driver sees exactly one footprint for all pixels.
FRAGMENT = """#version 330 core
uniform sampler2D texels;
uniform vec2 first, across, down;
out vec4 colour;
void main() {
    vec2 pixel = gl_FragCoord.xy - 0.5;
    colour = texture(texels, first + pixel.x * across + pixel.y * down);
}
"""


class GlSampler:
    """A `Sampler` that lets a GL driver filter: mip chain, trilinear, anisotropy as the view says.

    Belongs to the thread that made it; use it as a context manager. Raises GlUnavailable without a usable context.
    """

    def __init__(self, display: Any) -> None:
        self._context = GlContext(display)
        try:
            from OpenGL import GL

            self._gl = GL
            self._most = float(GL.glGetFloatv(MAX_TEXTURE_MAX_ANISOTROPY))
            self._renderer = GL.glGetString(GL.GL_RENDERER).decode()
            self._prepare()
        except Exception as error:  # PyOpenGL's own errors
            self._context.close()
            raise GlUnavailable(f"GL: {' '.join(str(error).split())[:120]}") from None
        if self._most < ANISOTROPY:
            self._context.close()
            raise GlUnavailable(f"{self._renderer} filters with at most {self._most:g}x anisotropy")

    @property
    def source(self) -> str:
        """The driver's name."""
        return f"GL, {self._renderer}"

    def __enter__(self) -> GlSampler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.close()

    def see(self, texture: Texture, view: View, rows: slice = slice(None)) -> Image:
        """See `Sampler.see`."""
        height, width = view.screen(texture.size)
        top, bottom, _ = rows.indices(height)
        out = np.empty((max(0, bottom - top), width, texture.channels), np.float32)
        self._gl.glTexParameterf(self._gl.GL_TEXTURE_2D, TEXTURE_MAX_ANISOTROPY, view.anisotropy)
        for j in range(0, len(out), TILE_ROWS):
            for i in range(0, width, TILE_COLUMNS):
                tile = out[j : j + TILE_ROWS, i : i + TILE_COLUMNS]
                tile[:] = self._draw(texture, view, top + j, i, tile.shape[:2])[:, :, : texture.channels]
        return out

    def _draw(self, texture: Texture, view: View, row: int, column: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        gl = self._gl
        axes, footprint = view.axes(), view.footprint()
        first = view.first_centre(texture.size) + np.array([column, row]) @ axes
        corners = first + np.array([[0, 0], [shape[1] - 1, 0], [0, shape[0] - 1], [shape[1] - 1, shape[0] - 1]]) @ axes
        # Half a footprint on each side, and as much again for the mip levels and the driver's own idea of it.
        margin = np.abs(footprint).sum(axis=0) + 4
        low = np.floor((corners.min(axis=0) - margin) / ALIGNED).astype(int) * ALIGNED
        high = np.ceil((corners.max(axis=0) + margin) / ALIGNED).astype(int) * ALIGNED
        window = texture.linear(
            np.arange(low[1], high[1]) % texture.size[0], np.arange(low[0], high[0]) % texture.size[1]
        )
        texels = np.zeros((*window.shape[:2], 4), np.float32)
        texels[:, :, : texture.channels] = window
        gl.glTexImage2D(
            gl.GL_TEXTURE_2D, 0, gl.GL_RGBA32F, texels.shape[1], texels.shape[0], 0, gl.GL_RGBA, gl.GL_FLOAT, texels
        )
        gl.glGenerateMipmap(gl.GL_TEXTURE_2D)
        size = high - low
        for name, value in (("first", (first - low) / size), ("across", axes[0] / size), ("down", axes[1] / size)):
            gl.glUniform2f(gl.glGetUniformLocation(self._program, name), *value)
        gl.glViewport(0, 0, shape[1], shape[0])
        gl.glDrawArrays(gl.GL_TRIANGLES, 0, 3)
        drawn = np.empty((*shape, 4), np.float32)
        gl.glReadPixels(0, 0, shape[1], shape[0], gl.GL_RGBA, gl.GL_FLOAT, drawn)
        return drawn

    def _prepare(self) -> None:
        gl = self._gl
        self._program = linked_program(gl, VERTEX, FRAGMENT)
        gl.glBindVertexArray(gl.glGenVertexArrays(1))
        gl.glBindTexture(gl.GL_TEXTURE_2D, gl.glGenTextures(1))
        gl.glTexParameteri(gl.GL_TEXTURE_2D, gl.GL_TEXTURE_MIN_FILTER, gl.GL_LINEAR_MIPMAP_LINEAR)
        gl.glTexParameteri(gl.GL_TEXTURE_2D, gl.GL_TEXTURE_MAG_FILTER, gl.GL_LINEAR)
        buffer = gl.glGenRenderbuffers(1)
        gl.glBindRenderbuffer(gl.GL_RENDERBUFFER, buffer)
        gl.glRenderbufferStorage(gl.GL_RENDERBUFFER, gl.GL_RGBA32F, TILE_COLUMNS, TILE_ROWS)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, gl.glGenFramebuffers(1))
        gl.glFramebufferRenderbuffer(gl.GL_FRAMEBUFFER, gl.GL_COLOR_ATTACHMENT0, gl.GL_RENDERBUFFER, buffer)
        if gl.glCheckFramebufferStatus(gl.GL_FRAMEBUFFER) != gl.GL_FRAMEBUFFER_COMPLETE:
            raise GlUnavailable(f"{self._renderer} draws into no float32 buffer")
