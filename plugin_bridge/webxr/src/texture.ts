// One map on the GPU: storage for its whole chain, raw blocks that go up chunk by chunk, and a small texture that tells
// the shader how fine it may read in each place.
import { DataTexture, ExternalTexture, NearestFilter, RedFormat, UnsignedByteType } from "three";
import type { WebGLRenderer } from "three";
import { levelBytes, rowBytes, rowsOfBlocks, storageBytes } from "./layout";
import type { MapShape } from "./layout";
import { Residency } from "./residency";

export class StreamedTexture {
  readonly residency: Residency;
  readonly map: ExternalTexture;
  readonly finest: DataTexture;
  /** Bytes of the storage. */
  readonly allocated: number;
  /** What the shader was told stays as it is. */
  isFrozen = false;
  private readonly texture: WebGLTexture;
  private readonly gl: WebGL2RenderingContext;

  /** format: the number of shape.format for this GPU. */
  constructor(private readonly renderer: WebGLRenderer, readonly shape: MapShape, private readonly format: GLenum) {
    this.gl = renderer.getContext() as WebGL2RenderingContext;
    this.residency = new Residency(shape);
    const { gl } = this;
    const levels = shape.levels.slice(this.residency.base);
    this.allocated = storageBytes(shape);
    this.texture = gl.createTexture();
    this.bind();
    gl.texStorage2D(gl.TEXTURE_2D, levels.length, format, levels[0].width, levels[0].height);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
    const anisotropic = gl.getExtension("EXT_texture_filter_anisotropic");
    if (anisotropic) gl.texParameterf(gl.TEXTURE_2D, anisotropic.TEXTURE_MAX_ANISOTROPY_EXT, 4);
    this.map = new ExternalTexture(this.texture);
    const { rows, columns } = this.residency;
    this.finest = new DataTexture(new Uint8Array(rows * columns), columns, rows, RedFormat, UnsignedByteType);
    this.finest.minFilter = this.finest.magFilter = NearestFilter;
    this.finest.unpackAlignment = 1;
    this.tellShader();
  }

  /** Rows of blocks of a chunk, which may go up one by one; the mip tail goes as a whole. */
  rows(index: number): number {
    const { levels, height } = this.residency.places[index];
    return levels > 1 ? 1 : rowsOfBlocks(this.shape, height);
  }

  /** Some rows of blocks of a chunk's data. */
  upload(index: number, data: Uint8Array, first: number, count: number): void {
    const place = this.residency.places[index];
    const { base } = this.residency;
    this.bind();
    if (place.levels > 1) return this.uploadTail(data);
    const { blockHeight } = this.shape;
    const bytes = rowBytes(this.shape, place.width);
    const y = first * blockHeight;
    const height = Math.min(count * blockHeight, place.height - y);
    this.put(place.level - base, place.x, place.y + y, place.width, height, data.subarray(first * bytes, (first + count) * bytes));
  }

  /** After a change of what is held. */
  tellShader(): void {
    if (this.isFrozen) return;
    this.residency.finest(this.finest.image.data as Uint8Array);
    this.finest.needsUpdate = true;
  }

  dispose(): void {
    this.gl.deleteTexture(this.texture);
    this.map.dispose();
    this.finest.dispose();
  }

  private uploadTail(data: Uint8Array): void {
    const { tail, base } = this.residency;
    let at = 0;
    this.shape.levels.slice(tail).forEach((level, number) => {
      const bytes = levelBytes(this.shape, level);
      this.put(tail + number - base, 0, 0, level.width, level.height, data.subarray(at, at + bytes));
      at += bytes;
    });
  }

  private put(level: number, x: number, y: number, width: number, height: number, blocks: Uint8Array): void {
    this.gl.compressedTexSubImage2D(this.gl.TEXTURE_2D, level, x, y, width, height, this.format, blocks);
  }

  /** By way of three.js, which remembers what is bound. */
  private bind(): void {
    this.renderer.state.bindTexture(this.gl.TEXTURE_2D, this.texture);
  }
}
