// node screenshots.mjs CHROMIUM URL JOB MESH_JOB FOLDER: the page on a desk and on a phone, for the README.
import { join } from "node:path";
import { launch } from "./chrome.mjs";

const [chromium, url, job, meshJob, folder] = process.argv.slice(2);
const browser = await launch(chromium);

async function shot(name, options, walk) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  await walk(page);
  await page.waitForTimeout(500);
  await page.screenshot({ path: join(folder, name) });
  await context.close();
}

const openJob = async (page, id) => {
  await page.goto(`${url}#/job/${id}`);
  await page.waitForSelector("canvas[data-level]:not([aria-busy])");
  await page.waitForFunction(() => document.querySelectorAll(".row .thumb[src]").length > 4);
};

const desk = { viewport: { width: 1280, height: 844 }, colorScheme: "dark" };
const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true, colorScheme: "dark" };

await shot("desk.png", desk, async (page) => {
  await openJob(page, job);
  await page.selectOption("select[aria-label='Compare with']", "exemplar");
  await page.waitForSelector(".wipe:not([hidden])");
});
await shot("phone.png", phone, async (page) => {
  await openJob(page, meshJob);
  await page.tap("[role=tab][data-key=light]");
  await page.waitForFunction(() => Number(document.querySelector("canvas.scene")?.dataset.drawn) > 1000);
});
await shot("queue.png", phone, async (page) => {
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll(".row .thumb[src]").length > 4);
});
await shot("new.png", { ...desk, colorScheme: "light" }, async (page) => {
  await page.goto(`${url}#/new`);
  await page.waitForFunction(() => document.querySelectorAll(".row .thumb[src]").length > 4);
});
await browser.close();
