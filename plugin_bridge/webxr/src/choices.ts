// The surfaces of the scene as buttons: to select one by keyboard, and to find one that is out of view.
import { h } from "../../web/src/dom";

export class Choices {
  readonly element = h("div", { class: "choices", role: "group", "aria-label": "Surfaces" });
  private readonly buttons = new Map<string, HTMLButtonElement>();

  /** chosen: called with the surface that was picked. */
  constructor(private readonly chosen: (surface: string) => void) {}

  show(surfaces: string[], selected: string): void {
    if (surfaces.join("/") !== [...this.buttons.keys()].join("/")) this.renew(surfaces); // no name has a slash
    for (const [surface, button] of this.buttons) button.setAttribute("aria-pressed", String(surface === selected));
  }

  private renew(surfaces: string[]): void {
    const had = [...this.buttons].find(([, button]) => button === document.activeElement)?.[0];
    this.buttons.clear();
    for (const surface of surfaces) this.buttons.set(surface, h("button", { type: "button", onclick: () => this.chosen(surface) }, surface));
    this.element.replaceChildren(...this.buttons.values());
    if (had !== undefined) this.buttons.get(had)?.focus();
  }
}
