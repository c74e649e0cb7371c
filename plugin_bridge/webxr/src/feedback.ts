// What is seen: the scene drawn small, with the surface, the place and the level that each pixel wants in place of a
// colour, read back without waiting for the GPU.
import { Camera, Color, GLSL3, Line, Mesh, NearestFilter, NoBlending, RawShaderMaterial, Vector2, WebGLRenderTarget } from "three";
import type { Object3D, Scene, WebGLRenderer } from "three";
import { TILE } from "./messages";
import type { SeenSurface, SeenTile } from "./messages";
import { WANTED_LEVEL } from "./shader";
import type { StreamedTexture } from "./texture";

const SMALLER = 8; // pixels of the screen along a side of one here
const LARGEST = 320; // pixels a side
const EVERY = 100; // milliseconds
const MOST = 255; // surfaces: their numbers are a byte
const MOST_TILES = 8192; // in a view; the service takes 16384, in 256 KiB, where a tile has 25 bytes at most
const DEGREES = 180 / Math.PI;

/** A mesh that shows a surface, and the texture whose texels are counted: its largest. */
export interface Seen { mesh: Mesh; surface: string; texture: StreamedTexture }

export class Feedback {
  private readonly target = new WebGLRenderTarget(1, 1, { minFilter: NearestFilter, magFilter: NearestFilter });
  private readonly materials: RawShaderMaterial[] = [];
  private readonly hidden = new RawShaderMaterial({ vertexShader: VERTEX, fragmentShader: NOTHING, glslVersion: GLSL3, blending: NoBlending });
  private readonly camera = new Camera();
  /** Tiles of the largest view so far. */
  most = 0;
  private last = "";
  private next = 0;
  private isReading = false;

  /** told: what is seen, whenever it has changed. */
  constructor(private readonly renderer: WebGLRenderer, private readonly told: (seen: SeenSurface[]) => void) {
    this.camera.matrixAutoUpdate = this.camera.matrixWorldAutoUpdate = false;
  }

  /** Once a frame. from: the camera whose view counts; width: pixels that its projection covers on the screen. */
  frame(scene: Scene, seen: Seen[], from: Camera, width: number, height: number): void {
    const now = performance.now();
    if (this.isReading || now < this.next || seen.length === 0) return;
    this.next = now + EVERY;
    const small = Math.max(width, height) / Math.min(LARGEST, Math.ceil(Math.max(width, height) / SMALLER));
    this.target.setSize(Math.max(1, Math.round(width / small)), Math.max(1, Math.round(height / small)));
    this.camera.projectionMatrix.copy(from.projectionMatrix);
    this.camera.matrixWorld.copy(from.matrixWorld);
    this.camera.matrixWorldInverse.copy(from.matrixWorld).invert();
    const surfaces = [...new Set(seen.map(({ surface }) => surface))].slice(0, MOST);
    this.draw(scene, seen, surfaces, -Math.log2(small));
    void this.read(surfaces, small * small);
  }

  /** After a loss of the GPU's context. */
  forget(): void {
    this.last = "";
    this.isReading = false;
  }

  private draw(scene: Scene, seen: Seen[], surfaces: string[], bias: number): void {
    const restore: (() => void)[] = [];
    const shown = new Map(seen.map((each) => [each.mesh as Object3D, each]));
    scene.traverseVisible((each) => {
      if (each instanceof Line) {
        restore.push(() => (each.visible = true));
        each.visible = false;
      }
      if (!(each instanceof Mesh)) return;
      const { material } = each;
      const found = shown.get(each);
      const number = found ? surfaces.indexOf(found.surface) : -1;
      restore.push(() => (each.material = material));
      each.material = number < 0 ? this.hidden : this.material(number, found!.texture, bias);
    });
    const { renderer } = this;
    const [target, isXr, colour, alpha, background] = [renderer.getRenderTarget(), renderer.xr.enabled, renderer.getClearColor(new Color()), renderer.getClearAlpha(), scene.background];
    renderer.xr.enabled = false;
    scene.background = null;
    renderer.setRenderTarget(this.target);
    renderer.setClearColor(0, 0);
    renderer.clear();
    renderer.render(scene, this.camera);
    renderer.setRenderTarget(target);
    renderer.setClearColor(colour, alpha);
    scene.background = background;
    renderer.xr.enabled = isXr;
    for (const undo of restore) undo();
  }

  private material(number: number, { shape, residency }: StreamedTexture, bias: number): RawShaderMaterial {
    const material = (this.materials[number] ??= new RawShaderMaterial({
      vertexShader: VERTEX, fragmentShader: FRAGMENT, glslVersion: GLSL3, blending: NoBlending,
      uniforms: { surface: { value: 0 }, size: { value: new Vector2() }, base: { value: 0 }, tail: { value: 0 }, bias: { value: 0 } },
    }));
    const { uniforms } = material;
    const { width, height } = shape.levels[0];
    uniforms.surface.value = number + 1;
    uniforms.size.value.set(width, height);
    uniforms.base.value = residency.base;
    uniforms.tail.value = residency.tail;
    uniforms.bias.value = bias;
    material.uniformsNeedUpdate = true;
    return material;
  }

  private async read(surfaces: string[], weight: number): Promise<void> {
    const { width, height } = this.target;
    const projection = [...this.camera.projectionMatrix.elements];
    const texels = new Uint8Array(4 * width * height);
    this.isReading = true;
    try {
      await this.renderer.readRenderTargetPixelsAsync(this.target, 0, 0, width, height, texels);
    } catch {
      return; // the context was lost
    } finally {
      this.isReading = false;
    }
    const found = counted(texels, width, height, projection, surfaces, weight);
    const words = JSON.stringify(found);
    if (words === this.last) return;
    this.last = words;
    this.most = Math.max(this.most, found.reduce((sum, { tiles }) => sum + tiles.length, 0));
    this.told(found);
  }
}

/** Pixels by surface, level and tile. A texel holds the surface's number (0 for none), column, row and level. */
function counted(texels: Uint8Array, width: number, height: number, projection: number[], names: string[], weight: number): SeenSurface[] {
  const tiles = new Map<number, { pixels: number; x: number; y: number }>();
  for (let at = 0; at < texels.length; at += 4) {
    if (texels[at] === 0) continue;
    const key = (texels[at] << 24) | (texels[at + 3] << 16) | (texels[at + 2] << 8) | texels[at + 1];
    const tile = tiles.get(key) ?? { pixels: 0, x: 0, y: 0 };
    tiles.set(key, tile);
    tile.pixels++;
    tile.x += ((at >> 2) % width) + 0.5;
    tile.y += Math.floor((at >> 2) / width) + 0.5;
  }
  const surfaces = new Map<string, SeenTile[]>();
  const largest = tiles.size <= MOST_TILES ? tiles : [...tiles].sort(([, a], [, b]) => b.pixels - a.pixels).slice(0, MOST_TILES);
  for (const [key, { pixels, x, y }] of largest) {
    const surface = names[(key >>> 24) - 1];
    const [across, up] = [(2 * x) / pixels / width - 1, (2 * y) / pixels / height - 1];
    const tile = {
      level: (key >> 16) & 255, row: (key >> 8) & 255, column: key & 255, pixels: Math.round(pixels * weight),
      x: rounded(Math.atan((across + projection[8]) / projection[0]) * DEGREES), y: rounded(-Math.atan((up + projection[9]) / projection[5]) * DEGREES),
    };
    if (!surfaces.get(surface)?.push(tile)) surfaces.set(surface, [tile]);
  }
  return [...surfaces].map(([surface, found]) => ({ surface, tiles: found }));
}

const rounded = (degrees: number): number => Math.round(degrees * 10) / 10; // so that what hardly changed is the same

const VERTEX = /* glsl */ `
in vec3 position;
in vec2 uv;
uniform mat4 modelViewMatrix, projectionMatrix;
out vec2 place;
void main() {
  place = uv;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
}`;

const NOTHING = /* glsl */ `
precision highp float;
out vec4 seen;
void main() { seen = vec4(0.0); }`;

const FRAGMENT = /* glsl */ `
precision highp float;
in vec2 place;
uniform vec2 size;
uniform float surface, base, tail, bias;
out vec4 seen;
${WANTED_LEVEL}
void main() {
  float level = clamp(floor(wantedLevel(dFdx(place), dFdy(place), size) + bias + 0.5), base, tail);
  vec2 tile = floor(fract(place) * max(floor(size / exp2(level)), 1.0) / ${TILE}.0);
  seen = vec4(surface, tile, level) / 255.0;
}`;
