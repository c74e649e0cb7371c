// The textures of all surfaces. All maps of a surface change to a new version in the same frame: until the mip tails of
// all of them are there, the old ones stay as they are.
import type { WebGLRenderer } from "three";
import type { ChunkMessage, Version } from "./messages";
import { chunkBytes } from "./layout";
import type { MapShape } from "./layout";
import { StreamedTexture } from "./texture";
import { Uploads } from "./uploads";

/** One map: what is shown, and what takes its chunks. They differ while another size or format is on its way. */
interface Slot { shown: StreamedTexture | null; target: StreamedTexture; version: bigint; waitsForTail: boolean; held: ChunkMessage[] }
export interface SurfaceTextures { job: string; slots: Map<string, Slot> }

export class Surfaces {
  readonly all = new Map<string, SurfaceTextures>();
  readonly uploads = new Uploads();

  /** formats: by name, of this GPU. uploaded: so many bytes have their place, and data, where it is given, is needed no
   * more. changed: a surface shows other textures. */
  constructor(
    private readonly renderer: WebGLRenderer, private readonly formats: Map<string, GLenum>,
    private readonly uploaded: (bytes: number, data?: Uint8Array<ArrayBuffer>) => void, private readonly changed: (surface: string) => void,
  ) {}

  version({ surface, map, job, version, shape, kept }: Version): void {
    const textures = this.all.get(surface) ?? { job, slots: new Map<string, Slot>() };
    this.all.set(surface, textures);
    textures.job = job;
    const slot = textures.slots.get(map);
    if (slot) {
      this.release(slot, (index) => !kept.includes(index));
      if (sameShape(slot.target.shape, shape)) this.keep(slot, kept);
      else this.replace(slot, shape);
      slot.version = version;
    } else {
      const target = this.made(shape);
      textures.slots.set(map, { shown: null, target, version, waitsForTail: true, held: [] });
    }
    this.changed(surface);
    this.open(textures);
  }

  chunk(message: ChunkMessage): void {
    const slot = this.slot(message.texture);
    if (!slot) return this.uploaded(message.bytes, message.data);
    if (slot.waitsForTail) {
      this.uploaded(message.bytes); // else the other maps' tails might never come
      slot.held.push(message);
      this.open(this.all.get(split(message.texture)[0])!);
    } else this.queue(slot, message, () => this.uploaded(message.bytes, message.data));
  }

  evicted(texture: string, index: number): void {
    const slot = this.slot(texture);
    if (!slot) return;
    this.release(slot, (each) => each === index);
    slot.target.residency.held.delete(index);
    slot.target.tellShader();
  }

  forgotten(texture: string): void {
    const [surface, map] = split(texture);
    const slot = this.slot(texture);
    if (!slot) return;
    this.dispose(slot);
    const { slots } = this.all.get(surface)!;
    slots.delete(map);
    if (slots.size === 0) this.all.delete(surface);
    this.changed(surface);
  }

  /** Nothing is there any more, as after a loss of the GPU's context. */
  clear(): void {
    for (const [surface, { slots }] of [...this.all]) for (const map of [...slots.keys()]) this.forgotten(`${surface}/${map}`);
  }

  /** Once a frame: uploads what there is time for. budget: milliseconds. */
  frame(budget: number): void {
    const touched = new Set<StreamedTexture>();
    this.uploads.frame(budget, ({ texture, index }) => {
      texture.residency.held.add(index);
      touched.add(texture);
    });
    for (const texture of touched) texture.tellShader();
  }

  /** Bytes of chunks that are there, and of the storage around them. */
  memory(): { held: number; allocated: number } {
    let [held, allocated] = [0, 0];
    for (const { slots } of this.all.values())
      for (const { shown, target } of slots.values())
        for (const texture of new Set([shown, target]))
          if (texture) {
            for (const index of texture.residency.held) held += chunkBytes(texture.shape, texture.residency.places[index]);
            allocated += texture.allocated;
          }
    return { held, allocated };
  }

  private made(shape: MapShape): StreamedTexture {
    const format = this.formats.get(shape.format);
    if (format === undefined) throw new Error(`${shape.format}: this GPU does not read it; the service should not have sent it`);
    return new StreamedTexture(this.renderer, shape, format);
  }

  /** The storage stays, and of what is in it the chunks `kept`; what is shown stays until the new tails are there. */
  private keep(slot: Slot, kept: number[]): void {
    const { held } = slot.target.residency;
    for (const index of [...held]) if (!kept.includes(index)) held.delete(index);
    slot.waitsForTail = slot.target.isFrozen = true;
  }

  private replace(slot: Slot, shape: MapShape): void {
    if (slot.target !== slot.shown) slot.target.dispose();
    slot.target = this.made(shape);
    slot.waitsForTail = true;
  }

  /** Once all tails of a surface are there: from here on the new version is shown. */
  private open({ slots }: SurfaceTextures): void {
    const all = [...slots.values()];
    const hasTail = (slot: Slot): boolean =>
      !slot.waitsForTail || slot.target.residency.held.has(0) || slot.held.some(({ index }) => index === 0);
    if (!all.some((slot) => slot.waitsForTail) || !all.every(hasTail)) return;
    for (const slot of all) {
      slot.waitsForTail = false;
      for (const message of slot.held.splice(0)) {
        if (message.index === 0) this.uploadTail(slot, message);
        else this.queue(slot, message, () => undefined);
      }
      slot.target.isFrozen = false;
      slot.target.tellShader();
      if (slot.shown !== slot.target) slot.shown?.dispose();
      slot.shown = slot.target;
    }
    this.changed(nameOf(this.all, slots));
  }

  private uploadTail({ target }: Slot, { data }: ChunkMessage): void {
    this.uploads.atOnce(data.length, () => target.upload(0, data, 0, 1)); // all of a surface's in one frame; they are small
    target.residency.held.add(0);
  }

  private queue(slot: Slot, { index, data }: ChunkMessage, done: () => void): void {
    this.uploads.add({ texture: slot.target, index, data, done });
  }

  private release(slot: Slot, isStale: (index: number) => boolean): void {
    this.uploads.drop(({ texture, index }) => texture === slot.target && isStale(index));
    slot.held = slot.held.filter(({ index }) => !isStale(index));
  }

  private dispose(slot: Slot): void {
    this.release(slot, () => true);
    for (const texture of new Set([slot.shown, slot.target])) texture?.dispose();
  }

  private slot(texture: string): Slot | undefined {
    const [surface, map] = split(texture);
    return this.all.get(surface)?.slots.get(map);
  }
}

/** A surface's name has no slash. */
function split(texture: string): [string, string] {
  const at = texture.lastIndexOf("/");
  return [texture.slice(0, at), texture.slice(at + 1)];
}

const sameShape = (a: MapShape, b: MapShape): boolean => JSON.stringify(a) === JSON.stringify(b);

function nameOf(all: Map<string, SurfaceTextures>, slots: Map<string, Slot>): string {
  return [...all].find(([, each]) => each.slots === slots)![0];
}
