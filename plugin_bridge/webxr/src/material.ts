// A physical material whose maps are streamed textures.
import { DataTexture, MeshStandardMaterial, Vector4 } from "three";
import type { IUniform, Texture } from "three";
import { normalChannels } from "./formats";
import { STREAMED } from "./shader";
import type { SurfaceTextures } from "./surfaces";

const MAPS = ["albedo", "normal", "roughness", "metalness"] as const; // height and opacity are not shown
const HIGHLIGHT = 0x0c2f55;
const empty = new DataTexture(new Uint8Array(4), 1, 1);
empty.needsUpdate = true;

interface MapUniforms { map: IUniform<Texture>; finest: IUniform<Texture>; shape: IUniform<Vector4>; is: IUniform<number> }

export class StreamedMaterial extends MeshStandardMaterial {
  private readonly maps = Object.fromEntries(MAPS.map((kind) => [kind, {
    map: { value: empty }, finest: { value: empty }, shape: { value: new Vector4(1, 1, 1, 1) }, is: { value: 0 },
  }])) as unknown as Record<(typeof MAPS)[number], MapUniforms>;

  private readonly marked: IUniform<Texture> = { value: empty };

  constructor() {
    super({ color: 0x808080, roughness: 0.85, metalness: 0 });
    this.onBeforeCompile = (shader) => {
      for (const kind of MAPS)
        for (const [name, uniform] of Object.entries(this.maps[kind])) shader.uniforms[`${kind}_${name}`] = uniform;
      shader.uniforms.region = this.marked;
      shader.vertexShader = shader.vertexShader
        .replace("#include <common>", "#include <common>\nvarying vec2 streamedUv;")
        .replace("#include <uv_vertex>", "#include <uv_vertex>\nstreamedUv = uv;");
      shader.fragmentShader = shader.fragmentShader
        .replace("#include <common>", `#include <common>\n${DECLARED}${STREAMED}`)
        .replace("#include <map_fragment>", ALBEDO)
        .replace("#include <roughnessmap_fragment>", factor("roughness"))
        .replace("#include <metalnessmap_fragment>", factor("metalness"))
        .replace("#include <normal_fragment_maps>", NORMAL);
    };
  }

  override customProgramCacheKey(): string {
    return "texsynth-streamed";
  }

  /** Shows the maps that are there. */
  show(textures: SurfaceTextures | undefined): void {
    for (const kind of MAPS) {
      const texture = textures?.slots.get(kind)?.shown;
      const uniforms = this.maps[kind];
      uniforms.map.value = texture?.map ?? empty;
      uniforms.finest.value = texture?.finest ?? empty;
      uniforms.is.value = !texture ? 0 : kind === "normal" && normalChannels(texture.shape.format) === "ra" ? 2 : 1;
      if (!texture) continue;
      const { shape, residency } = texture;
      const { width, height } = shape.levels[residency.base];
      uniforms.shape.value.set(width, height, shape.sides[residency.base], shape.levels.length - residency.base);
    }
  }

  /** Marks what is white in this texture; null for nothing. */
  set region(region: Texture | null) {
    this.marked.value = region ?? empty;
  }

  set isSelected(selected: boolean) {
    this.emissive.set(selected ? HIGHLIGHT : 0);
  }
}

const DECLARED = `varying vec2 streamedUv;
uniform sampler2D region;
${MAPS.map((kind) => `uniform sampler2D ${kind}_map; uniform sampler2D ${kind}_finest; uniform vec4 ${kind}_shape; uniform int ${kind}_is;`).join("\n")}
`;

const read = (kind: string): string => `streamed(${kind}_map, ${kind}_finest, ${kind}_shape, streamedUv, streamedDx, streamedDy)`;

const ALBEDO = `vec2 streamedDx = dFdx(streamedUv), streamedDy = dFdy(streamedUv);
if (albedo_is > 0) diffuseColor.rgb = ${read("albedo")}.rgb;
diffuseColor.rgb = mix(diffuseColor.rgb, vec3(0.1, 0.4, 1.0), 0.5 * texture(region, streamedUv).r);`;

const factor = (kind: string): string => `float ${kind}Factor = ${kind};
if (${kind}_is > 0) ${kind}Factor = ${read(kind)}.r;`;

/** Tangents from how position and uv change (Mikkelsen, "Bump Mapping Unparametrized Surfaces on the GPU"); V runs down. */
const NORMAL = `if (normal_is > 0) {
  vec4 texel = ${read("normal")};
  vec2 slope = 2.0 * (normal_is == 2 ? texel.ra : texel.rg) - 1.0;
  vec3 across = dFdx(-vViewPosition), along = dFdy(-vViewPosition);
  vec3 one = cross(along, normal), other = cross(normal, across);
  vec3 right = one * streamedDx.x + other * streamedDy.x, down = one * streamedDx.y + other * streamedDy.y;
  float size = max(dot(right, right), dot(down, down));
  float scale = size == 0.0 ? 0.0 : inversesqrt(size);
  float z = sqrt(max(0.0, 1.0 - dot(slope, slope)));
  normal = normalize(right * scale * slope.x - down * scale * slope.y + normal * z);
}`;
