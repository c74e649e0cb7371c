// Which chunks of a texture are there, and from them the finest level that may be shown in each place.
import { layout } from "./layout";
import type { MapShape, Place } from "./layout";

export const NOTHING = 255; // in place of a level: not even the mip tail is there

export class Residency {
  readonly places: Place[];
  readonly tail: number;
  /** The finest level that comes; level 0 of the GPU's texture. */
  readonly base: number;
  /** Chunks along each side of the finest level. */
  readonly rows: number;
  readonly columns: number;
  readonly held = new Set<number>();
  private readonly firsts = new Map<number, { first: number; rows: number; columns: number }>();

  constructor(readonly shape: MapShape) {
    this.places = layout(shape);
    this.tail = shape.tail;
    this.base = Math.min(shape.finest, this.tail);
    this.places.forEach(({ level, row, column }, index) => {
      const known = this.firsts.get(level) ?? { first: index, rows: 0, columns: 0 };
      this.firsts.set(level, { first: known.first, rows: Math.max(known.rows, row + 1), columns: Math.max(known.columns, column + 1) });
    });
    ({ rows: this.rows, columns: this.columns } = this.firsts.get(this.base)!);
  }

  /** The finest level, counted from `base`, that is there with all coarser ones, for each chunk of the finest level. */
  finest(into: Uint8Array): void {
    if (!this.held.has(0)) return void into.fill(NOTHING);
    for (let row = 0; row < this.rows; row++)
      for (let column = 0; column < this.columns; column++) {
        let level = this.tail;
        while (level > this.base && this.held.has(this.index(level - 1, row, column))) level--;
        into[row * this.columns + column] = level - this.base;
      }
  }

  /** row, column: of a chunk of the finest level, which lies on the one that is wanted. */
  private index(level: number, row: number, column: number): number {
    const { first, rows, columns } = this.firsts.get(level)!;
    const { sides } = this.shape;
    const wide = (sides[level] * 2 ** (level - this.base)) / sides[this.base]; // chunks of the finest level along one
    return first + Math.min(Math.floor(row / wide), rows - 1) * columns + Math.min(Math.floor(column / wide), columns - 1);
  }
}
