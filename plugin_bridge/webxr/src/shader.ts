// How a streamed texture is read: no finer than what is there at the place. GLSL.

/** Blocks of texels that lie beside each other in one pixel at most, along its longer side. */
export const ANISOTROPY = 4;

/** The level whose texels are as large as the pixel. size: of level 0. */
export const WANTED_LEVEL = /* glsl */ `
float wantedLevel(vec2 dx, vec2 dy, vec2 size) {
  vec2 a = dx * size, b = dy * size;
  float most = max(max(dot(a, a), dot(b, b)), 1e-12), area = a.x * b.y - a.y * b.x;
  return 0.5 * log2(max(area * area / most, most / ${ANISOTROPY ** 2}.0)); // the shorter side; a and b may be askew
}`;

export const STREAMED = /* glsl */ `

${WANTED_LEVEL}
float finestAt(sampler2D finest, vec4 shape, vec2 uv) {
  ivec2 place = ivec2(fract(uv) * shape.xy / shape.z);
  return floor(texelFetch(finest, min(place, textureSize(finest, 0) - 1), 0).r * 255.0 + 0.5);
}
// All texels that a filter may read count, not only the one in its middle: the next chunk may be coarser.
float finestAround(sampler2D finest, vec4 shape, vec2 uv, vec2 reach) {
  float found = finestAt(finest, shape, uv);
  found = max(found, max(finestAt(finest, shape, uv + reach), finestAt(finest, shape, uv - reach)));
  reach.x = -reach.x;
  return max(found, max(finestAt(finest, shape, uv + reach), finestAt(finest, shape, uv - reach)));
}
vec4 streamed(sampler2D map, sampler2D finest, vec4 shape, vec2 uv, vec2 dx, vec2 dy) {
  float wanted = max(0.0, wantedLevel(dx, dy, shape.xy));
  float there = finestAt(finest, shape, uv);
  vec2 reach = 0.5 * (abs(dx) + abs(dy)) + exp2(ceil(max(wanted, there))) / shape.xy;
  there = finestAround(finest, shape, uv, reach);
  // half a level of room: a GPU may compute its own level a little finer
  return there + 0.5 < wanted || there == 0.0 ? textureGrad(map, uv, dx, dy) : textureLod(map, uv, max(wanted, there));
}`;
