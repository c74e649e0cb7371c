// The exemplars on offer: as buttons on a screen, as pictures in the room.
import { Group, Mesh, MeshBasicMaterial, PlaneGeometry, SRGBColorSpace, TextureLoader } from "three";
import type { Object3D } from "three";
import * as api from "../../web/src/api";
import { h } from "../../web/src/dom";
import { exemplars } from "./jobs";
import type { Exemplar } from "./jobs";

const SIDE = 0.13; // metres
const APART = 0.15; // metres
const A_ROW = 4;

export class Palette {
  readonly element = h("div", { class: "palette", role: "group", "aria-label": "Exemplars for the selected surface" });
  readonly board = new Group();
  private offered = "";

  /** chosen: called with the exemplar that was picked. */
  constructor(private readonly chosen: (exemplar: Exemplar) => void) {}

  async refresh(): Promise<void> {
    const found = await exemplars();
    const keys = found.map(({ key }) => key).join();
    if (keys === this.offered) return;
    this.offered = keys;
    this.element.replaceChildren(...found.map((exemplar) => this.button(exemplar)));
    for (const each of this.board.children as Mesh<PlaneGeometry, MeshBasicMaterial>[]) each.material.dispose();
    this.board.clear();
    found.forEach((exemplar, number) => this.board.add(picture(exemplar, number)));
  }

  /** Picks the exemplar of a picture in the room; false for another object. */
  pick(object: Object3D): boolean {
    const exemplar = object.userData.exemplar as Exemplar | undefined;
    if (exemplar) this.chosen(exemplar);
    return exemplar !== undefined;
  }

  private button(exemplar: Exemplar): HTMLElement {
    const image = h("img", { alt: "", width: 64, height: 64 });
    if (exemplar.picture) void api.picture(exemplar.picture).then((url) => (image.src = url), () => undefined);
    return h("button", { type: "button", title: exemplar.name, "aria-label": exemplar.name, onclick: () => this.chosen(exemplar) }, image);
  }
}

function picture(exemplar: Exemplar, number: number): Mesh {
  const mesh = new Mesh(new PlaneGeometry(SIDE, SIDE), new MeshBasicMaterial({ color: 0x444a52, toneMapped: false }));
  mesh.position.set(((number % A_ROW) - (A_ROW - 1) / 2) * APART, -Math.floor(number / A_ROW) * APART, 0);
  mesh.userData.exemplar = exemplar;
  if (exemplar.picture) void shown(mesh.material, exemplar.picture);
  return mesh;
}

async function shown(material: MeshBasicMaterial, path: string): Promise<void> {
  const map = await new TextureLoader().loadAsync(await api.picture(path)).catch(() => null);
  if (!map) return;
  map.colorSpace = SRGBColorSpace;
  material.map = map;
  material.color.set("white");
  material.needsUpdate = true;
}
