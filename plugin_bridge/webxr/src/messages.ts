// What the page and its worker say to each other. A texture is called "SURFACE/MAP".
import type { MapShape } from "./layout";

export const TILE = 64; // texels a side of the squares that views are told in

export interface SeenTile { level: number; row: number; column: number; pixels: number; x: number; y: number }
export interface SeenSurface { surface: string; tiles: SeenTile[] }

export interface Start {
  kind: "start"; url: string; token: string; scene: string; formats: string[]; largestTexture: number; memoryBudget: number; window: number;
}
export type ToWorker =
  | Start
  | { kind: "view"; surfaces: SeenSurface[] }
  | { kind: "gaze"; known: boolean; x: number; y: number }
  | { kind: "selection"; surfaces: string[] }
  | { kind: "uploaded"; bytes: number; data?: Uint8Array<ArrayBuffer> } // so many more bytes may come; data: was one of them
  | { kind: "forget" }; // nothing is held any more: all is asked for again

export interface Version {
  kind: "version"; texture: string; surface: string; map: string; job: string; version: bigint; shape: MapShape; kept: number[];
}
export interface ChunkMessage { kind: "chunk"; texture: string; index: number; data: Uint8Array<ArrayBuffer>; bytes: number } // bytes: of the line
export type FromWorker =
  | Version
  | ChunkMessage
  | { kind: "evicted"; texture: string; index: number }
  | { kind: "forgotten"; texture: string }
  | { kind: "settled" }
  | { kind: "limited"; texels: number } // a side, of the largest texture that fits into the memory with all others
  | { kind: "state"; state: "opens" | "streams" | "waits" | "refused"; code: string; message: string };
