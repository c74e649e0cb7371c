// Renders one mip level of every file that the server names, texel by texel, and sends back the texels it saw.
//
// GET cases.json: [{name, url, level}]. POST result: {renderer, cases: {name: {width, height, levels, texels} or
// {error}}}, or {error}. texels: rows from the first of the file, 4 numbers a texel in steps of 1/255. A texture in an
// sRGB format is decoded by the sampler, in hardware or its stand-in, and encoded again here (IEC 61966-2-1).
import * as THREE from "three";
import { KTX2Loader } from "three/addons/loaders/KTX2Loader.js";

const send = (result) => fetch("result", { method: "POST", body: JSON.stringify(result) });
const encode = (light) => (light <= 0.0031308 ? 12.92 * light : 1.055 * light ** (1 / 2.4) - 0.055);

window.addEventListener("error", (event) => send({ error: `${event.message} ${event.filename}:${event.lineno}` }));
window.addEventListener("unhandledrejection", (event) => send({ error: String(event.reason) }));

const vertexShader = `
in vec3 position;
void main() { gl_Position = vec4(position, 1.0); }`;

const fragmentShader = `
precision highp float;
precision highp sampler2D;
uniform sampler2D map;
uniform vec2 size;
uniform float level;
out vec4 seen;
void main() { seen = textureLod(map, gl_FragCoord.xy / size, level); }`;

function render(renderer, texture, level) {
  const [width, height] = [texture.image.width, texture.image.height].map((side) => Math.max(1, side >> level));
  texture.magFilter = THREE.NearestFilter;
  texture.minFilter = texture.mipmaps.length > 1 ? THREE.NearestMipmapNearestFilter : THREE.NearestFilter;
  const target = new THREE.WebGLRenderTarget(width, height, { type: THREE.FloatType, depthBuffer: false });
  const uniforms = { map: { value: texture }, size: { value: [width, height] }, level: { value: level } };
  const material = new THREE.RawShaderMaterial({
    vertexShader,
    fragmentShader,
    uniforms,
    glslVersion: THREE.GLSL3,
    blending: THREE.NoBlending,
    depthTest: false,
  });
  const scene = new THREE.Scene();
  scene.add(new THREE.Mesh(new THREE.PlaneGeometry(2, 2), material));
  renderer.setRenderTarget(target);
  renderer.render(scene, new THREE.Camera());
  const pixels = new Float32Array(4 * width * height);
  renderer.readRenderTargetPixels(target, 0, 0, width, height, pixels);
  const error = renderer.getContext().getError();
  if (error) throw new Error(`WebGL error ${error}`);
  const isEncoded = texture.colorSpace === THREE.SRGBColorSpace;
  const texels = Array.from(pixels, (value, i) => 255 * (isEncoded && i % 4 < 3 ? encode(value) : value));
  return { width, height, levels: texture.mipmaps.length, texels };
}

const renderer = new THREE.WebGLRenderer();
const gl = renderer.getContext();
gl.getExtension("EXT_color_buffer_float");
const loader = new KTX2Loader().detectSupport(renderer);
const cases = {};
for (const { name, url, level } of await (await fetch("cases.json")).json()) {
  try {
    cases[name] = render(renderer, await loader.loadAsync(url), level);
  } catch (error) {
    cases[name] = { error: String(error) };
  }
}
const debug = gl.getExtension("WEBGL_debug_renderer_info");
await send({ renderer: gl.getParameter(debug ? debug.UNMASKED_RENDERER_WEBGL : gl.RENDERER), cases });
