// A region painted onto a surface: white where a restyle may change it, in the surface's texture coordinates.
import { CanvasTexture } from "three";
import type { Vector2 } from "three";
import * as api from "../../web/src/api";
import { h } from "../../web/src/dom";

const SIDE = 512; // pixels
const RADIUS = 16; // pixels

export class Brush {
  readonly texture: CanvasTexture;
  surface = "";
  private readonly canvas = h("canvas", { width: SIDE, height: SIDE });
  private readonly context = this.canvas.getContext("2d")!;

  constructor() {
    this.texture = new CanvasTexture(this.canvas);
    this.texture.flipY = false; // the first row of a texture is its top
    this.clear();
  }

  /** A dab where a ray hit; on another surface than before it begins anew. */
  paint(surface: string, uv: Vector2): void {
    if (surface !== this.surface) this.clear();
    this.surface = surface;
    this.context.fillStyle = "white";
    this.context.beginPath();
    this.context.arc((uv.x - Math.floor(uv.x)) * SIDE, (uv.y - Math.floor(uv.y)) * SIDE, RADIUS, 0, 2 * Math.PI);
    this.context.fill();
    this.texture.needsUpdate = true;
  }

  clear(): void {
    this.surface = "";
    this.context.fillStyle = "black";
    this.context.fillRect(0, 0, SIDE, SIDE);
    this.texture.needsUpdate = true;
  }

  /** Uploads the region of a surface; its digest, "" for everywhere. */
  async upload(surface: string): Promise<string> {
    if (surface !== this.surface) return "";
    const picture = await new Promise<Blob | null>((resolve) => this.canvas.toBlob(resolve, "image/png"));
    return picture ? (await api.upload([new File([picture], "region.png")], () => undefined))[0] : "";
  }
}
