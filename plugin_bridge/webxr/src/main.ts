// The viewer: a scene's surfaces, streamed as they are looked at. xr.html?scene=NAME&memory=MIB&size=TEXELS&upload=MILLISECONDS
import { NeutralToneMapping, PerspectiveCamera, WebGLRenderer } from "three";
import type { ArrayCamera, Intersection, Raycaster } from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import * as api from "../../web/src/api";
import { h, liveRegion, announce } from "../../web/src/dom";
import { askForToken } from "../../web/src/token";
import { Brush } from "./brush";
import { Choices } from "./choices";
import { Feedback } from "./feedback";
import { gpuFormats } from "./formats";
import { gazeOf } from "./gaze";
import type { Gaze } from "./gaze";
import { headsetButton } from "./headset";
import { restyle } from "./jobs";
import type { Exemplar } from "./jobs";
import type { FromWorker } from "./messages";
import { Palette } from "./palette";
import { Panel } from "./panel";
import { Pointing } from "./pointing";
import { Stage } from "./stage";
import { Stream } from "./stream";
import { Surfaces } from "./surfaces";
import { budgetOf } from "./uploads";
import "./xr.css";

const WINDOW = 512 << 10; // bytes on the way at most
const MEMORY = 512; // MiB of chunks, of the 8 GiB that a Quest 3 shares among all
const FIGURES_EVERY = 500; // milliseconds
const PALETTE_EVERY = 10_000; // milliseconds
const MIB = 2 ** 20;

const asked = new URLSearchParams(location.search);
const sceneName = asked.get("scene") || "default";
const NOTHING = `scene "${sceneName}" shows nothing yet; is that its name? What it is to show will appear here`;

const renderer = new WebGLRenderer({ antialias: true });
renderer.toneMapping = NeutralToneMapping;
renderer.xr.enabled = true;
const gl = renderer.getContext() as WebGL2RenderingContext;
const canvas = renderer.domElement;
canvas.setAttribute("role", "application");
canvas.setAttribute("aria-label", "The scene. Drag to turn, click a surface to select it, drag with Shift to paint a region on it. "
  + "By keyboard: arrows move, with Shift they turn, plus and minus go nearer and farther, Enter selects what is in the middle, P paints there, Escape drops both");
const camera = new PerspectiveCamera(55, 1, 0.02, 50);
camera.position.set(-0.3, 1.5, 0.4); // beside the panel
const orbit = new OrbitControls(camera, canvas);
orbit.target.set(-0.3, 1.25, -1.4);
orbit.update();

const says = h("p", { id: "says", role: "status" });
const tell = (message: string): void => void (says.textContent = message);

const stream = new Stream(heard);
const surfaces = new Surfaces(
  renderer, gpuFormats(gl),
  (bytes, data) => stream.send({ kind: "uploaded", bytes, data }, data ? [data.buffer] : []), // its memory is collected there, not in a frame
  (surface) => stage.update(surface));
const stage = new Stage(renderer, surfaces, tell);
const feedback = new Feedback(renderer, (seen) => stream.send({ kind: "view", surfaces: seen }));
const brush = new Brush();
const choices = new Choices((surface) => {
  orbit.target.copy(stage.middleOf(surface));
  orbit.update();
  select(surface);
});
const palette = new Palette((exemplar) => void ask(exemplar));
const panel = new Panel(["Line", "Frames", "Bandwidth", "Textures", "Uploads", "Selected", "Restyle"]);
const board = palette.board;
panel.board.position.set(-0.75, 1.5, -0.95);
board.position.set(-0.75, 1.22, -0.95);
panel.board.rotation.y = board.rotation.y = Math.PI / 4;
panel.board.visible = board.visible = false;
stage.scene.add(panel.board, board);
stage.regionIs(brush.texture);

let selected = "";
let line = "opens";
let making = "";
let limit = 0; // texels a side, where memory asks for one
let gaze: Gaze = { known: false, x: 0, y: 0 };
const counts = { frames: 0, bytes: 0, total: 0, isSettled: false };

function heard(message: FromWorker): void {
  counts.isSettled = message.kind === "settled";
  switch (message.kind) {
    case "version":
      if (says.textContent === NOTHING) tell("");
      return surfaces.version(message);
    case "chunk":
      counts.bytes += message.bytes;
      counts.total += message.data.length;
      return surfaces.chunk(message);
    case "evicted": return surfaces.evicted(message.texture, message.index);
    case "forgotten": return surfaces.forgotten(message.texture);
    case "settled": return void (surfaces.all.size === 0 && tell(NOTHING));
    case "limited": return void (limit = message.texels);
    case "state":
      line = message.state;
      return tell(message.message && message.state !== "streams" ? `${message.code}: ${message.message}` : "");
  }
}

// --- what people do ---------------------------------------------------------------------------------------------------

function select(surface: string): void {
  selected = surface;
  stage.select(surface);
  stream.send({ kind: "selection", surfaces: surface ? [surface] : [] });
  announce(surface ? `${surface} is selected` : "nothing is selected");
  if (!surface) dropRegion();
}

function dropRegion(): void {
  brush.clear();
  stage.paint("");
}

const hasRoom = (): boolean => renderer.xr.isPresenting;

const pointing = new Pointing(renderer, stage.scene, camera, orbit, {
  at: (ray: Raycaster) => ray.intersectObjects([...stage.meshes, ...(hasRoom() ? board.children : [])], false)[0],
  select(hit: Intersection | undefined) {
    if (!hit || !palette.pick(hit.object)) select(hit ? stage.surfaceOf(hit.object) : "");
  },
  paint(hit: Intersection | undefined) {
    const surface = hit?.uv ? stage.surfaceOf(hit.object) : "";
    if (!surface || !hit?.uv) return;
    if (surface !== selected) select(surface);
    brush.paint(surface, hit.uv);
    stage.paint(surface);
  },
});

async function ask(exemplar: Exemplar): Promise<void> {
  const surface = selected;
  const job = stage.jobs.get(surface);
  if (!job || making) return tell(making ? "one restyle at a time" : "select a surface first");
  making = `${surface}: waits`;
  try {
    const region = await brush.upload(surface);
    await restyle(sceneName, surface, job, exemplar, region, (share) => (making = `${surface}: ${Math.round(100 * share)} %`));
    if (region) dropRegion();
    announce(`${surface} is restyled`);
  } catch (error) {
    tell(`${surface}: ${(error as Error).message}`);
  } finally {
    making = "";
  }
}

// --- frames -----------------------------------------------------------------------------------------------------------

/** The camera whose view is streamed, and the pixels that it covers: on a headset one that sees what both eyes see. */
function viewed(): { from: PerspectiveCamera | ArrayCamera; width: number; height: number } {
  const eyes = renderer.xr.getCamera();
  const eye = eyes.cameras[0];
  if (!renderer.xr.isPresenting || !eye) return { from: camera, width: canvas.width, height: canvas.height };
  const [of, all] = [eye.projectionMatrix.elements, eyes.projectionMatrix.elements];
  return { from: eyes, width: (eye.viewport!.z * of[0]) / all[0], height: (eye.viewport!.w * of[5]) / all[5] };
}

function look(frame: XRFrame | null): void {
  const now = gazeOf(frame, renderer.xr.getReferenceSpace());
  if (now.known === gaze.known && Math.hypot(now.x - gaze.x, now.y - gaze.y) < 0.5) return;
  gaze = now;
  stream.send({ kind: "gaze", ...now });
}

const upload = Number(asked.get("upload"));
let last = 0; // milliseconds: when the last frame began

renderer.setAnimationLoop((time, frame) => {
  counts.frames++;
  surfaces.frame(upload || budgetOf(time - last, hasRoom()));
  last = time;
  pointing.frame();
  const { from, width, height } = viewed();
  feedback.frame(stage.scene, stage.seen(), from, width, height);
  look(hasRoom() ? (frame ?? null) : null);
  renderer.render(stage.scene, camera);
});

function figures(): void {
  const { held, allocated } = surfaces.memory();
  const times = surfaces.uploads.times.slice(-500).sort((a, b) => a - b);
  const p99 = times[Math.floor(times.length * 0.99)] ?? 0;
  const perSecond = 1000 / FIGURES_EVERY;
  panel.board.visible = board.visible = hasRoom();
  panel.show({
    Line: `${line}${counts.isSettled ? ", settled" : ""}`,
    Frames: `${Math.round(counts.frames * perSecond)} a second`,
    Bandwidth: `${((counts.bytes * perSecond * 8) / 1e6).toFixed(1)} Mbit/s`,
    Textures: `${(held / MIB).toFixed(1)} of ${(allocated / MIB).toFixed(1)} MiB${limit ? `, ${limit} texels at most` : ""}`,
    Uploads: `${p99.toFixed(1)} ms at most in 99 of 100, ${surfaces.uploads.waiting} wait`,
    Selected: selected || "nothing",
    Restyle: making || "none",
  }, hasRoom(), says.textContent ?? "");
  choices.show(stage.names, selected);
  counts.frames = counts.bytes = 0;
}

function resize(): void {
  if (renderer.xr.isPresenting) return;
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  renderer.setSize(innerWidth, innerHeight);
  camera.aspect = innerWidth / innerHeight;
  camera.updateProjectionMatrix();
}

// --- the beginning ----------------------------------------------------------------------------------------------------

canvas.addEventListener("webglcontextlost", (event) => {
  event.preventDefault();
  surfaces.clear();
  feedback.forget();
});
canvas.addEventListener("webglcontextrestored", () => {
  gpuFormats(gl); // the new context has to be asked for its extensions too
  surfaces.clear();
  stage.lit(renderer);
  stream.send({ kind: "forget" });
});
addEventListener("resize", resize);
document.body.append(canvas, h("div", { class: "middle" }), h("aside", {}, h("h1", {}, `texsynth: ${sceneName}`), panel.element, choices.element, palette.element, says), liveRegion);
resize();
api.onTokenNeeded(askForToken);
setInterval(figures, FIGURES_EVERY);
Object.assign(window, { texsynth: { surfaces, stage, board, renderer, camera, orbit, brush, feedback, select, counts } }); // for measurements

async function begin(): Promise<void> {
  await api.call("StreamService/GetScene", { scene: sceneName }); // asks for a token where one is needed
  const limit = Number(asked.get("size")) || Infinity;
  stream.send({
    kind: "start", url: `${location.origin.replace(/^http/, "ws")}/stream`, token: api.token(), scene: sceneName,
    formats: [...gpuFormats(gl).keys()], largestTexture: Math.min(gl.getParameter(gl.MAX_TEXTURE_SIZE), limit),
    memoryBudget: (Number(asked.get("memory")) || MEMORY) * MIB, window: WINDOW,
  });
  const button = await headsetButton(renderer, tell);
  if (button) document.querySelector("aside")!.append(button);
  const refresh = (): void => void palette.refresh().catch((error: Error) => tell(error.message));
  refresh();
  setInterval(refresh, PALETTE_EVERY);
}

begin().catch((error: Error) => tell(error.message));
