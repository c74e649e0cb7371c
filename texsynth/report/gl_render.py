"""A PBR renderer on the machine's GL driver: image-based light, GGX, and the material's own mip chain.

Metallic-roughness shading as in glTF 2.0 (appendix B) under `environment`; every mip level is the given one, filtered
trilinearly and with as much anisotropy as the driver has, up to 16x; colours are decoded from sRGB before filtering;
Khronos' PBR Neutral as tone curve. A context is had without a window, through EGL (`mipmap.gl_context`).
Plain arrays in, plain arrays out, so that a process that has nothing but NumPy and PyOpenGL can do it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mipmap.gl_context import GlContext, GlUnavailable, gl_displays
from mipmap.gl_program import linked_program
from texsynth.report.environment import ROUGHNESSES, prefiltered, split_sum_table

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

MOST_ANISOTROPY = 16.0
# Of a driver without a GPU an anisotropic texel costs a hundred times a trilinear one (8 s a view on llvmpipe); there
# a few trilinear ones in a row stand in.
SOFTWARE, PROBES = ("llvmpipe", "softpipe", "SwiftShader"), 4
SAMPLES = 4  # of a pixel, at edges
VERTEX_FLOATS = 12  # position 3, normal 3, tangent 4, uv 2
_MAX_ANISOTROPY, _ANISOTROPY = 0x84FF, 0x84FE
_ATTRIBUTES = (("position", 3), ("normal", 3), ("tangent", 4), ("uv", 2))

_SAMPLERS = ("albedo", "normals", "surface", "light", "table")  # each on the texture unit of its place here

_VERTEX = """#version 330 core
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in vec4 tangent;
layout(location = 3) in vec2 uv;
uniform mat4 projection;
out vec3 place, n;
out vec4 t;
out vec2 at;
void main() {
    place = position; n = normal; t = tangent; at = uv;
    gl_Position = projection * vec4(position, 1.0);
}
"""
_FRAGMENT = """#version 330 core
in vec3 place, n;
in vec4 t;
in vec2 at;
uniform sampler2D albedo, normals, surface, table;
uniform sampler2DArray light;
uniform vec3 eye;
uniform mat3 studio;
uniform float mirror_layers;
uniform bool lit;
uniform int most_probes;
out vec4 colour;

// A footprint in pieces along its longer axis, each filtered by the driver; one piece where the driver does it all.
vec4 filtered(sampler2D map, vec2 dx, vec2 dy, int probes, vec2 along) {
    if (probes == 1) return textureGrad(map, at, dx, dy);
    vec4 sum = vec4(0.0);
    for (int k = 0; k < probes; ++k)
        sum += textureGrad(map, at + ((float(k) + 0.5) / float(probes) - 0.5) * along, dx, dy);
    return sum / float(probes);
}

vec3 from_studio(vec3 direction, float layer) {
    vec3 d = studio * direction;
    vec2 map = vec2(atan(d.x, d.z) / 6.2831853 + 0.5, acos(clamp(d.y, -1.0, 1.0)) / 3.1415927);
    return texture(light, vec3(map, layer)).rgb;
}

vec3 neutral(vec3 value) {
    float low = min(value.r, min(value.g, value.b));
    value -= low < 0.08 ? low - 6.25 * low * low : 0.04;
    float peak = max(value.r, max(value.g, value.b));
    const float begins = 0.76, room = 0.24;
    if (peak < begins) return value;
    float pressed = 1.0 - room * room / (peak + room - begins);
    value *= pressed / peak;
    return mix(value, vec3(pressed), 1.0 - 1.0 / (0.15 * (peak - pressed) + 1.0));
}

void main() {
    vec2 dx = dFdx(at), dy = dFdy(at);
    bool wide = dot(dx, dx) > dot(dy, dy);
    vec2 longer = wide ? dx : dy, shorter = wide ? dy : dx;
    float ratio = length(longer) / max(length(shorter), 1.0 / float(textureSize(albedo, 0).x));
    int probes = clamp(int(ceil(ratio)), 1, most_probes);
    if (wide) dx /= float(probes); else dy /= float(probes);
    vec4 base = filtered(albedo, dx, dy, probes, longer);
    if (!lit) { colour = base; return; }
    vec3 bump = filtered(normals, dx, dy, probes, longer).xyz * 2.0 - 1.0;
    vec4 s = filtered(surface, dx, dy, probes, longer);
    vec3 view = normalize(eye - place);
    vec3 facing = normalize(n) * (gl_FrontFacing ? 1.0 : -1.0);
    vec3 along = t.xyz - facing * dot(facing, t.xyz);
    vec3 bent = facing;
    if (dot(along, along) > 1e-12) {
        along = normalize(along);
        vec3 across = t.w * (gl_FrontFacing ? 1.0 : -1.0) * cross(facing, along);
        bent = normalize(bump.x * along + bump.y * across + max(bump.z, 1e-3) * facing);
    }
    float n_v = dot(bent, view);
    if (n_v < 0.04) { bent = normalize(bent + (0.04 - n_v) * view); n_v = max(dot(bent, view), 0.01); }
    float rough = clamp(s.r, 0.045, 1.0), metal = s.g;
    vec3 f0 = mix(vec3(0.04), base.rgb, metal);
    vec3 bounced = reflect(-view, bent);
    float layer = rough * (mirror_layers - 1.0), below = floor(layer);
    vec3 shine = mix(from_studio(bounced, below), from_studio(bounced, min(below + 1.0, mirror_layers - 1.0)),
                     layer - below);
    vec2 sum = texture(table, vec2(n_v, rough)).rg;
    float hidden = clamp(1.0 + 1.5 * dot(bounced, facing), 0.0, 1.0);
    vec3 reflected = (f0 * sum.x + sum.y) * shine * hidden;
    vec3 diffuse = base.rgb * (1.0 - metal) * (1.0 - f0 * sum.x - sum.y) * from_studio(bent, mirror_layers);
    vec3 value = clamp(neutral(diffuse + reflected), 0.0, 1.0);
    vec3 coded = mix(12.92 * value, 1.055 * pow(value, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, value));
    colour = vec4(coded, clamp(s.b + (1.0 - s.b) * max(sum.x * f0.r + sum.y, 0.0), 0.0, 1.0));
}
"""


@dataclass(frozen=True)
class Surface:
    """A material: every level of its maps, level 0 first, uint8 (h, w, C).

    albedo: 3 channels, sRGB. normals: 3, OpenGL. surface: 3, roughness, metalness, opacity. Sizes halve, rounded down,
    to 1 x 1, or end earlier.
    """

    albedo: Sequence[Bytes]
    normals: Sequence[Bytes]
    surface: Sequence[Bytes]

    @property
    def see_through(self) -> bool:
        """Whether no texel of it is opaque."""
        return bool((self.surface[-1][..., 2] < 255).all())


@dataclass(frozen=True)
class Scene:
    """vertices: float32 (3 T, 12), the corners of T triangles: position, normal, tangent (w is its handedness), UV with
    v = 0 at the top. parts: for each surface its first corner and how many it has."""

    vertices: Floats
    surfaces: Sequence[Surface]
    parts: Sequence[tuple[int, int]]


@dataclass(frozen=True)
class View:
    """projection: float32 (4, 4), from the scene to clip space, for column vectors. eye: (3,), where the viewer is.
    studio: (3, 3), rows the directions of the scene that are right, up and towards the viewer in the studio."""

    projection: Floats
    eye: Floats
    studio: Floats


class GlRenderer:
    """Draws one scene. Belongs to the thread that made it; use it as a context manager.

    lit: False shows nothing but the filtered albedo, in linear light. anisotropy: None takes what is quick: all there
    is with a GPU, none without. Raises GlUnavailable without a usable context.
    """

    def __init__(
        self, scene: Scene, size: int, *, lit: bool = True, samples: int = SAMPLES, anisotropy: float | None = None
    ) -> None:
        self._context = _first_context()
        try:
            from OpenGL import GL

            self._gl, self._size, self._lit = GL, size, lit
            self.renderer = GL.glGetString(GL.GL_RENDERER).decode()
            self._probes = 1
            if anisotropy is None:
                slow = any(name in self.renderer for name in SOFTWARE)
                anisotropy, self._probes = (1.0, PROBES) if slow else (MOST_ANISOTROPY, 1)
            self.anisotropy = min(anisotropy, float(GL.glGetFloatv(_MAX_ANISOTROPY)))
            self._program = self._linked()
            self._parts = list(zip(scene.parts, map(self._uploaded, scene.surfaces), scene.surfaces, strict=True))
            self._upload_vertices(scene.vertices)
            self._upload_light()
            self._targets = self._made_targets(samples)
        except GlUnavailable:
            self._context.close()
            raise
        except Exception as error:  # PyOpenGL's own errors
            self._context.close()
            raise GlUnavailable(f"GL: {' '.join(str(error).split())[:200]}") from None

    def __enter__(self) -> GlRenderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.close()

    def draw(self, view: View, background: Sequence[float]) -> Floats:
        """(size, size, 4) float32 0..1, row 0 = top; `background`: four numbers, as they come out. Lit pictures are
        coded in sRGB."""
        gl, size = self._gl, self._size
        drawn, resolved = self._targets
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, drawn)
        gl.glViewport(0, 0, size, size)
        gl.glClearColor(*background)
        gl.glDepthMask(True)
        gl.glClear(gl.GL_COLOR_BUFFER_BIT | gl.GL_DEPTH_BUFFER_BIT)
        gl.glUniformMatrix4fv(self._at("projection"), 1, True, np.ascontiguousarray(view.projection, np.float32))
        gl.glUniformMatrix3fv(self._at("studio"), 1, True, np.ascontiguousarray(view.studio, np.float32))
        gl.glUniform3f(self._at("eye"), *(float(value) for value in view.eye))
        for behind in (False, True):  # what is see-through last
            for (first, count), textures, surface in self._parts:
                if count and surface.see_through is behind:
                    self._draw_part(first, count, textures, blended=behind and self._lit)
        gl.glBindFramebuffer(gl.GL_READ_FRAMEBUFFER, drawn)
        gl.glBindFramebuffer(gl.GL_DRAW_FRAMEBUFFER, resolved)
        gl.glBlitFramebuffer(0, 0, size, size, 0, 0, size, size, gl.GL_COLOR_BUFFER_BIT, gl.GL_NEAREST)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, resolved)
        out = np.empty((size, size, 4), np.float32)
        gl.glReadPixels(0, 0, size, size, gl.GL_RGBA, gl.GL_FLOAT, out)
        return np.ascontiguousarray(out[::-1])

    def _draw_part(self, first: int, count: int, textures: dict[str, int], *, blended: bool) -> None:
        gl = self._gl
        for name, texture in textures.items():
            gl.glActiveTexture(gl.GL_TEXTURE0 + _SAMPLERS.index(name))
            gl.glBindTexture(gl.GL_TEXTURE_2D, texture)
        if blended:
            gl.glEnable(gl.GL_BLEND)
            gl.glBlendFunc(gl.GL_SRC_ALPHA, gl.GL_ONE_MINUS_SRC_ALPHA)
            gl.glDepthMask(False)
        gl.glDrawArrays(gl.GL_TRIANGLES, first, count)
        if blended:
            gl.glDisable(gl.GL_BLEND)
            gl.glDepthMask(True)

    def _linked(self) -> int:
        gl = self._gl
        program = linked_program(gl, _VERTEX, _FRAGMENT)
        gl.glEnable(gl.GL_DEPTH_TEST)
        gl.glPixelStorei(gl.GL_UNPACK_ALIGNMENT, 1)
        gl.glUniform1i(gl.glGetUniformLocation(program, "lit"), self._lit)
        gl.glUniform1i(gl.glGetUniformLocation(program, "most_probes"), self._probes)
        gl.glUniform1f(gl.glGetUniformLocation(program, "mirror_layers"), ROUGHNESSES)
        for unit, name in enumerate(_SAMPLERS):
            gl.glUniform1i(gl.glGetUniformLocation(program, name), unit)
        return int(program)

    def _at(self, name: str) -> int:
        return int(self._gl.glGetUniformLocation(self._program, name))

    def _uploaded(self, surface: Surface) -> dict[str, int]:
        gl = self._gl
        made = {}
        for name in ("albedo", "normals", "surface") if self._lit else ("albedo",):
            levels = getattr(surface, name)
            made[name] = int(gl.glGenTextures(1))
            gl.glActiveTexture(gl.GL_TEXTURE0 + _SAMPLERS.index(name))
            gl.glBindTexture(gl.GL_TEXTURE_2D, made[name])
            inside = gl.GL_SRGB8 if name == "albedo" else gl.GL_RGB8
            for number, texels in enumerate(levels):
                height, width = texels.shape[:2]
                gl.glTexImage2D(
                    gl.GL_TEXTURE_2D, number, inside, width, height, 0, gl.GL_RGB, gl.GL_UNSIGNED_BYTE,
                    np.ascontiguousarray(texels),
                )  # fmt: skip
            gl.glTexParameteri(gl.GL_TEXTURE_2D, gl.GL_TEXTURE_MAX_LEVEL, len(levels) - 1)
            gl.glTexParameteri(gl.GL_TEXTURE_2D, gl.GL_TEXTURE_MIN_FILTER, gl.GL_LINEAR_MIPMAP_LINEAR)
            gl.glTexParameteri(gl.GL_TEXTURE_2D, gl.GL_TEXTURE_MAG_FILTER, gl.GL_LINEAR)
            gl.glTexParameterf(gl.GL_TEXTURE_2D, _ANISOTROPY, self.anisotropy)
        return made

    def _upload_vertices(self, vertices: Floats) -> None:
        gl = self._gl
        gl.glBindVertexArray(gl.glGenVertexArrays(1))
        gl.glBindBuffer(gl.GL_ARRAY_BUFFER, gl.glGenBuffers(1))
        vertices = np.ascontiguousarray(vertices, np.float32)
        gl.glBufferData(gl.GL_ARRAY_BUFFER, vertices.nbytes, vertices, gl.GL_STATIC_DRAW)
        offset = 0
        for place, (_, count) in enumerate(_ATTRIBUTES):
            gl.glEnableVertexAttribArray(place)
            gl.glVertexAttribPointer(place, count, gl.GL_FLOAT, False, 4 * VERTEX_FLOATS, ctypes.c_void_p(4 * offset))
            offset += count

    def _upload_light(self) -> None:
        gl = self._gl
        if not self._lit:
            return
        for name, target, texels in (
            ("light", gl.GL_TEXTURE_2D_ARRAY, prefiltered()),
            ("table", gl.GL_TEXTURE_2D, split_sum_table()),
        ):
            gl.glActiveTexture(gl.GL_TEXTURE0 + _SAMPLERS.index(name))
            gl.glBindTexture(target, gl.glGenTextures(1))
            if name == "light":
                layers, height, width = texels.shape[:3]
                gl.glTexImage3D(target, 0, gl.GL_RGB16F, width, height, layers, 0, gl.GL_RGB, gl.GL_FLOAT, texels)
            else:
                height, width = texels.shape[:2]
                gl.glTexImage2D(target, 0, gl.GL_RG16F, width, height, 0, gl.GL_RG, gl.GL_FLOAT, texels)
            gl.glTexParameteri(target, gl.GL_TEXTURE_MIN_FILTER, gl.GL_LINEAR)
            gl.glTexParameteri(target, gl.GL_TEXTURE_MAG_FILTER, gl.GL_LINEAR)
            gl.glTexParameteri(target, gl.GL_TEXTURE_WRAP_S, gl.GL_REPEAT if name == "light" else gl.GL_CLAMP_TO_EDGE)
            gl.glTexParameteri(target, gl.GL_TEXTURE_WRAP_T, gl.GL_CLAMP_TO_EDGE)

    def _made_targets(self, samples: int) -> tuple[int, int]:
        """Frame buffers: one with samples, drawn to, and one without, read from."""
        gl, size = self._gl, self._size
        inside = gl.GL_RGBA8 if self._lit else gl.GL_RGBA32F
        made = []
        for count in (samples, 0):
            buffer = int(gl.glGenFramebuffers(1))
            gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, buffer)
            for kind, place in ((inside, gl.GL_COLOR_ATTACHMENT0), (gl.GL_DEPTH_COMPONENT24, gl.GL_DEPTH_ATTACHMENT)):
                store = gl.glGenRenderbuffers(1)
                gl.glBindRenderbuffer(gl.GL_RENDERBUFFER, store)
                gl.glRenderbufferStorageMultisample(gl.GL_RENDERBUFFER, count, kind, size, size)
                gl.glFramebufferRenderbuffer(gl.GL_FRAMEBUFFER, place, gl.GL_RENDERBUFFER, store)
            if gl.glCheckFramebufferStatus(gl.GL_FRAMEBUFFER) != gl.GL_FRAMEBUFFER_COMPLETE:
                raise GlUnavailable(f"{self.renderer} draws into no buffer of {size} x {size}, {count} samples")
            made.append(buffer)
        return made[0], made[1]


def _first_context() -> GlContext:
    """Of the first display that gives one. Raises GlUnavailable with the last reason."""
    reason = "EGL has no display"
    for display in gl_displays():
        try:
            return GlContext(display)
        except GlUnavailable as error:
            reason = str(error)
    raise GlUnavailable(reason)
