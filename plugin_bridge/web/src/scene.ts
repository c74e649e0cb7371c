// The material in light: on the mesh that it was made for, or on a sphere, a cube or a plane.
import {
  BoxGeometry, Box3, Color, DirectionalLight, LinearSRGBColorSpace, Mesh, MeshStandardMaterial, NeutralToneMapping, Object3D, PerspectiveCamera,
  PlaneGeometry, PMREMGenerator, RepeatWrapping, Scene, SphereGeometry, SRGBColorSpace, Texture, Vector2, Vector3, WebGLRenderer,
} from "three";
import type { BufferGeometry } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { RoomEnvironment } from "three/addons/environments/RoomEnvironment.js";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";

export type Shape = "mesh" | "sphere" | "cube" | "plane";
export type Maps = Partial<Record<string, ImageBitmap>>;

const TURN = 0.12; // radians a key press
const SHAPES: Record<Exclude<Shape, "mesh">, () => BufferGeometry> = {
  sphere: () => new SphereGeometry(1, 128, 64), cube: () => new BoxGeometry(1.5, 1.5, 1.5), plane: () => new PlaneGeometry(2, 2),
};

export class MaterialScene {
  readonly element: HTMLCanvasElement;
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(35, 1, 0.01, 100);
  private readonly controls: OrbitControls;
  private readonly light = new DirectionalLight(new Color("white"), 1.9);
  private shown: Object3D | null = null;
  private readonly observer = new ResizeObserver(() => this.resize());
  private frame = 0;

  /** Throws an Error where there is no WebGL. */
  constructor() {
    this.renderer = new WebGLRenderer({ antialias: true, alpha: true, preserveDrawingBuffer: true });
    this.renderer.toneMapping = NeutralToneMapping;
    this.element = this.renderer.domElement;
    this.element.className = "scene";
    this.element.tabIndex = 0;
    this.element.setAttribute("role", "img");
    this.element.setAttribute("aria-label", "The material in light; arrow keys turn it, plus and minus move nearer and farther, L moves the light");
    const generator = new PMREMGenerator(this.renderer);
    this.scene.environment = generator.fromScene(new RoomEnvironment(), 0.04).texture;
    this.scene.environmentIntensity = 0.4;
    generator.dispose();
    this.light.position.set(-2, 3, 2.5);
    this.scene.add(this.light);
    this.controls = new OrbitControls(this.camera, this.element);
    this.controls.addEventListener("change", () => this.draw());
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.observer.observe(this.element);
  }

  /** A shape with these maps; repeats: how often along its width. */
  showShape(shape: Exclude<Shape, "mesh">, maps: Maps, repeats: number): void {
    const geometry = SHAPES[shape]();
    const around = shape === "sphere" ? 2 * repeats : repeats; // a sphere's equator is twice as long as its meridian
    const texture = (kind: string, isColour = false): Texture | null => {
      const image = maps[kind];
      if (!image) return null;
      const made = new Texture(image);
      made.wrapS = made.wrapT = RepeatWrapping;
      made.repeat.set(around, repeats);
      made.colorSpace = isColour ? SRGBColorSpace : LinearSRGBColorSpace;
      made.anisotropy = this.renderer.capabilities.getMaxAnisotropy();
      made.flipY = false; // bitmaps come as they are: V runs the other way, and so does Y of normals
      made.repeat.y = -repeats;
      made.needsUpdate = true;
      return made;
    };
    const material = new MeshStandardMaterial({
      map: texture("albedo", true), normalMap: texture("normal"), normalScale: new Vector2(1, -1), roughnessMap: texture("roughness"), metalnessMap: texture("metalness"),
      roughness: maps.roughness ? 1 : 0.8, metalness: maps.metalness ? 1 : 0,
    });
    const mesh = new Mesh(geometry, material);
    if (shape === "sphere") mesh.rotation.y = Math.PI / 5;
    this.replace(mesh, shape === "plane" ? new Vector3(0, -0.6, 1) : new Vector3(0.45, 0.4, 1), shape === "sphere" ? 2.3 : undefined);
  }

  /** A binary glTF. */
  async showMesh(data: ArrayBuffer): Promise<void> {
    const { scene } = await new GLTFLoader().parseAsync(data, "");
    this.replace(scene, new Vector3(0.5, 0.35, 1));
  }

  private replace(object: Object3D, from: Vector3, size?: number): void {
    this.clear();
    const box = new Box3().setFromObject(object);
    const whole = size ?? (largest(box) || 1);
    const middle = box.getCenter(new Vector3());
    object.position.sub(middle).multiplyScalar(1 / whole);
    object.scale.multiplyScalar(1 / whole);
    this.shown = object;
    this.scene.add(object);
    this.camera.position.copy(from.normalize().multiplyScalar(1.75));
    this.controls.target.set(0, 0, 0);
    this.controls.minDistance = 0.4;
    this.controls.maxDistance = 6;
    this.controls.update();
    this.draw();
  }

  private clear(): void {
    if (!this.shown) return;
    this.scene.remove(this.shown);
    this.shown.traverse((each) => {
      if (!(each instanceof Mesh)) return;
      each.geometry.dispose();
      for (const material of [each.material].flat()) {
        for (const value of Object.values(material)) if (value instanceof Texture) value.dispose();
        material.dispose();
      }
    });
    this.shown = null;
  }

  private key(event: KeyboardEvent): void {
    const away = this.camera.position.clone().sub(this.controls.target);
    const up = new Vector3(0, 1, 0);
    const side = new Vector3().crossVectors(up, away).normalize();
    const angle = away.angleTo(up);
    const does: Record<string, () => void> = {
      ArrowLeft: () => away.applyAxisAngle(up, -TURN), ArrowRight: () => away.applyAxisAngle(up, TURN),
      ArrowUp: () => void (angle > 0.2 && away.applyAxisAngle(side, -TURN)), ArrowDown: () => void (angle < Math.PI - 0.2 && away.applyAxisAngle(side, TURN)),
      "+": () => away.multiplyScalar(0.9), "=": () => away.multiplyScalar(0.9), "-": () => away.multiplyScalar(1.1),
      l: () => void this.light.position.applyAxisAngle(up, TURN * 2),
    };
    if (!does[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does[event.key]();
    this.camera.position.copy(this.controls.target).add(away);
    this.controls.update();
    this.draw();
  }

  private resize(): void {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.fov = width < height ? 42 : 35;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  private draw(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.renderer.render(this.scene, this.camera);
      this.element.dataset.drawn = String(this.renderer.info.render.triangles);
    });
  }

  dispose(): void {
    cancelAnimationFrame(this.frame);
    this.observer.disconnect();
    this.clear();
    this.controls.dispose();
    this.scene.environment?.dispose();
    this.renderer.dispose();
  }
}

/** About what a camera that looks down on it a little sees of it, from edge to edge. */
function largest(box: Box3): number {
  const { x, y, z } = box.getSize(new Vector3());
  return 1.3 * Math.max(Math.hypot(x, z), y);
}

/** The base colour of the first textured material of a binary glTF, null for none. */
export async function baseColour(data: ArrayBuffer): Promise<ImageBitmap | null> {
  const { scene } = await new GLTFLoader().parseAsync(data, "");
  let found: ImageBitmap | null = null;
  scene.traverse((each) => {
    if (!found && each instanceof Mesh && each.material instanceof MeshStandardMaterial && each.material.map) found = each.material.map.image as ImageBitmap;
  });
  return found;
}
