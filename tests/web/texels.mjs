// What a texture of the viewer holds on the GPU.

/** Runs in the page. The texels of a level as the encoded numbers 0 to 255, four each, row by row, in base64. */
export function texels({ surface, kind, level }) {
  const { surfaces, renderer } = window.texsynth;
  const gl = renderer.getContext();
  const { shown } = surfaces.all.get(surface).slots.get(kind);
  const { width, height } = shown.shape.levels[level];
  const shader = (type, text) => {
    const made = gl.createShader(type);
    gl.shaderSource(made, `#version 300 es\nprecision highp float;\n${text}`);
    gl.compileShader(made);
    return made;
  };
  const program = gl.createProgram();
  gl.attachShader(program, shader(gl.VERTEX_SHADER, "void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }"));
  gl.attachShader(program, shader(gl.FRAGMENT_SHADER, `uniform sampler2D map; uniform int level; uniform bool encoded; out vec4 seen;
    void main() {
      seen = texelFetch(map, ivec2(gl_FragCoord.xy), level);
      vec3 light = seen.rgb; // IEC 61966-2-1
      if (encoded) seen.rgb = mix(12.92 * light, 1.055 * pow(max(light, 1e-9), vec3(1.0 / 2.4)) - 0.055, greaterThan(light, vec3(0.0031308)));
    }`));
  gl.linkProgram(program);
  const target = gl.createTexture();
  const buffer = gl.createFramebuffer();
  gl.activeTexture(gl.TEXTURE0);
  gl.bindTexture(gl.TEXTURE_2D, target);
  gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, width, height);
  gl.bindFramebuffer(gl.FRAMEBUFFER, buffer);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target, 0);
  gl.bindTexture(gl.TEXTURE_2D, shown.map.sourceTexture);
  gl.bindVertexArray(null);
  gl.useProgram(program);
  gl.uniform1i(gl.getUniformLocation(program, "level"), level - shown.residency.base);
  gl.uniform1i(gl.getUniformLocation(program, "encoded"), Number(shown.shape.format.endsWith("-srgb")));
  for (const state of [gl.BLEND, gl.DEPTH_TEST, gl.CULL_FACE, gl.SCISSOR_TEST, gl.STENCIL_TEST]) gl.disable(state);
  gl.colorMask(true, true, true, true);
  gl.viewport(0, 0, width, height);
  gl.drawArrays(gl.TRIANGLES, 0, 3);
  const found = new Uint8Array(4 * width * height);
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, found);
  const error = gl.getError();
  gl.deleteFramebuffer(buffer);
  gl.deleteTexture(target);
  gl.deleteProgram(program);
  renderer.resetState();
  if (error) throw new Error(`WebGL error ${error}`);
  let text = "";
  for (let at = 0; at < found.length; at += 0x8000) text += String.fromCharCode(...found.subarray(at, at + 0x8000));
  return { width, height, texels: btoa(text) };
}
