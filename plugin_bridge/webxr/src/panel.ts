// Figures beside the scene: as text on a screen, on a board in the room.
import { CanvasTexture, Mesh, MeshBasicMaterial, PlaneGeometry, SRGBColorSpace } from "three";
import { h, say } from "../../web/src/dom";

const WIDTH = 0.6; // metres
const LINE = 40; // pixels of the board
const MESSAGE = 3; // lines of a message

export class Panel {
  readonly element = h("dl", { class: "figures", "aria-label": "Figures" });
  readonly board: Mesh<PlaneGeometry, MeshBasicMaterial>;
  private readonly values = new Map<string, HTMLElement>();
  private readonly context: CanvasRenderingContext2D;

  constructor(private readonly names: string[]) {
    for (const name of names) {
      const value = h("dd", { "data-name": name });
      this.values.set(name, value);
      this.element.append(h("dt", {}, name), value);
    }
    const canvas = h("canvas", { width: 800, height: LINE * (names.length + MESSAGE + 1) });
    this.context = canvas.getContext("2d")!;
    const map = new CanvasTexture(canvas);
    map.colorSpace = SRGBColorSpace;
    this.board = new Mesh(new PlaneGeometry(WIDTH, (WIDTH * canvas.height) / canvas.width), new MeshBasicMaterial({ map, toneMapped: false }));
  }

  /** message: what else people are told, which a page says elsewhere. */
  show(figures: Record<string, string>, isInRoom: boolean, message: string): void {
    for (const [name, text] of Object.entries(figures)) say(this.values.get(name)!, text);
    if (!isInRoom) return;
    const { context } = this;
    const { width, height } = context.canvas;
    context.fillStyle = "#14171b";
    context.fillRect(0, 0, width, height);
    context.font = `${LINE * 0.7}px sans-serif`;
    this.names.forEach((name, line) => {
      const y = LINE * (line + 1.1);
      context.fillStyle = "#9aa4b1";
      context.fillText(name, 24, y);
      context.fillStyle = "#f2f4f7";
      context.fillText(figures[name] ?? "", 270, y, width - 290);
    });
    context.fillStyle = "#ffb4a8";
    lines(context, message, width - 48).slice(0, MESSAGE).forEach((line, number) => context.fillText(line, 24, LINE * (this.names.length + 1.1 + number)));
    this.board.material.map!.needsUpdate = true;
  }
}

/** Words in lines of at most so many pixels. */
function lines(context: CanvasRenderingContext2D, text: string, width: number): string[] {
  const found = [""];
  for (const word of text.split(" ")) {
    const longer = `${found[found.length - 1]} ${word}`.trim();
    if (context.measureText(longer).width <= width) found[found.length - 1] = longer;
    else found.push(word);
  }
  return found;
}
