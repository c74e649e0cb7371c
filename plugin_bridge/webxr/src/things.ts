// What surfaces are on: a mesh with its material slots, numbered and chosen as texsynth/sources.py does, or a plane.
import { Box3, Float32BufferAttribute, Group, Mesh, PlaneGeometry, Vector3 } from "three";
import type { BufferAttribute, BufferGeometry, Material, Object3D } from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import type { GLTF } from "three/addons/loaders/GLTFLoader.js";
import * as api from "../../web/src/api";
import type { Origin } from "./jobs";

export const SIZE = 0.9; // metres of a thing's largest side

interface Slot { name: string; meshes: Mesh[] }
/** key: of the mesh, "" for a plane. size: texels that its UVs were made for, 0 for its own UVs. */
export interface Thing { key: string; size: number; root: Group; slots: Slot[]; taken: Set<number> }

/** Whether a thing is the mesh of this origin. */
export const isOf = ({ key, size }: Thing, origin: Origin | null): boolean => origin !== null && key === origin.key && (size === 0 || size === origin.size);

/** The slot of a name or number, for "" that of the largest area; -1: none. */
export function chosenSlot({ slots }: Thing, wanted: string): number {
  const named = slots.findIndex(({ name }) => name === wanted);
  if (wanted) return named >= 0 ? named : /^\d+$/.test(wanted) && Number(wanted) < slots.length ? Number(wanted) : -1;
  const areas = slots.map(({ meshes }) => meshes.reduce((sum, mesh) => sum + areaOf(mesh), 0));
  return areas.indexOf(Math.max(...areas));
}

export function plane(): Thing {
  const geometry = new PlaneGeometry(SIZE, SIZE);
  const uv = geometry.getAttribute("uv");
  for (let at = 0; at < uv.count; at++) uv.setY(at, 1 - uv.getY(at)); // the first row of a texture is its top
  const mesh = new Mesh(geometry);
  return { key: "", size: 0, root: new Group().add(mesh), slots: [{ name: "", meshes: [mesh] }], taken: new Set() };
}

/** The mesh as it was given; where that is no .glb or has no UVs, as its first job left it. */
export async function meshThing({ key, given, made, size, isBare }: Origin): Promise<Thing> {
  const own = given ? await loaded(given) : null;
  const isOwn = own !== null && meshesOf(own).some(({ geometry }) => geometry.hasAttribute("uv"));
  if (!isOwn && !made) throw new Error("its mesh is no .glb, and its job kept none");
  const gltf = isOwn ? own : await loaded(made!);
  const slots = slotsOf(gltf, own ?? gltf, isBare);
  for (const { meshes } of slots) for (const mesh of meshes) placeUvs(gltf, mesh);
  const box = new Box3().setFromObject(gltf.scene);
  const { x, y, z } = box.getSize(new Vector3());
  const root = new Group().add(gltf.scene);
  gltf.scene.position.sub(box.getCenter(new Vector3()));
  root.scale.setScalar(SIZE / (Math.max(x, y, z) || 1));
  return { key, size: isOwn || !(own || isBare) ? 0 : size, root, slots, taken: new Set() };
}

const loaded = async (digest: string): Promise<GLTF> => new GLTFLoader().parseAsync(await (await api.blob(api.fileUrl(digest))).arrayBuffer(), "");

function meshesOf({ scene }: GLTF): Mesh[] {
  const found: Mesh[] = [];
  scene.traverse((each: Object3D) => void (each instanceof Mesh && found.push(each)));
  return found;
}

/** The materials that have textures, in the order of the file; all as one where none has. asked: the file that says so. */
function slotsOf(gltf: GLTF, asked: GLTF, isBare: boolean): Slot[] {
  const meshes = meshesOf(gltf);
  const textured = materials(asked).flatMap((material, number) => (uvInfo(material) ? [number] : []));
  const slots = textured.map((number) => ({ name: materials(gltf)[number]?.name ?? "", meshes: meshes.filter((mesh) => materialNumber(gltf, mesh) === number) }));
  const used = slots.filter((slot) => slot.meshes.length > 0);
  return used.length > 0 && !isBare ? used : [{ name: "", meshes }];
}

interface TextureInfo { texCoord?: number; extensions?: { KHR_texture_transform?: { texCoord?: number; offset?: number[]; rotation?: number; scale?: number[] } } }
interface MaterialJson {
  name?: string; normalTexture?: TextureInfo; pbrMetallicRoughness?: { baseColorTexture?: TextureInfo; metallicRoughnessTexture?: TextureInfo };
  extensions?: { KHR_materials_pbrSpecularGlossiness?: { diffuseTexture?: TextureInfo } };
}

const materials = ({ parser }: GLTF): MaterialJson[] => parser.json.materials ?? [];

/** Which UVs a material uses: base colour's, else the first other's. */
const uvInfo = ({ pbrMetallicRoughness: pbr, extensions, normalTexture }: MaterialJson): TextureInfo | undefined =>
  pbr?.baseColorTexture ?? extensions?.KHR_materials_pbrSpecularGlossiness?.diffuseTexture ?? normalTexture ?? pbr?.metallicRoughnessTexture;

function materialNumber({ parser }: GLTF, mesh: Mesh): number {
  return (parser.associations.get(mesh.material as Material) as { materials?: number } | undefined)?.materials ?? -1;
}

/** Gives a mesh as "uv" the coordinates that its material uses, transformed as it says. */
function placeUvs(gltf: GLTF, mesh: Mesh): void {
  const info = uvInfo(materials(gltf)[materialNumber(gltf, mesh)] ?? {}) ?? {};
  const placed = info.extensions?.KHR_texture_transform ?? {};
  const channel = placed.texCoord ?? info.texCoord ?? 0;
  const { offset: [x, y] = [0, 0], rotation = 0, scale: [across, down] = [1, 1] } = placed;
  if (channel === 0 && x === 0 && y === 0 && rotation === 0 && across === 1 && down === 1) return;
  const uv = (mesh.geometry.getAttribute(channel ? `uv${channel}` : "uv") as BufferAttribute | undefined);
  if (!uv) throw new Error(`its mesh has no texture coordinates ${channel}`);
  const [cosine, sine] = [Math.cos(rotation), Math.sin(rotation)];
  const moved = new Float32Array(2 * uv.count);
  for (let at = 0; at < uv.count; at++) {
    const [u, v] = [across * uv.getX(at), down * uv.getY(at)];
    moved.set([cosine * u + sine * v + x, cosine * v - sine * u + y], 2 * at);
  }
  mesh.geometry = mesh.geometry.clone(); // which other materials may share
  mesh.geometry.setAttribute("uv", new Float32BufferAttribute(moved, 2));
}

/** In the mesh's own units, its scale in the scene included. */
function areaOf(mesh: Mesh): number {
  mesh.updateWorldMatrix(true, false);
  const geometry: BufferGeometry = mesh.geometry.index ? mesh.geometry.toNonIndexed() : mesh.geometry;
  const position = geometry.getAttribute("position");
  const [a, b, c] = [new Vector3(), new Vector3(), new Vector3()];
  let area = 0;
  for (let at = 0; at + 2 < position.count; at += 3) {
    [a, b, c].forEach((corner, number) => corner.fromBufferAttribute(position, at + number).applyMatrix4(mesh.matrixWorld));
    area += b.sub(a).cross(c.sub(a)).length() / 2;
  }
  return area;
}
