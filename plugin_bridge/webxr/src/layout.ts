// Which texels a chunk holds: what the service does not send, for it follows from the sizes and the level of the mip tail.

export interface Level { width: number; height: number }

/** A map as it is streamed: what of TextureMap is needed here. */
export interface MapShape {
  format: string;
  blockWidth: number; blockHeight: number; blockBytes: number;
  sides: number[]; // texels a side of the chunks of each level
  tail: number; // the largest level of the mip tail
  levels: Level[]; // the full size first
  finest: number; // the finest level that comes
}

/** A rectangle of one level; of the mip tail `levels` levels from `level` on, each as a whole. In texels. */
export interface Place { level: number; levels: number; row: number; column: number; x: number; y: number; width: number; height: number }

/** The chunks in their order: the mip tail, then finer levels, row by row, down to the finest that comes. */
export function layout(shape: MapShape): Place[] {
  const { tail, levels, sides } = shape;
  const places: Place[] = [{ level: tail, levels: levels.length - tail, row: 0, column: 0, x: 0, y: 0, ...levels[tail] }];
  for (let level = tail - 1; level >= shape.finest; level--) {
    const { width, height } = levels[level];
    const side = sides[level];
    for (let y = 0; y < height; y += side)
      for (let x = 0; x < width; x += side)
        places.push({
          level, levels: 1, row: y / side, column: x / side, x, y, width: Math.min(side, width - x), height: Math.min(side, height - y),
        });
  }
  return places;
}

export const rowsOfBlocks = (shape: MapShape, height: number): number => Math.ceil(height / shape.blockHeight);
export const rowBytes = (shape: MapShape, width: number): number => Math.ceil(width / shape.blockWidth) * shape.blockBytes;

/** Bytes of a level as the GPU holds it. */
export const levelBytes = (shape: MapShape, { width, height }: Level): number => rowsOfBlocks(shape, height) * rowBytes(shape, width);

/** Bytes of the storage of a texture whose levels begin with the first of at most `largest` texels a side, or its tail. */
export function storageBytes(shape: MapShape, largest = Infinity): number {
  const fits = shape.levels.findIndex(({ width, height }) => Math.max(width, height) <= largest);
  const base = Math.min(Math.max(shape.finest, fits), shape.tail);
  return shape.levels.slice(base).reduce((sum, level) => sum + levelBytes(shape, level), 0);
}

/** The most texels a side with which the storage of all fits into so many bytes: `largest`, or that halved some times; 1
 * where even the tails do not. */
export function fitting(shapes: MapShape[], bytes: number, largest: number): number {
  const needed = (size: number): number => shapes.reduce((sum, shape) => sum + storageBytes(shape, size), 0);
  while (largest > 1 && needed(largest) > bytes) largest = Math.floor(largest / 2);
  return largest;
}

/** Bytes of a chunk. */
export function chunkBytes(shape: MapShape, place: Place): number {
  if (place.levels === 1) return levelBytes(shape, place);
  return shape.levels.slice(place.level).reduce((sum, level) => sum + levelBytes(shape, level), 0);
}
