// Drives Chromium for benchmarks/webxr.py: node webxr.mjs CHROMIUM URL OUT PARTS; prints what was measured as JSON.
import { join } from "node:path";
import { launch } from "../tests/web/chrome.mjs";
import { open } from "../tests/web/line.mjs";
import { asQuest } from "../tests/web/quest.mjs";

const [chromium, url, out, wanted] = process.argv.slice(2);
const LONGEST = 90_000; // milliseconds of streaming, if not all has come before
const STILL = 3000; // milliseconds in which frames are drawn with nothing to upload
const WORK = 0.5; // milliseconds of work in a frame that uploads nothing: what it takes longer is the machine
const SMALL = { width: 320, height: 200 }; // so that a frame does not take a quarter of a second
const SLOW = 150_000; // bytes a second of the pictures,
const SLOWEST = 8_000; // and of the first, while the mesh comes
const browser = await launch(chromium);

/** Every frame's begin and its uploads while a large texture comes as fast as it can, and frames after that. isSeen:
 * whether the viewer looks at it, or away. */
async function uploads(isSeen) {
  const page = await (await browser.newContext({ viewport: SMALL })).newPage();
  await asQuest(page);
  await page.addInitScript(() => {
    window.uploads = [];
    new PerformanceObserver((list) => {
      for (const { startTime, duration, detail } of list.getEntriesByName("texsynth-upload")) window.uploads.push([startTime, duration, detail.bytes]);
    }).observe({ type: "measure" });
  });
  const line = await open(url);
  line.rate = 1; // until the headset is entered
  await page.goto(`${line.url}xr.html?scene=large`);
  await page.dispatchEvent("#enter-vr", "click"); // it lies below so small a page
  await page.waitForFunction(() => window.texsynth.renderer.xr.isPresenting);
  await page.evaluate(([isSeen, work]) => {
    const { surfaces } = window.texsynth;
    const frame = surfaces.frame.bind(surfaces);
    window.frames = [];
    window.work = [];
    if (!isSeen) window.quest.quaternion.set(0, 1, 0, 0);
    surfaces.frame = () => {
      const begin = performance.now();
      window.frames.push(begin);
      while (performance.now() < begin + work);
      window.work.push(performance.now() - begin);
      frame();
    };
  }, [isSeen, WORK]);
  line.rate = Infinity;
  const began = Date.now();
  const isWhole = () => page.evaluate(() => {
    const { surfaces, counts } = window.texsynth;
    return counts.total > 1e6 && counts.isSettled && surfaces.uploads.waiting === 0;
  });
  while (Date.now() - began < LONGEST && !(await isWhole())) await page.waitForTimeout(500);
  const seconds = (Date.now() - began) / 1000;
  const found = await page.evaluate(() => ({ uploads: window.uploads, frames: window.frames, work: window.work, bytes: window.texsynth.counts.total }));
  line.rate = 1;
  const still = (await page.waitForTimeout(1000), await page.evaluate(() => performance.now()));
  await page.waitForTimeout(STILL);
  const idle = (await page.evaluate(() => window.frames)).filter((begin) => begin > still);
  await line.close();
  await page.context().close();
  return { ...found, seconds, idle };
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
