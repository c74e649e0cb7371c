// A texture on a canvas: pixel for pixel at 1:1, zoom and pan, repeated, and wiped against another picture.

/** scale: texels of level 0 that one of its texels covers; NaN stretches it over the whole of level 0. */
export interface Layer { image: ImageBitmap; scale: number; repeats: boolean }

const FARTHEST = 64; // device pixels a texel
const STEP = 1.25;

export class TextureCanvas {
  readonly element = document.createElement("canvas");
  after: Layer | null = null;
  before: Layer | null = null;
  /** How much of the width shows `before`, 0 to 1. */
  wipe = 0.5;
  repeats = false;
  changed: () => void = () => undefined;
  private width = 1; // of level 0, in texels
  private height = 1;
  private zoom = 1; // device pixels a texel of level 0
  private x = 0; // of the texture's corner, in device pixels
  private y = 0;
  private fits = true;
  private frame = 0;
  private readonly pointers = new Map<number, [number, number]>();
  private readonly observer = new ResizeObserver(() => this.resize());

  constructor(label: string) {
    const canvas = this.element;
    canvas.className = "texture";
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${label}; arrow keys move it, plus and minus zoom, 0 fits, 1 is pixel for pixel`);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 400), event.offsetX * devicePixelRatio, event.offsetY * devicePixelRatio);
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    });
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"] as const)
      canvas.addEventListener(name, (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("dblclick", (event) => (this.fits ? this.oneToOne(event.offsetX, event.offsetY) : this.fit()));
    canvas.addEventListener("keydown", (event) => this.key(event));
    this.observer.observe(canvas);
  }

  /** The size of level 0 in texels; another one fits the view to it. */
  setSize(width: number, height: number): void {
    if (width !== this.width || height !== this.height) {
      [this.width, this.height] = [width, height];
      this.fit();
    }
  }

  /** Device pixels a texel of level 0. */
  get magnification(): number {
    return this.zoom;
  }

  fit(): void {
    const tiles = this.repeats ? 2 : 1;
    const { width, height } = this.element;
    this.zoom = Math.min(width / (this.width * tiles), height / (this.height * tiles)) || 1;
    this.x = (width - this.width * this.zoom * tiles) / 2;
    this.y = (height - this.height * this.zoom * tiles) / 2;
    this.fits = true;
    this.draw();
  }

  /** One texel a device pixel; (x, y) in CSS pixels stays where it is. */
  oneToOne(x = this.element.clientWidth / 2, y = this.element.clientHeight / 2): void {
    this.zoomBy(1 / this.zoom, x * devicePixelRatio, y * devicePixelRatio);
  }

  zoomBy(factor: number, x = this.element.width / 2, y = this.element.height / 2): void {
    const least = Math.min(this.element.width / this.width, this.element.height / this.height, 1) / 4;
    const zoom = Math.min(FARTHEST, Math.max(least, this.zoom * factor));
    this.x = x - ((x - this.x) * zoom) / this.zoom;
    this.y = y - ((y - this.y) * zoom) / this.zoom;
    this.zoom = zoom;
    this.fits = false;
    this.draw();
  }

  /** Draws with the next frame. */
  draw(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
      this.changed();
    });
  }

  private resize(): void {
    const canvas = this.element;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * devicePixelRatio)));
    if (width === canvas.width && height === canvas.height) return;
    [canvas.width, canvas.height] = [width, height];
    if (this.fits) this.fit();
    else this.draw();
  }

  private move(event: PointerEvent): void {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now: [number, number] = [event.offsetX, event.offsetY];
    const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    if (other) {
      const apart = (at: [number, number]) => Math.hypot(at[0] - other[0], at[1] - other[1]) || 1;
      const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
      this.zoomBy(apart(now) / apart(before), middle[0] * devicePixelRatio, middle[1] * devicePixelRatio);
    }
    const share = (other ? 0.5 : 1) * devicePixelRatio;
    this.pan((now[0] - before[0]) * share, (now[1] - before[1]) * share);
    this.pointers.set(event.pointerId, now);
  }

  private pan(x: number, y: number): void {
    this.x += x;
    this.y += y;
    this.fits = false;
    this.draw();
  }

  private key(event: KeyboardEvent): void {
    const far = 48 * devicePixelRatio;
    const does: Record<string, () => void> = {
      ArrowLeft: () => this.pan(far, 0), ArrowRight: () => this.pan(-far, 0), ArrowUp: () => this.pan(0, far),
      ArrowDown: () => this.pan(0, -far), "+": () => this.zoomBy(STEP), "=": () => this.zoomBy(STEP), "-": () => this.zoomBy(1 / STEP),
      "0": () => this.fit(), "1": () => this.oneToOne(),
    };
    if (!does[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    does[event.key]();
  }

  private paint(): void {
    const context = this.element.getContext("2d", { alpha: true })!;
    const { width, height } = this.element;
    context.clearRect(0, 0, width, height);
    const edge = this.before ? Math.round(width * this.wipe) : 0;
    if (this.after) this.layer(context, this.after, edge, width);
    if (this.before) this.layer(context, this.before, 0, edge);
  }

  /** One picture between the columns `left` and `right`. */
  private layer(context: CanvasRenderingContext2D, layer: Layer, left: number, right: number): void {
    const { image, scale } = layer;
    const stretched = Number.isNaN(scale);
    const side = (stretched ? this.width : image.width * scale) * this.zoom;
    const top = (stretched ? this.height : image.height * scale) * this.zoom;
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, this.element.height);
    context.clip();
    if (layer.repeats && !this.repeats) { // an exemplar laid over the texture, not over all
      context.beginPath();
      context.rect(Math.round(this.x), Math.round(this.y), Math.round(this.width * this.zoom), Math.round(this.height * this.zoom));
      context.clip();
    }
    const isMagnified = side >= image.width * 0.999;
    context.imageSmoothingEnabled = !isMagnified;
    context.imageSmoothingQuality = "high";
    const tiled = this.repeats || layer.repeats;
    const range = (from: number, step: number, end: number): number[] => {
      if (!tiled) return [0];
      const first = Math.floor(-from / step);
      return Array.from({ length: Math.ceil((end - from) / step) - first }, (_, k) => first + k);
    };
    // whole pixels, or neighbours would leave a seam between them
    const at = (from: number, step: number, k: number) => Math.round(from + k * step);
    for (const row of range(this.y, top, this.element.height))
      for (const column of range(this.x, side, this.element.width)) {
        const [x0, x1] = [at(this.x, side, column), at(this.x, side, column + 1)];
        const [y0, y1] = [at(this.y, top, row), at(this.y, top, row + 1)];
        if (x1 > left && x0 < right) context.drawImage(image, x0, y0, x1 - x0, y1 - y0);
      }
    context.restore();
  }

  dispose(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }
}
