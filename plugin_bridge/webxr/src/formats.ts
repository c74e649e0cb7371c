// The block formats that a GPU reads, under the service's names for them.

interface Codec { extension: string; linear: string; srgb?: string }

/** WebGL extension and the names of the constants in it, by the beginning of the format's name. */
const CODECS: Record<string, Codec> = {
  "astc-4x4": { extension: "WEBGL_compressed_texture_astc", linear: "COMPRESSED_RGBA_ASTC_4x4_KHR", srgb: "COMPRESSED_SRGB8_ALPHA8_ASTC_4x4_KHR" },
  "astc-6x6": { extension: "WEBGL_compressed_texture_astc", linear: "COMPRESSED_RGBA_ASTC_6x6_KHR", srgb: "COMPRESSED_SRGB8_ALPHA8_ASTC_6x6_KHR" },
  "astc-8x8": { extension: "WEBGL_compressed_texture_astc", linear: "COMPRESSED_RGBA_ASTC_8x8_KHR", srgb: "COMPRESSED_SRGB8_ALPHA8_ASTC_8x8_KHR" },
  "bc7": { extension: "EXT_texture_compression_bptc", linear: "COMPRESSED_RGBA_BPTC_UNORM_EXT", srgb: "COMPRESSED_SRGB_ALPHA_BPTC_UNORM_EXT" },
  "bc5": { extension: "EXT_texture_compression_rgtc", linear: "COMPRESSED_RED_GREEN_RGTC2_EXT" },
  "bc4": { extension: "EXT_texture_compression_rgtc", linear: "COMPRESSED_RED_RGTC1_EXT" },
  "etc2-rgb": { extension: "WEBGL_compressed_texture_etc", linear: "COMPRESSED_RGB8_ETC2", srgb: "COMPRESSED_SRGB8_ETC2" },
  "etc2-rgba": { extension: "WEBGL_compressed_texture_etc", linear: "COMPRESSED_RGBA8_ETC2_EAC", srgb: "COMPRESSED_SRGB8_ALPHA8_ETC2_EAC" },
  "eac-r11": { extension: "WEBGL_compressed_texture_etc", linear: "COMPRESSED_R11_EAC" },
  "eac-rg11": { extension: "WEBGL_compressed_texture_etc", linear: "COMPRESSED_RG11_EAC" },
};

/** Number of each format for texStorage2D, as far as this GPU has it. */
export function gpuFormats(gl: WebGL2RenderingContext): Map<string, GLenum> {
  const found = new Map<string, GLenum>();
  for (const [name, { extension, linear, srgb }] of Object.entries(CODECS)) {
    const constants = gl.getExtension(extension) as Record<string, GLenum> | null;
    if (!constants) continue;
    found.set(name, constants[linear]);
    if (srgb) found.set(`${name}-srgb`, constants[srgb]);
    if (name.startsWith("astc")) found.set(`${name}-normal`, constants[linear]);
  }
  return found;
}

/** Where X and Y of a normal are in a texel of this format. */
export const normalChannels = (format: string): "ra" | "rg" => (format.startsWith("astc") && format.endsWith("-normal") ? "ra" : "rg");
