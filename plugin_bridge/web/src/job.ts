// One job: its picture while it runs, its result when it is done.
import * as api from "./api";
import type { Job } from "./api";
import { TextureCanvas } from "./canvas";
import { announce, h, say, tabs } from "./dom";
import { facts, given, isActive, Jobs, kindOf, standing, stateWord, taskOf, title } from "./jobs";
import { actions } from "./queue";
import { MapEntry, Result } from "./result";
import type { MaterialScene, Shape } from "./scene";

const LARGEST_SHOWN = 2048; // texels a side of the level that is shown first and of those in 3D

export interface View { element: HTMLElement; dispose: () => void }

export function jobView(jobs: Jobs, id: string): View {
  const name = h("h2", {});
  const state = h("span", { class: "state" });
  const about = h("p", { class: "facts" });
  const body = h("div", { class: "body" });
  const act = actions(jobs, () => jobs.known.get(id)!);
  const another = h("button", { type: "button", class: "small", onclick: () => void again(jobs, jobs.known.get(id)!) }, "Another seed");
  act.prepend(another);
  const head = h("header", { class: "job-head" }, h("a", { href: "#/", class: "back" }, "‹ Queue"), h("div", { class: "names" }, h("div", { class: "line" }, name, state), about), act);
  const element = h("article", { class: "job" }, head, body);
  let inner: View & { update?: (job: Job) => void } = { element: h("div"), dispose: () => undefined };
  let shown = "";

  const update = (): void => {
    const job = jobs.known.get(id);
    if (!job) return;
    say(name, title(job));
    say(state, stateWord(job));
    state.dataset.state = job.state;
    const took = (Date.parse(job.changed) - Date.parse(job.submitted)) / 1000;
    say(about, [kindOf(job), ...facts(job).filter((each) => each !== kindOf(job)), job.state === "JOB_STATE_SUCCEEDED" ? `${took.toFixed(0)} s from submit to result` : ""].filter(Boolean).join(" · "));
    act.show();
    another.hidden = isActive(job) || !taskOf(job).options;
    if (shown !== job.state) {
      shown = job.state;
      inner.dispose();
      inner = job.state === "JOB_STATE_SUCCEEDED" ? resultView(job) : progressView();
      body.replaceChildren(inner.element);
    }
    inner.update?.(job);
  };
  const deaf = jobs.listen(update);
  if (jobs.known.has(id)) update();
  else api.get(id).then((job) => jobs.put(job), (error: Error) => body.replaceChildren(h("p", { class: "wrong" }, error.message)));
  return { element, dispose: () => (deaf(), inner.dispose()) };
}

/** The same work with the next seed. */
async function again(jobs: Jobs, job: Job): Promise<void> {
  const work = structuredClone(job.work);
  const task = work[kindOf(job)]!;
  task.options = { ...task.options, seed: String(Number(task.options?.seed ?? 0) + 1) };
  try {
    const made = await api.submit(work, title(job), job.priority);
    jobs.put(made);
    location.hash = `#/job/${made.id}`;
  } catch (error) {
    announce((error as Error).message);
  }
}

function progressView(): View & { update: (job: Job) => void } {
  const image = h("img", { class: "preview", alt: "the texture so far" });
  const canvas = h("div", { class: "canvas" }, image);
  const bar = h("progress", { max: 1, "aria-label": "progress" });
  const says = h("p", { class: "says" });
  const wrong = h("p", { class: "wrong" });
  let shown = "";
  return {
    element: h("div", { class: "progress" }, canvas, h("div", { class: "line" }, bar, says), wrong),
    dispose: () => undefined,
    update: (job) => {
      bar.value = job.progress.fraction;
      bar.hidden = !isActive(job);
      say(says, standing(job));
      say(wrong, job.error?.message ?? "");
      const next = job.progress.preview_sha256;
      image.hidden = !next && !shown;
      canvas.hidden = image.hidden && !isActive(job);
      if (next && next !== shown) {
        shown = next;
        void api.picture(api.fileUrl(next, "x.png")).then((url) => { if (shown === next) image.src = url; }, () => undefined);
      }
    },
  };
}

function resultView(job: Job): View {
  const element = h("div", { class: "result" }, h("p", { class: "says" }, "loads"));
  let open: View | null = null;
  let isGone = false;
  const fail = (error: Error): void => element.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
  Result.open(job).then((result) => {
    if (isGone) return;
    const stage = h("div", { class: "stage" });
    const views: [string, string, () => View][] = [];
    if (result.maps.length) views.push(["maps", "Maps", () => mapsView(result)], ["light", "In 3D", () => lightView(result)]);
    const report = ["report.html", "summary.html"].find((name) => result.digest(name));
    if (report) views.push(["report", "Report", () => reportView(result, report)]);
    views.push(["files", "Files", () => filesView(result)]);
    const bar = tabs("Views of the result", views.map(([key, text]) => [key, text]), (key) => {
      open?.dispose();
      open = views.find(([each]) => each === key)![2]();
      stage.replaceChildren(open.element);
    });
    bar.element.classList.add("views");
    element.replaceChildren(bar.element, stage);
    bar.choose(views[0][0]);
  }).catch(fail);
  return { element, dispose: () => ((isGone = true), open?.dispose()) };
}

// --- the maps -------------------------------------------------------------------------------------------------------

function mapsView(result: Result): View {
  const canvas = new TextureCanvas(`Texture of ${title(result.job)}`);
  const level = h("input", { type: "range", min: "0", step: "1", value: "0", id: "mip", class: "mip" });
  const levelSays = h("output", { htmlFor: "mip" } as Record<string, unknown>);
  const zoomSays = h("output", { class: "zoom" });
  const wrong = h("p", { class: "wrong over", role: "alert" });
  const repeat = h("button", { type: "button", "aria-pressed": "false", title: "Show it repeated (R)" }, "Repeat");
  const compare = h("select", { "aria-label": "Compare with" });
  const handle = h("div", { class: "wipe", role: "slider", tabIndex: 0, "aria-label": "Before and after", "aria-valuemin": "0", "aria-valuemax": "100", hidden: true }, h("span", { class: "grip" }));
  const labels = h("div", { class: "sides", hidden: true }, h("span", {}, ""), h("span", {}, "result"));
  let map: MapEntry = result.maps[0];
  let wanted = 0;

  const show = async (): Promise<void> => {
    const mine = ++wanted;
    const number = Number(level.value);
    const { width, height } = map.levels[0];
    const own = map.levels[number];
    say(levelSays, `${number} · ${own.width} × ${own.height}`);
    level.setAttribute("aria-valuetext", `level ${number}, ${own.width} by ${own.height} texels`);
    canvas.element.setAttribute("aria-busy", "true");
    try {
      const image = await result.level(map, number);
      if (mine !== wanted) return;
      canvas.setSize(width, height);
      canvas.after = { image, scale: NaN, repeats: false };
      canvas.element.dataset.level = `${map.kind}/${number}`;
      say(wrong, "");
    } catch (error) {
      if (mine !== wanted) return;
      say(wrong, (error as Error).message);
    }
    canvas.element.removeAttribute("aria-busy");
    canvas.draw();
  };

  const before = async (): Promise<void> => {
    const which = compare.value as "" | "asset" | "exemplar" | "source";
    const kind = map.kind;
    canvas.before = null;
    handle.hidden = labels.hidden = true;
    if (which) {
      try {
        const image = which === "asset" && result.mesh ? await meshTexture(result) : await result.image(api.fileUrl(given(result.job, which, kind), "x.png"));
        if (which !== compare.value || kind !== map.kind || !image) return;
        const density = Number(taskOf(result.job).options?.density) || 1;
        const isExemplar = which === "exemplar";
        canvas.before = { image, scale: isExemplar ? 1 / density : NaN, repeats: isExemplar };
      } catch (error) {
        say(wrong, (error as Error).message);
      }
    }
    handle.hidden = labels.hidden = !canvas.before;
    say(labels.firstElementChild as HTMLElement, which);
    wipe(canvas.wipe);
  };

  const wipe = (share: number): void => {
    canvas.wipe = Math.min(1, Math.max(0, share));
    handle.style.left = `${canvas.wipe * 100}%`;
    handle.setAttribute("aria-valuenow", String(Math.round(canvas.wipe * 100)));
    canvas.draw();
  };

  const offerComparisons = (): void => {
    const chosen = compare.value;
    const offers = (["asset", "exemplar", "source"] as const).filter((which) => given(result.job, which, map.kind) || (which === "asset" && map.kind === "albedo" && result.mesh));
    compare.replaceChildren(h("option", { value: "" }, "No comparison"), ...offers.map((which) => h("option", { value: which }, `Against the ${which}`)));
    compare.value = (offers as string[]).includes(chosen) ? chosen : "";
    compare.hidden = offers.length === 0;
    void before();
  };

  const kinds = tabs("Maps", result.maps.map(({ kind }) => [kind, kind]), (kind) => {
    map = result.maps.find((each) => each.kind === kind)!;
    level.max = String(map.levels.length - 1);
    level.value = String(Math.min(Math.max(Number(level.value), result.levelOf(map, LARGEST_SHOWN)), map.levels.length - 1));
    stored.textContent = map.stored;
    offerComparisons();
    void show();
  });
  const stored = h("span", { class: "stored" });
  level.addEventListener("input", () => void show());
  compare.addEventListener("change", () => void before());
  const toggleRepeat = (): void => {
    canvas.repeats = !canvas.repeats;
    repeat.setAttribute("aria-pressed", String(canvas.repeats));
    canvas.fit();
  };
  repeat.addEventListener("click", toggleRepeat);
  canvas.element.addEventListener("keydown", (event) => {
    if (event.key === "r") toggleRepeat();
    else if (event.key === "[" || event.key === "]") {
      level.value = String(Number(level.value) + (event.key === "]" ? 1 : -1));
      void show();
    }
  });
  handle.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -0.02, ArrowRight: 0.02, Home: -1, End: 1 }[event.key];
    if (step !== undefined) (event.preventDefault(), wipe(canvas.wipe + step));
  });
  handle.addEventListener("pointerdown", (event) => handle.setPointerCapture(event.pointerId));
  handle.addEventListener("pointermove", (event) => {
    const { left, width } = canvas.element.getBoundingClientRect();
    if (handle.hasPointerCapture(event.pointerId)) wipe((event.clientX - left) / width);
  });
  canvas.changed = () => {
    const magnified = canvas.magnification;
    say(zoomSays, magnified >= 1 ? `${Math.round(magnified * 100) / 100} : 1` : `1 : ${Math.round(100 / magnified) / 100}`);
  };
  const button = (text: string, label: string, does: () => void) => h("button", { type: "button", "aria-label": label, title: label, onclick: does }, text);
  const element = h("div", { class: "maps" },
    h("div", { class: "bar" }, kinds.element, stored,
      h("label", { class: "level" }, h("span", {}, "Mip"), level, levelSays)),
    h("div", { class: "canvas" }, canvas.element, handle, labels, wrong),
    h("div", { class: "bar" },
      h("div", { class: "group" }, button("−", "Zoom out", () => canvas.zoomBy(1 / 1.5)), zoomSays, button("+", "Zoom in", () => canvas.zoomBy(1.5))),
      h("div", { class: "group" }, button("Fit", "Fit the texture into the view (0)", () => canvas.fit()), button("1:1", "1:1, one texel a pixel (1)", () => canvas.oneToOne())),
      repeat, compare),
  );
  kinds.choose(map.kind);
  return { element, dispose: () => canvas.dispose() };
}

async function meshTexture(result: Result): Promise<ImageBitmap | null> {
  const { baseColour } = await import("./scene");
  return baseColour(await (await api.blob(api.fileUrl(result.mesh))).arrayBuffer());
}

// --- in light -------------------------------------------------------------------------------------------------------

function lightView(result: Result): View {
  const holder = h("div", { class: "canvas" }, h("p", { class: "says" }, "loads"));
  const repeats = h("input", { type: "range", min: "1", max: "6", step: "1", value: "1", id: "repeats" });
  const mesh = result.digest("asset.glb");
  const shapes: [Shape, string][] = [["sphere", "Sphere"], ["cube", "Cube"], ["plane", "Plane"]];
  if (mesh) shapes.unshift(["mesh", "Mesh"]);
  let scene: MaterialScene | null = null;
  let shape: Shape = shapes[0][0];
  let isGone = false;
  const often = h("label", { class: "level" }, h("span", {}, "Repeats"), repeats);

  const show = async (): Promise<void> => {
    try {
      if (!scene) {
        const { MaterialScene } = await import("./scene");
        if (isGone) return;
        scene = new MaterialScene();
        holder.replaceChildren(scene.element);
      }
      const own = shape;
      often.hidden = own === "mesh";
      if (own === "mesh") {
        const data = await (await api.blob(api.fileUrl(mesh))).arrayBuffer();
        if (own === shape && !isGone) await scene.showMesh(data);
        return;
      }
      const images = await Promise.all(result.maps.map(async (map) => [map.kind, await result.level(map, result.levelOf(map, LARGEST_SHOWN))] as const));
      if (own === shape && !isGone) scene.showShape(own, Object.fromEntries(images), Number(repeats.value));
    } catch (error) {
      holder.replaceChildren(h("p", { class: "wrong", role: "alert" }, (error as Error).message));
      scene?.dispose();
      scene = null;
    }
  };
  const bar = tabs("Shape", shapes, (key) => {
    shape = key as Shape;
    void show();
  });
  repeats.addEventListener("input", () => void show());
  bar.choose(shape);
  return {
    element: h("div", { class: "maps" }, h("div", { class: "bar" }, bar.element, often), holder),
    dispose: () => ((isGone = true), scene?.dispose()),
  };
}

// --- the report and the files ---------------------------------------------------------------------------------------

/** The report comes from a job, so it is shown where it can do nothing: without an origin, scripts and network. */
function reportView(result: Result, name: string): View {
  const frame = h("iframe", { class: "report", title: `Report of ${title(result.job)}`, sandbox: "allow-scripts" } as Record<string, unknown>);
  const text = result.text(name);
  const answer = (event: MessageEvent): void => {
    if (event.source === frame.contentWindow) void text.then((page) => frame.contentWindow?.postMessage(page, "*"));
  };
  addEventListener("message", answer);
  frame.src = "/report.html";
  text.catch((error: Error) => frame.replaceWith(h("p", { class: "wrong", role: "alert" }, error.message)));
  return { element: frame, dispose: () => removeEventListener("message", answer) };
}

function filesView(result: Result): View {
  const size = (bytes: number) => (bytes < 2 ** 20 ? `${Math.max(1, Math.round(bytes / 1024))} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`);
  const row = (name: string, digest: string, bytes: number | null) =>
    h("li", {}, h("button", { type: "button", class: "file", onclick: () => void api.save(digest, name).catch((error: Error) => announce(error.message)) },
      h("span", {}, name), h("span", { class: "facts" }, bytes === null ? "" : size(bytes))));
  const files = [...result.job.files].sort((a, b) => Number(a.name.includes("/")) - Number(b.name.includes("/")) || a.name.localeCompare(b.name, "en", { numeric: true }));
  const task = taskOf(result.job);
  const inputs = (["exemplar", "asset", "source", "generated", "reference"] as const).flatMap((which) => (task[which]?.files ?? []).map((file) => ({ which, ...file })));
  const metrics = h("pre", { class: "metrics" });
  if (result.digest("metrics.json")) void result.text("metrics.json").then((text) => say(metrics, JSON.stringify(JSON.parse(text), null, 2)), () => undefined);
  const element = h("div", { class: "files" },
    metrics,
    h("h3", {}, "Result"), h("ul", {}, ...files.map(({ name, sha256, size: bytes }) => row(name, sha256, Number(bytes)))),
    h("h3", {}, "Made from"), h("ul", {}, ...inputs.map(({ which, name, sha256 }) => row(`${which}/${name}`, sha256, null))),
  );
  return { element, dispose: () => undefined };
}
