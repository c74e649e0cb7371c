// What is in the room: the meshes that the surfaces' jobs are about, and a plane for a texture of its own.
import { Box3, Color, DirectionalLight, Group, Mesh, PlaneGeometry, PMREMGenerator, Scene, Vector3 } from "three";
import type { BufferGeometry, Material, Object3D, Texture, WebGLRenderer } from "three";
import { RoomEnvironment } from "three/addons/environments/RoomEnvironment.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import type { GLTF } from "three/addons/loaders/GLTFLoader.js";
import * as api from "../../web/src/api";
import type { Job } from "../../web/src/api";
import type { Seen } from "./feedback";
import { isResultOf, meshOf, slotOf } from "./jobs";
import { StreamedMaterial } from "./material";
import type { Surfaces, SurfaceTextures } from "./surfaces";

const SIZE = 0.9; // metres of a thing's largest side
const APART = 1.1; // metres between two
const HEIGHT = 1.25; // metres of their middles above the floor
const AWAY = -1.4; // metres from the viewer

interface Thing { digest: string | null; root: Group; slots: Map<number, Mesh[]>; taken: Set<number> }
interface Shown { thing: Thing; slot: number; meshes: Mesh[]; material: StreamedMaterial; asset: string }

export class Stage {
  readonly scene = new Scene();
  readonly jobs = new Map<string, Job>();
  private readonly things: Thing[] = [];
  private readonly shown = new Map<string, Shown>();
  private selected = "";
  private region: Texture | null = null;
  private queue: Promise<void> = Promise.resolve();

  /** failed: what went wrong with a surface, in one line. */
  constructor(renderer: WebGLRenderer, private readonly surfaces: Surfaces, private readonly failed: (message: string) => void) {
    this.scene.background = new Color(0x1d2024);
    const light = new DirectionalLight("white", 1.9);
    light.position.set(-2, 3, 2.5);
    this.scene.add(light);
    this.scene.environmentIntensity = 0.5;
    this.lit(renderer);
  }

  /** Makes the light of the room; again after a loss of the GPU's context. */
  lit(renderer: WebGLRenderer): void {
    const generator = new PMREMGenerator(renderer);
    this.scene.environment = generator.fromScene(new RoomEnvironment(), 0.04).texture;
    generator.dispose();
  }

  /** After a change of what a surface shows. One after the other, so that a mesh is fetched once. */
  update(surface: string): void {
    this.queue = this.queue.then(() => this.updated(surface)).catch((error: Error) => this.failed(`${surface}: ${error.message}`));
  }

  /** What feedback is to count. */
  seen(): Seen[] {
    const found: Seen[] = [];
    for (const [surface, { meshes }] of this.shown) {
      const texture = largest(this.surfaces.all.get(surface));
      if (texture) for (const mesh of meshes) found.push({ mesh, surface, texture });
    }
    return found.slice(0, 255);
  }

  /** Of which surface an object is, "" for none. */
  surfaceOf(object: Object3D): string {
    return [...this.shown].find(([, { meshes }]) => meshes.includes(object as Mesh))?.[0] ?? "";
  }

  get meshes(): Mesh[] {
    return [...this.shown.values()].flatMap(({ meshes }) => meshes);
  }

  select(surface: string): void {
    this.selected = surface;
    for (const [name, { material }] of this.shown) material.isSelected = name === surface;
  }

  /** What the brush paints into. */
  regionIs(region: Texture): void {
    this.region = region;
  }

  /** Shows the region on one surface, on none for "". */
  paint(surface: string): void {
    for (const [name, { material }] of this.shown) material.region = name === surface ? this.region : null;
  }

  private async updated(surface: string): Promise<void> {
    const textures = this.surfaces.all.get(surface);
    if (!textures) return this.remove(surface);
    const before = this.jobs.get(surface);
    const job = before?.id === textures.job ? before : await api.get(textures.job);
    this.jobs.set(surface, job);
    const asset = `${meshOf(job)}/${slotOf(job)}`;
    const shown = this.shown.get(surface);
    if (shown && before && isResultOf(before, job)) shown.asset = asset; // the same mesh, with the texels of before
    else if (shown?.asset !== asset) {
      this.remove(surface);
      await this.add(surface, job, asset);
    }
    this.shown.get(surface)!.material.show(this.surfaces.all.get(surface));
  }

  private async add(surface: string, job: Job, asset: string): Promise<void> {
    const digest = meshOf(job);
    const fits = (thing: Thing): number | null => {
      const slot = thing.digest === digest && digest ? chosenSlot(thing, slotOf(job)) : null;
      return slot !== null && !thing.taken.has(slot) ? slot : null;
    };
    const thing = this.things.find((each) => fits(each) !== null) ?? (await this.made(digest));
    const slot = fits(thing) ?? 0;
    const meshes = thing.slots.get(slot)!;
    const material = new StreamedMaterial();
    material.isSelected = surface === this.selected;
    for (const mesh of meshes) mesh.material = material;
    thing.taken.add(slot);
    this.shown.set(surface, { thing, slot, meshes, material, asset });
  }

  private async made(digest: string | null): Promise<Thing> {
    const thing = digest ? meshThing(digest, await (await api.blob(api.fileUrl(digest))).arrayBuffer()) : planeThing();
    const made = await thing;
    this.things.push(made);
    this.scene.add(made.root);
    this.arrange();
    return made;
  }

  private remove(surface: string): void {
    const shown = this.shown.get(surface);
    if (!shown) return;
    this.shown.delete(surface);
    shown.material.dispose();
    shown.thing.taken.delete(shown.slot);
    if (shown.thing.taken.size > 0) return;
    this.things.splice(this.things.indexOf(shown.thing), 1);
    this.scene.remove(shown.thing.root);
    shown.thing.root.traverse((each) => {
      if (each instanceof Mesh) each.geometry.dispose();
    });
    this.arrange();
  }

  /** Side by side. */
  private arrange(): void {
    this.things.forEach(({ root }, number) => root.position.set((number - (this.things.length - 1) / 2) * APART, HEIGHT, AWAY));
  }
}

/** The map with the most texels; its chunks stand for all. */
function largest(textures: SurfaceTextures | undefined) {
  const all = [...(textures?.slots.values() ?? [])].flatMap(({ shown }) => shown ?? []);
  return all.sort((a, b) => b.shape.levels[0].width - a.shape.levels[0].width)[0];
}

function planeThing(): Thing {
  const geometry = new PlaneGeometry(SIZE, SIZE);
  const uv = geometry.getAttribute("uv");
  for (let at = 0; at < uv.count; at++) uv.setY(at, 1 - uv.getY(at)); // the first row of a texture is its top
  const mesh = new Mesh(geometry);
  return { digest: null, root: new Group().add(mesh), slots: new Map([[0, [mesh]]]), taken: new Set() };
}

async function meshThing(digest: string, data: ArrayBuffer): Promise<Thing> {
  const gltf = await new GLTFLoader().parseAsync(data, "");
  const slots = new Map<number, Mesh[]>();
  gltf.scene.traverse((each) => {
    if (!(each instanceof Mesh) || !each.geometry.getAttribute("uv")) return;
    const number = materialNumber(gltf, each.material as Material);
    each.userData.material = [number, (each.material as Material).name];
    slots.set(number, [...(slots.get(number) ?? []), each]);
  });
  if (slots.size === 0) throw new Error("its mesh has no texture coordinates");
  const box = new Box3().setFromObject(gltf.scene);
  const { x, y, z } = box.getSize(new Vector3());
  const root = new Group().add(gltf.scene);
  gltf.scene.position.sub(box.getCenter(new Vector3()));
  root.scale.setScalar(SIZE / (Math.max(x, y, z) || 1));
  return { digest, root, slots, taken: new Set() };
}

const materialNumber = (gltf: GLTF, material: Material): number =>
  (gltf.parser.associations.get(material) as { materials?: number } | undefined)?.materials ?? 0;

/** wanted: name or number, "" for the material of the largest area. */
function chosenSlot({ slots }: Thing, wanted: string): number | null {
  const all = [...slots].map(([slot, meshes]) => ({ slot, meshes, name: meshes[0].userData.material[1] as string }));
  if (wanted) return all.find(({ slot, name }) => name === wanted || String(slot) === wanted)?.slot ?? null;
  const areas = all.map(({ slot, meshes }) => ({ slot, area: meshes.reduce((sum, mesh) => sum + areaOf(mesh), 0) }));
  return areas.sort((a, b) => b.area - a.area)[0].slot;
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
