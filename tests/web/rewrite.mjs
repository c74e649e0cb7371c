// Reads every KTX2 file of a folder with ktx-parse and writes it again with ktx-parse: node rewrite.mjs IN OUT
// Prints what ktx-parse read, or its error, by file name as JSON.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { read, write } from "ktx-parse";

const [input, output] = process.argv.slice(2);
const result = {};
for (const name of readdirSync(input)) {
  try {
    const file = read(new Uint8Array(readFileSync(join(input, name))));
    writeFileSync(join(output, name), write(file, { keepWriter: true })); // else its own name comes into KTXwriter
    const { vkFormat, pixelWidth, pixelHeight, levelCount, supercompressionScheme, keyValue } = file;
    const levelBytes = file.levels.map((level) => level.uncompressedByteLength);
    result[name] = { vkFormat, pixelWidth, pixelHeight, levelCount, supercompressionScheme, keyValue, levelBytes };
  } catch (error) {
    result[name] = { error: String(error) };
  }
}
console.log(JSON.stringify(result));
