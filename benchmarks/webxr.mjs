// Drives Chromium for benchmarks/webxr.py: node webxr.mjs CHROMIUM URL OUT PARTS; prints what was measured as JSON.
import { join } from "node:path";
import { launch } from "../tests/web/chrome.mjs";
import { open } from "../tests/web/line.mjs";
import { asQuest } from "../tests/web/quest.mjs";

const [chromium, url, out, wanted] = process.argv.slice(2);
const LONGEST = 240_000; // milliseconds of streaming, if not all has come before: of fewer than 100 frames the longest is p99
const STILL = 3000; // milliseconds in which frames are drawn with nothing to upload
const SMALL = { width: 320, height: 200 }; // so that a frame does not take a quarter of a second
const SLOW = 150_000; // bytes a second of the pictures,
const SLOWEST = 8_000; // and of the first, while the mesh comes
const TRACED = "devtools.timeline"; // Chromium's events of event listeners and frames, with the thread's own time
const COLLECTIONS = ["MinorGC", "MajorGC"]; // of garbage, by V8
const KEPT = ["EventDispatch", "FireAnimationFrame", ...COLLECTIONS];
const browser = await launch(chromium);

/** What Chromium traces until the function that it gives is called: the events, in the order of their beginnings. */
async function tracing() {
  const devtools = await browser.newBrowserCDPSession();
  const events = [];
  devtools.on("Tracing.dataCollected", ({ value }) => events.push(...value.filter(({ name }) => KEPT.includes(name))));
  await devtools.send("Tracing.start", { transferMode: "ReportEvents", traceConfig: { recordMode: "recordUntilFull", includedCategories: [TRACED] } });
  return async () => {
    const complete = new Promise((done) => devtools.once("Tracing.tracingComplete", done));
    await devtools.send("Tracing.end");
    await complete;
    await devtools.detach();
    return events.sort((a, b) => a.ts - b.ts);
  };
}

/** Milliseconds of each frame: {wall, own: of the page's thread, both for the whole frame and for its uploads}, and for
 * these what collecting garbage took of own. What went up between two frames, as mip tails do, counts to the next one. */
function framesOf(events) {
  const isOurs = ({ args }) => args.data?.type?.startsWith("texsynth-");
  const { pid, tid } = events.find((each) => each.name === "EventDispatch" && isOurs(each));
  const frames = [];
  const mine = events.filter((event) => event.pid === pid && event.tid === tid);
  const collections = mine.filter(({ name }) => COLLECTIONS.includes(name));
  const garbage = ({ ts, dur }) => collections.reduce((sum, each) => sum + (each.ts >= ts && each.ts < ts + dur ? each.tdur : 0), 0);
  const nothing = { wall: 0, own: 0, garbage: 0 };
  let early = nothing;
  let drawn = null;
  for (const each of mine) {
    if (each.name === "FireAnimationFrame") drawn = each;
    if (!isOurs(each)) continue;
    const spent = { wall: early.wall + each.dur / 1000, own: early.own + each.tdur / 1000, garbage: early.garbage + garbage(each) / 1000 };
    if (each.args.data.type === "texsynth-early") early = spent;
    else {
      frames.push({ uploads: spent, wall: drawn.dur / 1000 + early.wall, own: drawn.tdur / 1000 + early.own });
      early = nothing;
    }
  }
  return frames;
}

/** Every frame while a large texture comes as fast as it can, and after that. isSeen: whether the viewer looks at it, or
 * away. */
async function uploads(isSeen) {
  const page = await (await browser.newContext({ viewport: SMALL })).newPage();
  await asQuest(page);
  const line = await open(url);
  line.rate = 1; // until the headset is entered
  await page.goto(`${line.url}xr.html?scene=large`);
  await page.dispatchEvent("#enter-vr", "click"); // it lies below so small a page
  await page.waitForFunction(() => window.texsynth.renderer.xr.isPresenting);
  const traced = await tracing();
  await page.evaluate((isSeen) => {
    const { uploads } = window.texsynth.surfaces;
    const [frame, atOnce, note] = [uploads.frame, uploads.atOnce, uploads.note].map((each) => each.bind(uploads));
    const element = document.createElement("p"); // an event's listener is what the trace has times of
    let work = () => undefined;
    let bytes = 0;
    for (const name of ["texsynth-frame", "texsynth-early"]) element.addEventListener(name, () => work());
    const trace = (name, does) => {
      work = does;
      element.dispatchEvent(new Event(name));
    };
    window.frames = []; // when each began, and bytes that went up
    if (!isSeen) window.quest.quaternion.set(0, 1, 0, 0);
    uploads.note = (start, duration, detail) => {
      bytes = detail.bytes;
      note(start, duration, detail);
    };
    uploads.atOnce = (...given) => trace("texsynth-early", () => atOnce(...given));
    uploads.frame = (budget, finished) => {
      const begin = performance.now();
      bytes = 0;
      trace("texsynth-frame", () => frame(budget, finished));
      window.frames.push([begin, bytes]);
    };
  }, isSeen);
  line.rate = Infinity;
  const began = Date.now();
  const isWhole = () => page.evaluate(() => {
    const { surfaces, counts } = window.texsynth;
    return counts.total > 1e6 && counts.isSettled && surfaces.uploads.waiting === 0;
  });
  while (Date.now() - began < LONGEST && !(await isWhole())) await page.waitForTimeout(500);
  const seconds = (Date.now() - began) / 1000;
  const told = await page.evaluate(() => ({ frames: window.frames, bytes: window.texsynth.counts.total }));
  line.rate = 1;
  const still = (await page.waitForTimeout(1000), await page.evaluate(() => performance.now()));
  await page.waitForTimeout(STILL);
  const idle = (await page.evaluate(() => window.frames)).map(([begin]) => begin).filter((begin) => begin > still);
  const times = framesOf(await traced());
  await line.close();
  await page.context().close();
  return { bytes: told.bytes, frames: told.frames.map(([begin, bytes], at) => ({ begin, bytes, ...times[at] })), seconds, idle };
}

/** The viewer on a screen: coarse, middle and sharp, each held by a line that stands still. */
async function pictures() {
  const page = await (await browser.newContext({ viewport: { width: 1000, height: 640 } })).newPage();
  const line = await open(url);
  const state = () => page.evaluate(() => {
    const { surfaces, stage, counts } = window.texsynth;
    const slots = [...surfaces.all.values()].flatMap(({ slots }) => [...slots.values()]);
    const drawn = new Set(stage.meshes.map((mesh) => stage.surfaceOf(mesh))).size;
    const isShown = surfaces.all.size === 2 && drawn === 2 && slots.every(({ shown }) => shown);
    return { isShown, isWhole: isShown && counts.isSettled && surfaces.uploads.waiting === 0, bytes: counts.total };
  });
  async function shot(name, reached) {
    for (let now = await state(); !reached(now); now = await state()) await page.waitForTimeout(20);
    line.rate = 1;
    await page.waitForTimeout(1000);
    await page.screenshot({ path: join(out, `${name}.png`) });
    line.rate = SLOW;
    return (await state()).bytes;
  }
  line.rate = SLOWEST;
  await page.goto(`${line.url}xr.html?scene=room`);
  const coarse = await shot("coarse", ({ isShown }) => isShown);
  const middle = await shot("middle", ({ bytes }) => bytes > 600_000);
  line.rate = Infinity;
  const sharp = await shot("sharp", ({ isWhole }) => isWhole);
  await line.close();
  await page.context().close();
  return { coarse, middle, sharp };
}

const parts = { pictures, uploads: async () => ({ away: await uploads(false), seen: await uploads(true) }) };
const result = {};
for (const part of wanted.split(",")) result[part] = await parts[part]();
await browser.close();
console.log(JSON.stringify(result));
