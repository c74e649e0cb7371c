"""The G-buffer drawn by a GL driver, without a window, to the rules of the numba rasteriser.

Drivers snap corners to a grid of their own (1/256 texel as a rule, 1/16 by the standard) and choose which of two
triangles has their shared edge, so their coverage is not asked for. Each triangle is drawn as a rectangle along its
longest edge, a little too large, and the fragment shader decides whether the texel's centre lies inside, in the same
64-bit integers on the same 1/4096 grid as `raster.py`; weights are the same doubles. The depth test keeps the lowest
number, and where UVs repeat, the tiles are drawn one after the other.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mipmap.gl_context import GlContext, GlUnavailable, gl_displays
from mipmap.gl_program import linked_program
from mipmap.metrics.gl_osmesa import OsMesaContext
from texsynth.surface.gbuffer import GBuffer, TriangleFacts, triangle_facts
from texsynth.surface.mesh import Mesh
from texsynth.surface.raster import UvRaster

_LEAST_VERSION = (4, 2)  # of GL: doubles in shaders, and instances from any place of a buffer
# What the shaders are told of a triangle. Doubles go as pairs of integers, which every driver passes on untouched.
_RECORD = np.dtype(
    [
        ("corners", "<i4", (3, 2)), ("numbers", "<i4", 2), ("origin", "<f8", 2), ("to_weights", "<f8", 4),
        ("first", "<f4", 3), ("larger", "<f4"), ("second", "<f4", 3), ("smaller", "<f4"),
        ("third", "<f4", 3), ("upright", "<f4"), ("normals", "<f4", 9), ("tangent", "<f4", 3), ("face", "<f4", 4),
    ]
)  # fmt: skip
_INTEGERS, _VECTORS = 5, _RECORD.itemsize // 16  # of its vectors of four, the first are integers

VERTEX = """#version 420 core
layout(location = 0) in ivec4 corners_in;
layout(location = 1) in ivec4 third_and_numbers_in;
layout(location = 2) in uvec4 origin_in;
layout(location = 3) in uvec4 second_weight_in;
layout(location = 4) in uvec4 third_weight_in;
layout(location = 5) in vec4 surface_in[7];
uniform ivec2 from;   // the texel at the lower left of the picture, counted on through the tiles
uniform ivec2 extent; // of the picture, texels
uniform int bits;
flat out ivec4 corners, third_and_numbers;
flat out uvec4 origin, second_weight, third_weight;
flat out vec4 surface[7];

void main() {
    corners = corners_in; third_and_numbers = third_and_numbers_in;
    origin = origin_in; second_weight = second_weight_in; third_weight = third_weight_in;
    surface = surface_in;
    ivec2 moved = from << bits;
    vec2 corner[3] = vec2[3](vec2(corners.xy - moved), vec2(corners.zw - moved), vec2(third_and_numbers.xy - moved));
    int longest = 0;
    float reach = -1.0;
    for (int k = 0; k < 3; k++) {
        corner[k] /= float(1 << bits);
    }
    for (int k = 0; k < 3; k++) {
        float length_k = distance(corner[k], corner[(k + 1) % 3]);
        if (length_k > reach) { reach = length_k; longest = k; }
    }
    vec2 start = corner[longest], end = corner[(longest + 1) % 3];
    vec2 along = (end - start) / reach, across = vec2(-along.y, along.x);
    float height = dot(corner[(longest + 2) % 3] - start, across);
    float margin = 0.125 + reach / 1048576.0; // far more than a driver's grid, and than rounding to float
    vec2 place = (gl_VertexID & 1) == 0 ? start - margin * along : end + margin * along;
    place += across * ((gl_VertexID & 2) == 0 ? min(height, 0.0) - margin : max(height, 0.0) + margin);
    gl_Position = vec4(2.0 * place / vec2(extent) - 1.0, 0.0, 1.0);
}
"""
FRAGMENT = """#version 420 core
flat in ivec4 corners, third_and_numbers;
flat in uvec4 origin, second_weight, third_weight;
flat in vec4 surface[7];
uniform ivec2 from;
uniform int bits;
layout(location = 0) out ivec2 numbers;
layout(location = 1) out vec4 position;
layout(location = 2) out vec4 normal;
layout(location = 3) out vec4 tangent;
const double FLAT = 1e-6;

bool beside(ivec2 a, ivec2 b, ivec2 p) {
    // dx (y - ay) - dy (x - ax) in 64 bits: above 0, or 0 on a top or left edge
    ivec2 d = b - a, q = p - a;
    int high_one, low_one, high_two, low_two;
    imulExtended(d.x, q.y, high_one, low_one);
    imulExtended(d.y, q.x, high_two, low_two);
    uint borrow, low = usubBorrow(uint(low_one), uint(low_two), borrow);
    int high = high_one - high_two - int(borrow);
    if (high == 0 && low == 0u) return d.y < 0 || (d.y == 0 && d.x > 0);
    return high >= 0;
}

dvec2 doubles(uvec4 pairs) { return dvec2(packDouble2x32(pairs.xy), packDouble2x32(pairs.zw)); }

dvec3 mixed(vec3 one, vec3 two, vec3 three, dvec2 weights) {
    dvec3 start = dvec3(one);
    return start + weights.x * (dvec3(two) - start) + weights.y * (dvec3(three) - start);
}

void main() {
    ivec2 texel = ivec2(gl_FragCoord.xy) + from;
    ivec2 centre = (texel << bits) + ((1 << bits) >> 1);
    ivec2 a = corners.xy, b = corners.zw, c = third_and_numbers.xy;
    if (!beside(a, b, centre) || !beside(b, c, centre) || !beside(c, a, centre)) discard;
    dvec2 offset = dvec2(texel) + 0.5 - doubles(origin);
    dvec2 w = dvec2(dot(doubles(second_weight), offset), dot(doubles(third_weight), offset));
    double first = max(1.0 - w.x - w.y, 0.0);
    w = max(w, dvec2(0.0));
    w = dvec2(vec2(w / (first + w.x + w.y)));

    numbers = third_and_numbers.zw;
    gl_FragDepth = intBitsToFloat(0x20000000 + numbers.x); // floats above 0 are in the order of their bits
    position = vec4(vec3(mixed(surface[0].xyz, surface[1].xyz, surface[2].xyz, w)), surface[0].w);
    vec3 face = surface[6].xyz;
    dvec3 n = mixed(surface[3].xyz, vec3(surface[3].w, surface[4].xy), vec3(surface[4].zw, surface[5].x), w);
    double size = length(n);
    n = size >= FLAT ? n / size : dvec3(face);
    dvec3 along = dvec3(surface[5].yzw);
    along -= dot(n, along) * n;
    if (dot(along, along) < FLAT * FLAT) {
        dvec3 steep = abs(n);
        int axis = steep.y < steep.x ? 1 : 0;
        axis = steep.z < steep[axis] ? 2 : axis;
        along = dvec3(axis == 0, axis == 1, axis == 2) - n[axis] * n;
    }
    size = length(along);
    along = size >= FLAT ? along / size : dvec3(face);
    normal = vec4(vec3(n), surface[1].w);
    tangent = vec4(vec3(along), surface[2].w);
}
"""


class GlGBufferRaster:
    """`GBufferRaster` by a GL driver: the same texels; place within 1e-5 of the mesh's size, usually the same bits.

    Belongs to the thread that made it; use it as a context manager. Takes 192 bytes a triangle on the device, and a
    band 60 bytes a texel there and here. display: one of `gl_displays()`; None takes the first that will do, or
    OSMesa where EGL has none.
    Raises GlUnavailable without GL 4.2, and TexsynthError where a triangle repeats the texture too often.
    """

    def __init__(self, mesh: Mesh, size: int, material_index: int | None = None, display: Any = None) -> None:
        raster = UvRaster(mesh, size, material_index)
        records = _records(mesh, raster, triangle_facts(mesh, raster))
        self._raster, self._rows, self._count = raster, 0, len(records)
        right = raster.corners[:, :, 0].max(axis=1, initial=0) >> raster.bits
        reach = (right // size)[np.argsort(-right, kind="stable")]  # how many tiles to the right, the farthest first
        beyond = np.argsort(-right, kind="stable")[reach > 0]
        self._reaching = [int((reach >= tile).sum()) for tile in range(1, 1 + int(reach.max(initial=0)))]
        self._context = _first_context() if display is None else GlContext(display)
        try:
            from OpenGL import GL

            self._gl = GL
            self._prepare(np.concatenate([records[raster.order], records[beyond]]))
        except GlUnavailable:
            self._context.close()
            raise
        except Exception as error:  # PyOpenGL's own errors
            self._context.close()
            raise GlUnavailable(f"GL: {' '.join(str(error).split())[:120]}") from None

    @property
    def source(self) -> str:
        """The driver's name."""
        return f"GL, {self._gl.glGetString(self._gl.GL_RENDERER).decode()}"

    def __enter__(self) -> GlGBufferRaster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.close()

    def rows(self, first: int, last: int) -> GBuffer:
        """The texels of the rows first..last - 1, row 0 = top row (v = 0)."""
        gl, size = self._gl, self._raster.size
        self._make_room(last - first)
        gl.glViewport(0, 0, size, last - first)
        gl.glClearBufferiv(gl.GL_COLOR, 0, np.full(4, -1, np.int32))
        for place in range(1, 4):
            gl.glClearBufferfv(gl.GL_COLOR, place, np.zeros(4, np.float32))
        gl.glClearBufferfv(gl.GL_DEPTH, 0, np.ones(1, np.float32))
        gl.glUniform2i(self._extent, size, last - first)
        for lift in range(0, self._raster.rows_of_tiles * size, size):
            gl.glUniform2i(self._from, 0, first + lift)
            for start, end in self._raster.near(first + lift, last + lift):
                gl.glDrawArraysInstancedBaseInstance(gl.GL_TRIANGLE_STRIP, 0, 4, end - start, start)
            for tile, count in enumerate(self._reaching, 1):
                gl.glUniform2i(self._from, tile * size, first + lift)
                gl.glDrawArraysInstancedBaseInstance(gl.GL_TRIANGLE_STRIP, 0, 4, count, self._count)
        return self._read(last - first)

    def _read(self, rows: int) -> GBuffer:
        gl, size = self._gl, self._raster.size
        numbers = np.empty((rows, size, 2), np.int32)
        gl.glReadBuffer(gl.GL_COLOR_ATTACHMENT0)
        gl.glReadPixels(0, 0, size, rows, gl.GL_RG_INTEGER, gl.GL_INT, numbers)
        parts = [np.empty((rows, size, 4), np.float32) for _ in range(3)]
        for place, part in enumerate(parts, 1):
            gl.glReadBuffer(gl.GL_COLOR_ATTACHMENT0 + place)
            gl.glReadPixels(0, 0, size, rows, gl.GL_RGBA, gl.GL_FLOAT, part)
        position, normal, tangent = parts
        return GBuffer(
            numbers[:, :, 0].copy(), numbers[:, :, 1].copy(), position[:, :, :3].copy(), normal[:, :, :3].copy(),
            tangent, np.stack([position[:, :, 3], normal[:, :, 3]], axis=2),
        )  # fmt: skip

    def _prepare(self, records: NDArray[Any]) -> None:
        gl = self._gl
        version = int(gl.glGetIntegerv(gl.GL_MAJOR_VERSION)), int(gl.glGetIntegerv(gl.GL_MINOR_VERSION))
        if version < _LEAST_VERSION:
            raise GlUnavailable(f"{self.source} has GL {version[0]}.{version[1]}, and 4.2 is needed")
        if self._raster.size > gl.glGetIntegerv(gl.GL_MAX_RENDERBUFFER_SIZE):
            raise GlUnavailable(f"{self.source} draws no {self._raster.size} texels a side")
        program = linked_program(gl, VERTEX, FRAGMENT)
        self._from, self._extent = (gl.glGetUniformLocation(program, name) for name in ("from", "extent"))
        gl.glUniform1i(gl.glGetUniformLocation(program, "bits"), self._raster.bits)
        gl.glBindVertexArray(gl.glGenVertexArrays(1))
        gl.glBindBuffer(gl.GL_ARRAY_BUFFER, gl.glGenBuffers(1))
        gl.glBufferData(gl.GL_ARRAY_BUFFER, records.nbytes, records, gl.GL_STATIC_DRAW)
        for place in range(_VECTORS):
            at = gl.ctypes.c_void_p(16 * place)
            if place < _INTEGERS:
                kind = gl.GL_INT if place < 2 else gl.GL_UNSIGNED_INT
                gl.glVertexAttribIPointer(place, 4, kind, _RECORD.itemsize, at)
            else:
                gl.glVertexAttribPointer(place, 4, gl.GL_FLOAT, False, _RECORD.itemsize, at)
            gl.glVertexAttribDivisor(place, 1)
            gl.glEnableVertexAttribArray(place)
        self._buffers = gl.glGenRenderbuffers(5)
        gl.glBindFramebuffer(gl.GL_FRAMEBUFFER, gl.glGenFramebuffers(1))
        gl.glDrawBuffers(4, [gl.GL_COLOR_ATTACHMENT0 + place for place in range(4)])
        gl.glPixelStorei(gl.GL_PACK_ALIGNMENT, 1)
        gl.glEnable(gl.GL_DEPTH_TEST)
        gl.glDepthFunc(gl.GL_LESS)

    def _make_room(self, rows: int) -> None:
        """Buffers to draw into for that many rows."""
        if rows == self._rows:
            return
        gl = self._gl
        places = [*(gl.GL_COLOR_ATTACHMENT0 + place for place in range(4)), gl.GL_DEPTH_ATTACHMENT]
        kinds = [gl.GL_RG32I, gl.GL_RGBA32F, gl.GL_RGBA32F, gl.GL_RGBA32F, gl.GL_DEPTH_COMPONENT32F]
        for buffer, place, kind in zip(self._buffers, places, kinds, strict=True):
            gl.glBindRenderbuffer(gl.GL_RENDERBUFFER, buffer)
            gl.glRenderbufferStorage(gl.GL_RENDERBUFFER, kind, self._raster.size, rows)
            gl.glFramebufferRenderbuffer(gl.GL_FRAMEBUFFER, place, gl.GL_RENDERBUFFER, buffer)
        if gl.glCheckFramebufferStatus(gl.GL_FRAMEBUFFER) != gl.GL_FRAMEBUFFER_COMPLETE:
            raise GlUnavailable(f"{self.source} draws into no float32 and int32 buffers at once")
        self._rows = rows


def _first_context() -> GlContext | OsMesaContext:
    """A context of the first EGL display that gives one, else of OSMesa. Raises GlUnavailable."""
    reason = GlUnavailable("EGL has no display")
    try:
        for display in gl_displays():
            try:
                return GlContext(display)
            except GlUnavailable as error:
                reason = error
    except GlUnavailable as error:
        reason = error
    try:
        return OsMesaContext(_LEAST_VERSION)
    except GlUnavailable as error:
        raise GlUnavailable(f"{reason}; {error}") from None


def _records(mesh: Mesh, raster: UvRaster, facts: TriangleFacts) -> NDArray[Any]:
    """One `_RECORD` for each triangle, with its snapped corners in positive order; those without area cover nothing."""
    records = np.zeros(len(raster.chosen), _RECORD)
    corners = raster.corners.copy()
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = one[:, 0] * two[:, 1] - two[:, 0] * one[:, 1]
    corners[area < 0, 1:] = corners[area < 0, :0:-1]
    records["corners"] = corners
    records["numbers"] = np.stack([raster.chosen, facts.chart], axis=1)
    records["origin"], records["to_weights"] = raster.origin, raster.to_weights.reshape(-1, 4)
    positions, normals = mesh.positions[mesh.triangles[raster.chosen]], mesh.normals[mesh.triangles[raster.chosen]]
    for corner, name in enumerate(("first", "second", "third")):
        records[name] = positions[:, corner]
    records["larger"], records["smaller"] = facts.stretch.T
    records["upright"] = facts.tangent[:, 3]
    records["normals"] = normals.reshape(-1, 9)
    records["tangent"] = facts.tangent[:, :3]
    records["face"][:, :3] = facts.face
    return records
