// What is held of each texture, and the resume token that says so (texsynth_rpc/resume.py).

/** Of one version of a texture. chunks: how many come at most. */
export interface Holding { version: bigint; chunks: number; held: Set<number> }

/** UTF-8 JSON [[texture, version, chunks, bits], ...] in the order of the names; nothing for nothing. */
export function resumeToken(holdings: ReadonlyMap<string, Holding>): Uint8Array {
  if (holdings.size === 0) return new Uint8Array();
  const words = [...holdings].sort(([a], [b]) => byCodePoints(a, b)).map(
    ([texture, { version, chunks, held }]) => `[${JSON.stringify(texture)},${version},${chunks},"${base64(bits(held))}"]`);
  return new TextEncoder().encode(`[${words.join(",")}]`);
}

function byCodePoints(a: string, b: string): number {
  const [left, right] = [[...a], [...b]];
  for (let at = 0; at < Math.min(left.length, right.length); at++) {
    const difference = left[at].codePointAt(0)! - right[at].codePointAt(0)!;
    if (difference) return difference;
  }
  return left.length - right.length;
}

/** Bit i in byte i / 8 at value 1 << i % 8, without zero bytes at the end. */
function bits(held: Set<number>): Uint8Array {
  const found = new Uint8Array(held.size ? (Math.max(...held) >> 3) + 1 : 0);
  for (const index of held) found[index >> 3] |= 1 << (index & 7);
  return found;
}

const base64 = (data: Uint8Array): string => btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
