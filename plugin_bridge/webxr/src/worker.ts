// Owns the line: opens it, opens it again after a cut, parses and checks what comes, and hands it on without a copy.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { inflateSync } from "three/addons/libs/fflate.module.js";
import { crc32c } from "./crc32c";
import { OpenRequestSchema, OpenResponseSchema } from "./gen/texsynth/v1/streams_pb";
import type { NewVersion, StreamedChunk } from "./gen/texsynth/v1/streams_pb";
import { resumeToken } from "./holdings";
import type { Holding } from "./holdings";
import { fitting, layout } from "./layout";
import type { MapShape } from "./layout";
import { TILE } from "./messages";
import type { FromWorker, Start, ToWorker, Version } from "./messages";

type Event = MessageInitShape<typeof OpenRequestSchema>["event"];

const PAUSES = [250, 500, 1000, 2000, 5000]; // milliseconds before each try to open the line again
const FINAL = ["UNAUTHENTICATED", "PERMISSION_DENIED", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED"];
const SILENT = 40_000; // milliseconds without a sign of life; the service pings, which scripts do not see
const OWED = 10; // milliseconds in which credit and acknowledgements are gathered,
const SOON = 128 << 10; // or until so many bytes are: a quarter of what the service sends without an acknowledgement
const AHEAD = 50; // milliseconds: what comes in them may be on the way or wait for a frame to take it up
const LARGEST_WINDOW = 4 << 20; // bytes: 50 ms of 670 Mbit/s
const MEASURED = 250; // milliseconds between two looks at the rate

let start: Start;
let socket: WebSocket | null = null;
let tries = 0;
let names = new Map<number, string>(); // of the textures of this stream
let shapes = new Map<string, MapShape>(); // of the same
let pending: Version[] | null = null; // until all are announced: only then it is known whether they fit into the memory
let largest = Infinity; // texels a side that are asked for
const holdings = new Map<string, Holding>();
const said = new Map<string, Event>(); // what holds until it is said anew, for the next stream
let outstanding = 0; // bytes that came and for which no credit was given yet
let credit = 0; // bytes to be granted; below 0 where too many were
let granted = 0; // bytes that may wait or be on the way, in all
let sequence = 0n;
let acknowledged = 0n;
let unacknowledged = 0; // bytes
let arrived = 0; // bytes since the last look at the rate
let timer = 0;

const tell = (message: FromWorker, transfer: Transferable[] = []): void => self.postMessage(message, { transfer });

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === "start") {
    start = data;
    granted = data.window;
    largest = data.largestTexture;
    self.setInterval(adapt, MEASURED);
    open();
  } else if (data.kind === "forget") {
    holdings.clear();
    outstanding = credit = 0;
    tries = 0;
    reopen();
  } else if (data.kind === "uploaded") {
    outstanding = Math.max(0, outstanding - data.bytes);
    credit += data.bytes;
    owe(credit);
  } else {
    const event: Event =
      data.kind === "view" ? { case: "view", value: { surfaces: data.surfaces, tileSide: TILE } }
      : data.kind === "gaze" ? { case: "gaze", value: { known: data.known, x: data.x, y: data.y } }
      : { case: "selection", value: { surfaces: data.surfaces } };
    said.set(data.kind, event);
    send(event);
  }
};

function send(event: Event): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(toBinary(OpenRequestSchema, create(OpenRequestSchema, { event })) as Uint8Array<ArrayBuffer>);
}

function owe(bytes: number): void {
  if (bytes >= SOON) return owed();
  timer ||= self.setTimeout(owed, OWED);
}

/** The GPU takes a frame's worth at once, so a quick line needs more on the way; never less than at first. */
function adapt(): void {
  const wanted = Math.min(Math.max((arrived / MEASURED) * AHEAD, start.window), LARGEST_WINDOW);
  arrived = 0;
  credit += Math.round(wanted) - granted;
  granted = Math.round(wanted);
  if (credit > 0) owe(credit);
}

/** The acknowledgement and the credit since the last ones. */
function owed(): void {
  clearTimeout(timer);
  timer = unacknowledged = 0;
  if (socket?.readyState !== WebSocket.OPEN) return;
  const bytes = BigInt(Math.max(credit, 0));
  if (sequence > acknowledged) send({ case: "acknowledgement", value: { sequence: (acknowledged = sequence), credit: bytes } });
  else if (bytes > 0n) send({ case: "credit", value: { bytes } });
  credit = Math.min(credit, 0);
}

function open(): void {
  tell({ kind: "state", state: "opens", code: "", message: "" });
  const line = (socket = new WebSocket(start.url));
  line.binaryType = "arraybuffer";
  names = new Map();
  shapes = new Map();
  pending = [];
  sequence = acknowledged = 0n;
  credit = 0; // Hello says what may come
  let alive = 0;
  const lives = (): void => {
    clearTimeout(alive);
    alive = self.setTimeout(() => socket === line && !navigator.onLine && reopen(), SILENT);
  };
  line.onopen = () => {
    lives();
    line.send(start.token);
    const { scene, formats, memoryBudget } = start;
    send({
      case: "hello",
      value: {
        scene, formats, largestTexture: largest, deflate: true, batches: true, marks: true, memoryBudget: BigInt(memoryBudget), credit: BigInt(Math.max(0, granted - outstanding)), resumeToken: resumeToken(holdings),
      },
    });
    for (const event of said.values()) send(event);
    tell({ kind: "state", state: "streams", code: "", message: "" });
  };
  line.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => {
    if (socket !== line) return;
    lives();
    tries = 0;
    take(data);
  };
  line.onclose = ({ reason }) => {
    clearTimeout(alive);
    if (socket === line) closed(reason);
  };
}

function closed(reason: string): void {
  socket = null;
  let code = "UNAVAILABLE";
  let message = "the line broke";
  try { ({ code, message } = JSON.parse(reason)); } catch { /* the line broke without a word */ }
  if (FINAL.includes(code)) return tell({ kind: "state", state: "refused", code, message });
  if (code === "FAILED_PRECONDITION" || code === "ABORTED") holdings.clear(); // the token does not fit: from the start
  tell({ kind: "state", state: "waits", code, message });
  self.setTimeout(() => socket ?? open(), PAUSES[Math.min(tries++, PAUSES.length - 1)]);
}

function reopen(): void {
  const line = socket;
  socket = null;
  line?.close();
  open();
}

/** What came is not what was sent; what was held before is still right. */
function broken(): void {
  const line = socket;
  socket = null;
  line?.close();
  closed("");
}

function take(bytes: ArrayBuffer): void {
  const { event } = fromBinary(OpenResponseSchema, new Uint8Array(bytes));
  switch (event.case) {
    case "newVersion": return version(event.value);
    case "chunk": return void chunk(event.value, false);
    case "chunks": return void event.value.chunks.every((each) => chunk(each, true));
    case "announced": return announced();
    case "settled": return tell({ kind: "settled" });
    case "eviction":
      holdings.get(name(event.value.texture))?.held.delete(event.value.index);
      return tell({ kind: "evicted", texture: name(event.value.texture), index: event.value.index });
    case "forgotten": return forgotten(name(event.value.texture));
  }
}

const name = (texture: number): string => names.get(texture) ?? "";

function version({ texture, surface, map, finestLevel, tailLevel, kept }: NewVersion): void {
  if (!surface || !map) return;
  const called = `${surface.name}/${map.kind}`;
  const shape: MapShape = {
    format: map.format, blockWidth: map.blockWidth, blockHeight: map.blockHeight, blockBytes: map.blockBytes, 
    sides: map.levels.map(({ chunkSide }) => chunkSide || map.chunkSide), tail: tailLevel, levels: map.levels.map(({ width, height }) => ({ width, height })), finest: finestLevel,
  };
  const before = holdings.get(called)?.held;
  const stays = kept.filter((index) => before?.has(index));
  names.set(texture, called);
  holdings.set(called, { version: surface.version, chunks: layout(shape).length, held: new Set(stays) });
  shapes.set(called, shape);
  const told: Version = { kind: "version", texture: called, surface: surface.name, map: map.kind, job: surface.job, version: surface.version, shape, kept: stays };
  if (pending) pending.push(told);
  else if (!isTooLarge()) tell(told);
}

/** Whether the textures take more memory than there is; then they are asked for again, smaller: the GPU has storage for
 * all of a texture, whatever has come of it. */
function isTooLarge(): boolean {
  const sides = [...shapes.values()].map(({ levels, finest }) => Math.max(levels[finest].width, levels[finest].height));
  const now = Math.max(1, ...sides);
  const fits = fitting([...shapes.values()], start.memoryBudget, now);
  if (fits >= now) return false;
  largest = fits;
  tell({ kind: "limited", texels: largest });
  reopen();
  return true;
}

function forgotten(texture: string): void {
  holdings.delete(texture);
  shapes.delete(texture);
  pending = pending && pending.filter((told) => told.texture !== texture);
  tell({ kind: "forgotten", texture });
}

/** What is still held of others is in the scene no more. */
function announced(): void {
  if (isTooLarge()) return;
  for (const each of pending ?? []) tell(each);
  pending = null;
  const known = new Set(names.values());
  for (const texture of [...holdings.keys()].filter((each) => !known.has(each))) forgotten(texture);
}

/** Whether it was right. shared: its message holds others too. */
function chunk({ sequence: number, texture, index, data, crc32c: checksum, inflated }: StreamedChunk, shared: boolean): boolean {
  const right = number === sequence + 1n && crc32c(data) === checksum;
  const blocks = !right ? null : inflated ? inflate(data, inflated) : shared ? data.slice() : data;
  if (!blocks) {
    broken();
    return false;
  }
  sequence = number;
  outstanding += data.length;
  arrived += data.length;
  holdings.get(name(texture))?.held.add(index);
  owe((unacknowledged += data.length));
  const owned = blocks as Uint8Array<ArrayBuffer>; // its own, or a part of the message, whose memory goes along
  tell({ kind: "chunk", texture: name(texture), index, data: owned, bytes: data.length }, [owned.buffer]);
  return true;
}

/** Raw DEFLATE of so many bytes; null where it is not. */
function inflate(data: Uint8Array, size: number): Uint8Array | null {
  try {
    const blocks = inflateSync(data, { out: new Uint8Array(size) });
    return blocks.length === size ? blocks : null;
  } catch {
    return null;
  }
}
