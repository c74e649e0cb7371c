// Rays of a mouse, of controllers, and of the screen's middle for the keyboard: what they hit is selected, or painted on.
import { BufferGeometry, Line, LineBasicMaterial, Raycaster, Vector2, Vector3 } from "three";
import type { Camera, Group, Intersection, Scene, WebGLRenderer } from "three";
import type { OrbitControls } from "three/addons/controls/OrbitControls.js";

const STILL = 5; // pixels that a click may move
const STEP = 1.1; // how much nearer or farther a key goes

export interface Pointed { at(ray: Raycaster): Intersection | undefined; select(hit: Intersection | undefined): void; paint(hit: Intersection | undefined): void }

export class Pointing {
  private readonly ray = new Raycaster();
  private readonly squeezing = new Set<Group>();

  constructor(private readonly renderer: WebGLRenderer, scene: Scene, camera: Camera, orbit: OrbitControls, private readonly pointed: Pointed) {
    this.mouse(renderer.domElement, camera, orbit);
    this.keyboard(renderer.domElement, camera, orbit);
    for (const number of [0, 1]) this.controller(renderer.xr.getController(number), scene);
  }

  /** Once a frame: controllers whose grip is held paint. */
  frame(): void {
    for (const controller of this.squeezing) this.pointed.paint(this.pointed.at(this.from(controller)));
  }

  private mouse(canvas: HTMLCanvasElement, camera: Camera, orbit: OrbitControls): void {
    let down = new Vector2();
    const hit = (event: PointerEvent): Intersection | undefined => {
      const { left, top, width, height } = canvas.getBoundingClientRect();
      const place = new Vector2(((event.clientX - left) / width) * 2 - 1, 1 - ((event.clientY - top) / height) * 2);
      this.ray.setFromCamera(place, camera);
      return this.pointed.at(this.ray);
    };
    // before the orbit's own listener: with Shift the mouse paints
    canvas.addEventListener("pointerdown", (event) => {
      down = new Vector2(event.clientX, event.clientY);
      orbit.enabled = !event.shiftKey;
    }, { capture: true });
    canvas.addEventListener("pointermove", (event) => {
      if (event.shiftKey && event.buttons & 1) this.pointed.paint(hit(event));
    });
    canvas.addEventListener("pointerup", (event) => {
      orbit.enabled = true;
      if (!event.shiftKey && down.distanceTo(new Vector2(event.clientX, event.clientY)) < STILL) this.pointed.select(hit(event));
    });
  }

  /** What is in the middle of the screen takes the place of what is under the mouse. */
  private keyboard(canvas: HTMLCanvasElement, camera: Camera, orbit: OrbitControls): void {
    const hit = (): Intersection | undefined => {
      this.ray.setFromCamera(new Vector2(), camera);
      return this.pointed.at(this.ray);
    };
    const nearer = (factor: number): void => {
      camera.position.sub(orbit.target).multiplyScalar(factor).add(orbit.target);
      orbit.update();
    };
    const keys: Record<string, () => void> = {
      Enter: () => this.pointed.select(hit()), Escape: () => this.pointed.select(undefined), p: () => this.pointed.paint(hit()),
      "+": () => nearer(1 / STEP), "=": () => nearer(1 / STEP), "-": () => nearer(STEP),
    };
    canvas.tabIndex = 0;
    orbit.listenToKeyEvents(canvas); // arrows move, with Shift they turn
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  private controller(controller: Group, scene: Scene): void {
    const beam = new Line(new BufferGeometry().setFromPoints([new Vector3(), new Vector3(0, 0, -3)]), new LineBasicMaterial({ color: 0x7fb2ff }));
    const listen = (name: string, does: () => void): void => controller.addEventListener(name as never, does as never);
    controller.add(beam);
    listen("selectstart", () => this.pointed.select(this.pointed.at(this.from(controller))));
    listen("squeezestart", () => this.squeezing.add(controller));
    listen("squeezeend", () => this.squeezing.delete(controller));
    scene.add(controller);
  }

  private from(controller: Group): Raycaster {
    controller.updateMatrixWorld();
    this.ray.camera = this.renderer.xr.getCamera();
    this.ray.ray.origin.setFromMatrixPosition(controller.matrixWorld);
    this.ray.ray.direction.set(0, 0, -1).transformDirection(controller.matrixWorld);
    return this.ray;
  }
}
