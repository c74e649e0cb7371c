// Chunks on their way to the GPU, within so many milliseconds a frame; a chunk that is too large for that goes in parts.
import type { StreamedTexture } from "./texture";

const BUDGET = 1.5; // milliseconds a frame that are planned: the clock has steps of 0.1, and 2 are the most allowed
const SHORTEST = 0.1; // milliseconds: a step of the clock

export interface Upload { texture: StreamedTexture; index: number; data: Uint8Array; done(): void }

export class Uploads {
  private queue: (Upload & { row: number })[] = [];
  private rate = 100_000; // bytes a millisecond, as measured
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

  /** Once a frame. finished: called with each chunk of which all rows are there. */
  frame(finished: (upload: Upload) => void): void {
    if (this.queue.length === 0) return;
    const start = performance.now();
    let bytes = 0;
    while (this.queue.length > 0) {
      const next = this.queue[0];
      const rows = next.texture.rows(next.index);
      const bytesPerRow = next.data.length / rows;
      const left = BUDGET - (performance.now() - start);
      const fit = Math.floor((left * this.rate) / bytesPerRow);
      if (fit < 1 && bytes > 0) break;
      const count = Math.min(Math.max(fit, 1), rows - next.row);
      next.texture.upload(next.index, next.data, next.row, count);
      next.row += count;
      bytes += count * bytesPerRow;
      if (next.row < rows) break;
      this.queue.shift();
      finished(next);
      next.done();
    }
    this.measured(start, bytes);
  }

  /** What cannot wait. */
  atOnce(bytes: number, upload: () => void): void {
    const start = performance.now();
    upload();
    this.measured(start, bytes);
  }

  private measured(start: number, bytes: number): void {
    const end = performance.now();
    performance.measure("texsynth-upload", { start, end, detail: { bytes } });
    this.times.push(end - start);
    if (this.times.length > 1000) {
      this.times.splice(0, 500);
      performance.clearMeasures("texsynth-upload");
    }
    const seen = bytes / Math.max(end - start, SHORTEST);
    // quicker than thought is believed slowly, slower at once
    this.rate = seen < this.rate ? seen : 0.9 * this.rate + 0.1 * seen;
  }
}
