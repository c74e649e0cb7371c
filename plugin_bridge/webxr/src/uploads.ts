// Chunks on their way to the GPU, within so many milliseconds a frame; a chunk that is too large for that goes in parts.
import type { StreamedTexture } from "./texture";

const BUDGET = 1.5; // milliseconds a frame that are planned: the clock has steps of 0.1, and 2 are the most allowed
const SHARE = 0.1; // of a frame on a screen, where no head waits for it: one that takes long anyway can take more
const MOST = 50; // milliseconds: a page that was out of sight has had one frame of minutes
const SHORTEST = 0.1; // milliseconds: a step of the clock

/** Milliseconds of uploads in a frame. interval: milliseconds since the last one. */
export function budgetOf(interval: number, isImmersive: boolean): number {
  return isImmersive ? BUDGET : Math.min(Math.max(BUDGET, SHARE * interval), MOST);
}

export interface Upload { texture: StreamedTexture; index: number; data: Uint8Array; done(): void }

export class Uploads {
  private queue: (Upload & { row: number })[] = [];
  private rate = 20_000; // bytes a millisecond, as measured; at first little, for a GPU's first uploads are its slowest
  private early = { milliseconds: 0, bytes: 0, parts: 0 }; // of what did not wait for the next frame
  /** Milliseconds of the last frames that uploaded. */
  readonly times: number[] = [];

  get waiting(): number {
    return this.queue.length;
  }

  add(upload: Upload): void {
    this.queue.push({ ...upload, row: 0 });
  }

  /** Lets go what `isStale` names. */
  drop(isStale: (upload: Upload) => boolean): void {
    const stale = this.queue.filter(isStale);
    this.queue = this.queue.filter((upload) => !isStale(upload));
    for (const upload of stale) upload.done();
  }

  /** Once a frame. budget: milliseconds; however few they are, a part goes up. finished: called with each chunk of which
   * all rows are there. */
  frame(budget: number, finished: (upload: Upload) => void): void {
    const start = performance.now();
    const { milliseconds, bytes: before, parts: earlier } = this.early;
    this.early = { milliseconds: 0, bytes: 0, parts: 0 };
    let [bytes, parts] = [0, 0];
    while (this.queue.length > 0) {
      const next = this.queue[0];
      const rows = next.texture.rows(next.index);
      const bytesPerRow = next.data.length / rows;
      const left = budget - milliseconds - (performance.now() - start);
      const fit = Math.floor((left * this.rate) / bytesPerRow);
      if (fit < 1 && parts > 0) break;
      const count = Math.min(Math.max(fit, 1), rows - next.row);
      next.texture.upload(next.index, next.data, next.row, count);
      next.row += count;
      bytes += count * bytesPerRow;
      parts++;
      if (next.row < rows) break;
      this.queue.shift();
      finished(next);
      next.done();
    }
    const duration = performance.now() - start;
    if (parts > 0) this.learn(bytes, duration);
    if (parts + earlier > 0) this.note(start, milliseconds + duration, { bytes: bytes + before, parts, early: earlier, budget });
  }

  /** What cannot wait; the next frame has so much less time. */
  atOnce(bytes: number, upload: () => void): void {
    const start = performance.now();
    upload();
    this.early.milliseconds += performance.now() - start;
    this.early.bytes += bytes;
    this.early.parts++;
  }

  private note(start: number, duration: number, detail: { bytes: number; parts: number; early: number; budget: number }): void {
    performance.measure("texsynth-upload", { start, duration, detail });
    this.times.push(duration);
    if (this.times.length > 1000) {
      this.times.splice(0, 500);
      performance.clearMeasures("texsynth-upload");
    }
  }

  /** Quicker than thought is believed slowly, slower at once; within a step of the clock it may be quicker, not slower. */
  private learn(bytes: number, milliseconds: number): void {
    const seen = bytes / Math.max(milliseconds, SHORTEST);
    if (seen > this.rate) this.rate = 0.9 * this.rate + 0.1 * seen;
    else if (milliseconds > SHORTEST) this.rate = seen;
  }
}
