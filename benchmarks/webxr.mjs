// Drives Chromium for benchmarks/webxr.py: node webxr.mjs CHROMIUM URL OUT; prints what was measured as JSON.
import { join } from "node:path";
import { launch } from "../tests/web/chrome.mjs";
import { open } from "../tests/web/line.mjs";
import { asQuest } from "../tests/web/quest.mjs";

const [chromium, url, out] = process.argv.slice(2);
const STILL = 3000; // milliseconds in which frames are drawn with nothing to upload
const SLOW = 150_000; // bytes a second of the pictures
const browser = await launch(chromium);

/** Every frame's begin and its uploads, from before the first byte until all is on the GPU, and then without any. */
async function uploads() {
  const page = await (await browser.newContext({ viewport: { width: 1000, height: 640 } })).newPage();
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
  await page.click("#enter-vr");
  await page.waitForFunction(() => window.texsynth.renderer.xr.isPresenting);
  await page.evaluate(() => {
    const { surfaces } = window.texsynth;
    const frame = surfaces.frame.bind(surfaces);
    window.frames = [];
    surfaces.frame = () => (window.frames.push(performance.now()), frame());
  });
  line.rate = Infinity;
  const began = Date.now();
  await page.waitForFunction(() => {
    const { surfaces, counts } = window.texsynth;
    return counts.total > 1e6 && counts.isSettled && surfaces.uploads.waiting === 0;
  }, undefined, { timeout: 500_000 });
  const seconds = (Date.now() - began) / 1000;
  await page.waitForTimeout(STILL);
  const found = await page.evaluate(() => ({ uploads: window.uploads, frames: window.frames, bytes: window.texsynth.counts.total }));
  await line.close();
  await page.context().close();
  return { ...found, seconds };
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
  line.rate = SLOW;
  await page.goto(`${line.url}xr.html?scene=room`);
  const coarse = await shot("coarse", ({ isShown }) => isShown);
  const middle = await shot("middle", ({ bytes }) => bytes > 250_000);
  line.rate = Infinity;
  const sharp = await shot("sharp", ({ isWhole }) => isWhole);
  await line.close();
  await page.context().close();
  return { coarse, middle, sharp };
}

const result = { pictures: await pictures(), uploads: await uploads() };
await browser.close();
console.log(JSON.stringify(result));
