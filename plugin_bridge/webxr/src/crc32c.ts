// CRC-32C (Castagnoli; RFC 3720, B.4), eight bytes a step.

const TABLES = Array.from({ length: 8 }, () => new Uint32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  TABLES[0][byte] = value;
}
for (let table = 1; table < 8; table++)
  for (let byte = 0; byte < 256; byte++) {
    const before = TABLES[table - 1][byte];
    TABLES[table][byte] = (before >>> 8) ^ TABLES[0][before & 255];
  }

const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES;

/** The checksum as an unsigned number. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  let at = 0;
  for (const end = data.length - 7; at < end; at += 8)
    crc =
      T7[(crc ^ data[at]) & 255] ^ T6[((crc >>> 8) ^ data[at + 1]) & 255] ^ T5[((crc >>> 16) ^ data[at + 2]) & 255] ^
      T4[(crc >>> 24) ^ data[at + 3]] ^ T3[data[at + 4]] ^ T2[data[at + 5]] ^ T1[data[at + 6]] ^ T0[data[at + 7]];
  for (; at < data.length; at++) crc = (crc >>> 8) ^ T0[(crc ^ data[at]) & 255];
  return (crc ^ 0xffffffff) >>> 0;
}
