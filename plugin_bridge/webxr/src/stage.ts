// What is in the room: the meshes that the surfaces' jobs are about, and a plane for a texture of its own.
import { Box3, Color, DirectionalLight, Mesh, PMREMGenerator, Scene, Vector3 } from "three";
import type { Object3D, Texture, WebGLRenderer } from "three";
import { RoomEnvironment } from "three/addons/environments/RoomEnvironment.js";
import * as api from "../../web/src/api";
import type { Job } from "../../web/src/api";
import type { Seen } from "./feedback";
import { originOf, slotOf } from "./jobs";
import type { Origin } from "./jobs";
import { StreamedMaterial } from "./material";
import type { Surfaces, SurfaceTextures } from "./surfaces";
import { chosenSlot, isOf, meshThing, plane } from "./things";
import type { Thing } from "./things";

const APART = 1.1; // metres between two
const HEIGHT = 1.25; // metres of their middles above the floor
const AWAY = -1.4; // metres from the viewer

interface Shown { thing: Thing; slot: number; meshes: Mesh[]; material: StreamedMaterial; wanted: string }

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

  get names(): string[] {
    return [...this.shown.keys()].sort();
  }

  /** The middle of a surface, in metres. */
  middleOf(surface: string): Vector3 {
    const box = new Box3();
    for (const mesh of this.shown.get(surface)?.meshes ?? []) box.expandByObject(mesh);
    return box.getCenter(new Vector3());
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
    const shown = this.shown.get(surface);
    if (!shown || before !== job) {
      const origin = await originOf(job);
      const isSame = shown && shown.wanted === slotOf(job) && (origin ? isOf(shown.thing, origin) : !shown.thing.key);
      if (!isSame) {
        this.remove(surface);
        await this.add(surface, origin, slotOf(job));
      }
    }
    this.shown.get(surface)!.material.show(this.surfaces.all.get(surface));
  }

  private async add(surface: string, origin: Origin | null, wanted: string): Promise<void> {
    const isFree = (thing: Thing): boolean => isOf(thing, origin) && !thing.taken.has(chosenSlot(thing, wanted));
    const known = this.things.find(isFree);
    const thing = known ?? (origin ? await meshThing(origin) : plane());
    const slot = chosenSlot(thing, wanted);
    if (slot < 0) throw new Error(`its mesh has no material ${wanted}`);
    if (!known) this.place(thing);
    const { meshes } = thing.slots[slot];
    const material = new StreamedMaterial();
    material.isSelected = surface === this.selected;
    for (const mesh of meshes) mesh.material = material;
    thing.taken.add(slot);
    this.shown.set(surface, { thing, slot, meshes, material, wanted });
  }

  private place(thing: Thing): void {
    this.things.push(thing);
    this.scene.add(thing.root);
    this.arrange();
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
