// A finished result: its maps and their levels, what it came from, and where their bytes are.
import * as api from "./api";
import type { Job } from "./api";
import { taskOf } from "./jobs";

export interface Level { width: number; height: number; file: string }
export interface MapEntry { kind: string; file: string; format: string; stored: string; levels: Level[] }

interface Manifest {
  maps: Record<string, { file: string; width: number; height: number; format: string; texel_format: string | null; bits: number; levels: number; mips: Level[] }>;
}

export class Result {
  private readonly digests: Map<string, string>;
  private readonly images = new Map<string, Promise<ImageBitmap>>();

  private constructor(readonly job: Job, readonly maps: MapEntry[]) {
    this.digests = new Map(job.files.map((file) => [file.name, file.sha256]));
  }

  /** Reads material.json; a result without one (metrics) has no maps. */
  static async open(job: Job): Promise<Result> {
    const manifest = job.files.find((file) => file.name === "material.json");
    if (!manifest) return new Result(job, []);
    const { maps }: Manifest = JSON.parse(await (await api.blob(api.fileUrl(manifest.sha256))).text());
    return new Result(job, Object.entries(maps).map(([kind, entry]) => {
      const { file, format, width, height } = entry;
      const inside = Array.from({ length: entry.levels }, (_, k) => ({ file, width: Math.max(1, width >> k), height: Math.max(1, height >> k) }));
      const levels = entry.mips.length > 0 || entry.levels === 1 ? [{ file, width, height }, ...entry.mips] : inside;
      return { kind, file, format, stored: entry.texel_format ?? `${entry.bits} bits`, levels };
    }));
  }

  digest(name: string): string {
    return this.digests.get(name) ?? "";
  }

  text(name: string): Promise<string> {
    return api.blob(api.fileUrl(this.digest(name))).then((data) => data.text());
  }

  /** The texels of a level: a PNG's as they are, all others decoded by the gateway. */
  level(map: MapEntry, number: number): Promise<ImageBitmap> {
    const path = map.format === "png" ? api.fileUrl(this.digest(map.levels[number].file), "x.png") : `/levels/${this.job.id}/${map.kind}/${number}`;
    return this.image(path);
  }

  /** The largest level whose sides are at most `most`. */
  levelOf(map: MapEntry, most: number): number {
    const found = map.levels.findIndex(({ width, height }) => Math.max(width, height) <= most);
    return found < 0 ? map.levels.length - 1 : found;
  }

  /** Some of the last pictures stay; a large one is worth its memory only while it is looked at. */
  image(path: string): Promise<ImageBitmap> {
    const known = this.images.get(path) ?? api.blob(path).then((data) => createImageBitmap(data, { premultiplyAlpha: "none", colorSpaceConversion: "none" }));
    this.images.delete(path);
    this.images.set(path, known);
    known.catch(() => this.images.delete(path));
    if (this.images.size > 8) this.images.delete(this.images.keys().next().value!);
    return known;
  }

  /** The mesh among what it was given. */
  get mesh(): string {
    return taskOf(this.job).asset?.files.find(({ name }) => /\.glb$/i.test(name))?.sha256 ?? "";
  }
}
