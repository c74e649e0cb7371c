// The form for a new texture: what to take from, what to give it to, and how.
import * as api from "./api";
import { announce, h, say } from "./dom";
import * as inputs from "./inputs";
import type { Jobs } from "./jobs";
import offered from "./options.json";

interface Offered {
  name: string; label: string; kind: string; value: string; help: string; choices?: string[]; restyle?: boolean; second?: boolean; more?: boolean;
}

/** A place to drop files, with buttons that do the same. */
class Zone {
  chosen: inputs.Chosen | null = null;
  readonly element: HTMLElement;
  private readonly pictures = h("div", { class: "picked" });
  private readonly says = h("p", { class: "says" });
  private readonly wrong = h("p", { class: "wrong", role: "alert" });
  private readonly clear = h("button", { type: "button", class: "small clear", hidden: true, onclick: () => this.set(null) }, "Remove");

  /** one: takes a single image, and no folder. */
  constructor(readonly name: string, label: string, private readonly help: string, private readonly changed: () => void, private readonly one = false) {
    const files = h("input", { type: "file", multiple: !one, class: "unseen", tabIndex: -1, "aria-hidden": "true", id: `${name}-files` });
    const folder = h("input", { type: "file", class: "unseen", tabIndex: -1, "aria-hidden": "true", id: `${name}-folder` });
    folder.webkitdirectory = true;
    for (const input of [files, folder])
      input.addEventListener("change", () => (this.take(inputs.fromList(input.files ?? [])), (input.value = "")));
    this.element = h(
      "section", { class: "zone", id: `zone-${name}`, "aria-label": label },
      h("h3", {}, label), this.says, this.pictures, this.wrong,
      h("div", { class: "buttons" },
        h("button", { type: "button", onclick: () => files.click() }, one ? "Choose an image" : "Choose files"),
        !one && h("button", { type: "button", onclick: () => folder.click() }, "Choose a folder"), this.clear),
      files, folder,
    );
    this.element.addEventListener("dragover", (event) => (event.preventDefault(), this.element.classList.add("over")));
    this.element.addEventListener("dragleave", () => this.element.classList.remove("over"));
    this.element.addEventListener("drop", (event) => {
      this.element.classList.remove("over");
      if (!event.dataTransfer) return;
      event.preventDefault();
      event.stopPropagation();
      void inputs.fromDrop(event.dataTransfer).then((picked) => this.take(picked));
    });
    this.set(null);
  }

  take(picked: inputs.Picked[]): void {
    if (picked.length === 0) return;
    try {
      this.set(inputs.choose(picked, this.one));
    } catch (error) {
      this.complain((error as Error).message);
    }
  }

  set(chosen: inputs.Chosen | null): void {
    this.chosen = chosen;
    for (const old of this.pictures.querySelectorAll("img")) URL.revokeObjectURL(old.src);
    const shown = (chosen?.files ?? []).filter(({ path }) => inputs.isShown(path)).slice(0, 6);
    this.pictures.replaceChildren(...shown.map(({ file, path }) => h("img", { src: URL.createObjectURL(file), alt: path, title: path })));
    this.clear.hidden = chosen === null;
    const size = (chosen?.files ?? []).reduce((sum, { file }) => sum + file.size, 0) / 2 ** 20;
    say(this.says, chosen ? `${chosen.label}: ${chosen.files.map(({ path }) => path).slice(0, 8).join(", ")} (${size.toFixed(1)} MiB)` : this.help);
    this.complain("");
    this.changed();
  }

  complain(text: string): void {
    say(this.wrong, text);
    this.element.classList.toggle("has-wrong", text !== "");
  }
}

class Field {
  readonly element: HTMLElement;
  private readonly input: HTMLInputElement | HTMLSelectElement;
  private readonly wrong: HTMLElement;

  constructor(readonly option: Offered) {
    const { name, kind, value, choices, label, help } = option;
    const id = `option-${name}`;
    this.wrong = h("p", { class: "wrong", role: "alert", id: `${id}-wrong` });
    const described = { id, "aria-describedby": `${id}-help ${id}-wrong` };
    if (kind === "choice")
      this.input = h("select", described, ...choices!.map((each) => h("option", { value: each, selected: each === value }, each || "automatic")));
    else if (kind === "lent") this.input = h("select", described, h("option", { value }, "none"));
    else if (kind === "switch") this.input = h("input", { ...described, type: "checkbox" });
    else if (kind === "fraction") this.input = h("input", { ...described, type: "range", min: "0", max: "1", step: "0.05", value });
    else this.input = h("input", { ...described, type: "text", inputMode: kind === "number" ? "decimal" : "text", value, autocomplete: "off", spellcheck: false });
    const shown = h("output", {}, kind === "fraction" ? value : "");
    this.input.addEventListener("input", () => {
      if (kind === "fraction") say(shown, this.input.value);
      this.complain("");
    });
    this.element = h("div", { class: `field ${kind}` }, h("label", { htmlFor: id }, label), h("div", { class: "control" }, this.input, kind === "fraction" && shown), h("p", { class: "help", id: `${id}-help` }, help), this.wrong);
  }

  /** As the service wants it; undefined leaves the default. */
  get value(): unknown {
    const { kind, value } = this.option;
    if (kind === "switch") return (this.input as HTMLInputElement).checked || undefined;
    const text = this.input.value.trim();
    if (text === value || text === "") return undefined;
    if (kind === "fraction") return { value: Number(text) };
    return kind === "list" ? text.split(/[\s,]+/) : text;
  }

  set value(given: unknown) {
    if (this.input instanceof HTMLInputElement && this.input.type === "checkbox") this.input.checked = given === true;
    else this.input.value = String(given);
  }

  /** Of a kind "lent": whether there is anything to choose. */
  get hasChoice(): boolean {
    return this.input instanceof HTMLInputElement || this.input.length > 1;
  }

  /** Of a kind "lent": what the service has; a choice that it still has stays. */
  offer(names: string[]): void {
    const chosen = this.input.value;
    this.input.replaceChildren(this.input.children[0], ...names.map((each) => h("option", { value: each, selected: each === chosen }, each)));
  }

  complain(text: string): void {
    say(this.wrong, text);
    this.input.setAttribute("aria-invalid", String(text !== ""));
    if (!text) return;
    const folded = this.element.closest("details");
    if (folded) folded.open = true;
    this.input.focus();
  }
}

export class Form {
  readonly element: HTMLFormElement;
  private readonly exemplar: Zone;
  private readonly asset: Zone;
  private readonly second: Zone;
  private readonly cover: Zone;
  private readonly region: Zone;
  private readonly fields = (offered as Offered[]).map((option) => new Field(option));
  private readonly send = h("button", { type: "submit", class: "primary" });
  private readonly bar = h("progress", { max: 1, hidden: true, "aria-label": "upload" });
  private readonly says = h("p", { class: "says" });
  private readonly wrong = h("p", { class: "wrong general", role: "alert" });
  private readonly batch = h("input", { type: "checkbox", id: "batch" });
  private readonly deadline = h("input", { type: "text", inputMode: "decimal", id: "deadline", autocomplete: "off", "aria-describedby": "deadline-help deadline-wrong" });
  private readonly late = h("p", { class: "wrong", role: "alert", id: "deadline-wrong" });

  constructor(private readonly jobs: Jobs) {
    this.exemplar = new Zone("exemplar", "Exemplar", "A photo, a folder of maps, or a textured mesh. Drop it here.", () => this.changed());
    this.asset = new Zone("asset", "Asset (optional)", "A mesh (.glb, .gltf, .obj, .ply, .stl), a folder of maps or one image, to get that material.", () => this.changed());
    const changed = (): void => this.changed();
    this.second = new Zone("second", "Second exemplar (optional)", "Shows in the low places of the first.", changed);
    this.cover = new Zone("cover", "Where the second shows (optional)", "An image, white where it covers all; without it the share below says how much.", changed, true);
    this.region = new Zone("region", "Region (optional)", "An image over the asset's texture, white where it may change.", changed, true);
    const shown = (more: boolean) => this.fields.filter(({ option }) => Boolean(option.more) === more).map(({ element }) => element);
    this.element = h(
      "form", { class: "new", noValidate: true, "aria-label": "New texture", onsubmit: (event: Event) => (event.preventDefault(), void this.submit()) },
      h("h2", {}, "New texture"),
      h("div", { class: "zones" }, this.exemplar.element, this.asset.element),
      h("div", { class: "fields" }, ...shown(false)),
      h("details", {}, h("summary", {}, "More options"), h("div", { class: "zones small" }, this.second.element, this.cover.element, this.region.element), h("div", { class: "fields" }, ...shown(true),
        h("div", { class: "field switch" }, h("label", { htmlFor: "batch" }, "Batch"), h("div", { class: "control" }, this.batch), h("p", { class: "help" }, "Nobody waits for it: runs when no person's job does.")),
        h("div", { class: "field" }, h("label", { htmlFor: "deadline" }, "Deadline, seconds"), h("div", { class: "control" }, this.deadline), h("p", { class: "help", id: "deadline-help" }, "Called off if it is not done by then; without it never."), this.late))),
      h("div", { class: "end" }, this.send, this.bar, this.says, this.wrong),
    );
    this.deadline.addEventListener("input", () => say(this.late, ""));
    this.changed();
  }

  /** The inputs, of those that are in use. */
  private get zones(): Zone[] {
    const restyles = this.asset.chosen !== null, blends = this.second.chosen !== null;
    return [this.exemplar, this.asset, this.second, ...(blends ? [this.cover] : []), ...(restyles ? [this.region] : [])];
  }

  /** Asks what the service lends; where it does not answer, what it said before stays. */
  async refresh(): Promise<void> {
    const names = await api.models().catch(() => null);
    if (names === null) return;
    for (const field of this.fields) if (field.option.kind === "lent") field.offer(names);
    this.changed();
  }

  /** Takes files that were dropped beside the zones: the exemplar first, then the asset. */
  take(picked: inputs.Picked[]): void {
    const toAsset = this.exemplar.chosen !== null || (picked.some(({ path }) => inputs.isMesh(path)) && !this.asset.chosen);
    (toAsset ? this.asset : this.exemplar).take(picked);
  }

  private changed(): void {
    if (!this.region) return; // while it is made
    const restyles = this.asset.chosen !== null, blends = this.second.chosen !== null;
    say(this.send, restyles ? "Restyle the asset" : "Synthesize a texture");
    for (const field of this.fields) field.element.hidden = !this.uses(field.option) || !field.hasChoice;
    this.cover.element.hidden = !blends;
    this.region.element.hidden = !restyles;
  }

  /** Whether an option means something with the inputs that are chosen. */
  private uses(option: Offered): boolean {
    return (!option.restyle || this.asset.chosen !== null) && (!option.second || this.second.chosen !== null);
  }

  private async submit(): Promise<void> {
    if (this.send.disabled) return;
    for (const each of [...this.fields, ...this.zones]) each.complain("");
    say(this.wrong, "");
    const exemplar = this.exemplar.chosen;
    if (!exemplar) {
      this.exemplar.complain("is missing; drop or choose a photo, a folder of maps or a textured mesh");
      this.exemplar.element.querySelector("button")!.focus();
      return;
    }
    const seconds = Number(this.deadline.value.trim() || 0);
    if (!(seconds >= 0 && seconds < Infinity)) {
      say(this.late, `got ${this.deadline.value}; give seconds, or nothing for never`);
      this.deadline.focus();
      return;
    }
    this.send.disabled = true;
    this.bar.hidden = false;
    try {
      const sent = await this.upload();
      const options: api.Options = Object.fromEntries(this.fields.filter(({ option }) => this.uses(option)).map((field) => [field.option.name, field.value]).filter(([, value]) => value !== undefined));
      if (sent.second) options.second = sent.second;
      if (sent.cover) [options.blend_sha256, options.blend] = [sent.cover.files[0].sha256, undefined];
      if (sent.region) options.region_sha256 = sent.region.files[0].sha256;
      const work: api.Work = sent.asset ? { restyle: { asset: sent.asset, exemplar: sent.exemplar, options } } : { synthesize: { exemplar: sent.exemplar, options } };
      const label = sent.asset ? `${this.asset.chosen!.label} ← ${exemplar.label}` : exemplar.label;
      const job = await api.submit(work, label, this.batch.checked ? "PRIORITY_BATCH" : "PRIORITY_INTERACTIVE", seconds);
      this.jobs.put(job);
      announce(`${label}: submitted`);
      location.hash = `#/job/${job.id}`;
    } catch (error) {
      this.complain(error as Error);
    } finally {
      this.send.disabled = false;
      this.bar.hidden = true;
      say(this.says, "");
    }
  }

  /** The inputs in use, by name, once they are sent. */
  private async upload(): Promise<Record<string, api.Input>> {
    say(this.says, "sends the files");
    const used = this.zones.flatMap(({ name, chosen }) => (chosen ? [{ name, chosen }] : []));
    const files = used.flatMap(({ chosen }) => chosen.files.map(({ file }) => file));
    const digests = await api.upload(files, (share) => (this.bar.value = share));
    let at = 0;
    const input = ({ main, folder, files }: inputs.Chosen): api.Input => ({ main, name: folder, files: files.map(({ path }) => ({ name: path, sha256: digests[at++] })) });
    return Object.fromEntries(used.map(({ name, chosen }) => [name, input(chosen)]));
  }

  /** Shows the one line of the service at the field that it names. */
  private complain(error: Error): void {
    const field = error instanceof api.ServiceError ? error.field : "";
    const zone = this.zones.find(({ name }) => field.includes(`.${name === "cover" ? "blend_sha256" : name}`));
    const [, option, text] = /^([a-z]+): (.*)$/.exec(error.message) ?? ["", field.split(".").pop()!, error.message];
    const named = this.fields.find((each) => each.option.name === option || each.option.name === field.split(".").pop());
    if (zone) zone.complain(error.message);
    else if (named) named.complain(text);
    else say(this.wrong, error.message);
  }
}
