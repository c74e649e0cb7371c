// What people do with the page of `texsynth serve --web`, in Chromium under playwright.
//
// node page_scenarios.mjs SETTINGS: a JSON file {chromium, url, guarded, token, job, inputs: {exemplar, mesh}, out}.
// Prints {scenario: "" or what went wrong}. In every scenario an error on the console, an exception or a violation of
// the page's policy is wrong too.
import assert from "node:assert/strict";
import axe from "axe-core";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { readdirSync } from "node:fs";
import { launch } from "./chrome.mjs";

const settings = JSON.parse(await readFile(process.argv[2], "utf8"));
const { url, inputs } = settings;
const exemplar = readdirSync(inputs.exemplar).map((name) => join(inputs.exemplar, name));

const isDone = (page) => page.waitForSelector(".job .state[data-state=JOB_STATE_SUCCEEDED]", { timeout: 90_000 });
const openJob = async (page) => {
  await page.goto(`${url}#/job/${settings.job}`);
  await page.waitForSelector("canvas[data-level]:not([aria-busy])");
};
const texel = (page, selector, share) =>
  page.$eval(selector, (canvas, at) => [...canvas.getContext("2d").getImageData(canvas.width * at, canvas.height / 2, 1, 1).data], share);
const redrawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
const colours = (page) => page.$eval("canvas.scene", (canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
});

/** Files or a folder of the disk, dropped as a file manager does it. */
async function drop(page, selector, paths) {
  const { x, y } = await page.locator(selector).boundingBox();
  const session = await page.context().newCDPSession(page);
  const data = { items: [], files: paths, dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "dragOver", "dragOver", "drop"]) { // a hand moves on
    await session.send("Input.dispatchDragEvent", { type, x: x + 12, y: y + 12, data });
    await redrawn(page);
  }
}

const scenarios = {
  async "files are dropped, the texture sharpens, the result is there"(page) {
    await page.goto(url);
    await drop(page, "#zone-exemplar", [inputs.exemplar]);
    await page.waitForSelector("#zone-exemplar .picked img");
    assert.match(await page.textContent("#zone-exemplar .says"), /^gravel: albedo\.png, /);
    await page.selectOption("#option-size", "256");
    await page.selectOption("#option-preset", "draft");
    await page.click("text=Synthesize a texture");
    await page.waitForSelector(".job");
    const seen = await page.evaluate(() => new Promise((done) => {
      const fractions = [], previews = new Set();
      const look = setInterval(() => {
        const state = document.querySelector(".job .state").dataset.state;
        const [bar, image] = [".progress progress", ".preview"].map((name) => document.querySelector(name));
        if (bar) fractions.push(bar.value);
        if (image?.naturalWidth) previews.add(image.src);
        if (!/QUEUED|RUNNING/.test(state)) (clearInterval(look), done({ state, fractions, previews: [...previews] }));
      }, 30);
    }));
    assert.equal(seen.state, "JOB_STATE_SUCCEEDED");
    assert.ok(new Set(seen.fractions).size > 3, `progress moved: ${seen.fractions}`);
    assert.deepEqual(seen.fractions, [...seen.fractions].sort((a, b) => a - b), "progress never falls");
    assert.ok(seen.previews.length >= 1, "a picture on the way");
    await page.waitForSelector("canvas[data-level='albedo/0']");
    assert.match(await page.textContent("#news"), /done/);
    assert.match(await page.textContent(".row[data-state=JOB_STATE_SUCCEEDED] .facts"), /256 px · draft/);
    await page.waitForFunction(() => document.querySelector(".row[data-state=JOB_STATE_SUCCEEDED] img").naturalWidth > 0);
  },

  async "a texture is made with the keyboard alone"(page) {
    const chooser = page.waitForEvent("filechooser");
    await page.goto(url);
    await page.waitForSelector(".row");
    const reach = async (selector) => {
      for (let presses = 0; presses < 80; presses++) {
        if (await page.evaluate((wanted) => document.activeElement.matches(wanted), selector)) {
          const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
          assert.notEqual(outline, "none", `${selector} shows its focus`);
          return;
        }
        await page.keyboard.press("Tab");
      }
      assert.fail(`Tab never reaches ${selector}`);
    };
    await page.keyboard.press("n");
    await reach("#zone-exemplar button");
    await page.keyboard.press("Enter");
    await (await chooser).setFiles(exemplar);
    await page.waitForSelector("#zone-exemplar .picked img");
    await reach("#option-size");
    await page.keyboard.type("64");
    await reach("#option-preset");
    await page.keyboard.type("draft");
    await reach("button[type=submit]");
    await page.keyboard.press("Enter");
    await isDone(page);
    await reach("[role=tab][data-key=maps]");
    await page.keyboard.press("ArrowLeft"); // around to the last one
    await page.waitForSelector(".files");
    await reach(".job .actions .delete");
    const row = `.row:has(a[href='${await page.evaluate(() => location.hash)}'])`;
    await page.keyboard.press("Enter");
    await page.waitForSelector(row, { state: "detached" });
  },

  async "a wrong value is told at its field"(page) {
    await page.goto(`${url}#/new`);
    await page.click("button[type=submit]");
    assert.match(await page.textContent("#zone-exemplar .wrong"), /is missing/);
    await page.setInputFiles("#exemplar-files", inputs.mesh.replace(/asset\.glb$/, "notes.txt"));
    assert.match(await page.textContent("#zone-exemplar .wrong"), /no image and no mesh/);
    await page.setInputFiles("#exemplar-files", exemplar);
    await page.click("summary");
    for (const [option, value, words] of [["density", "99", /use a number from 0.0625 to 16/], ["seed", "-1", /out of range/i], ["maps", "albedo, paint", /'paint' is unknown/]]) {
      const normal = await page.inputValue(`#option-${option}`);
      await page.fill(`#option-${option}`, value);
      await page.click("button[type=submit]");
      await page.waitForFunction((id) => document.getElementById(id).textContent, `option-${option}-wrong`);
      assert.match(await page.textContent(`#option-${option}-wrong`), words);
      assert.equal(await page.getAttribute(`#option-${option}`, "aria-invalid"), "true");
      await page.fill(`#option-${option}`, normal);
    }
    page.expected = /400 \(Bad Request\)/;
  },

  async "a model that the service lends is chosen with the keyboard and goes with the job"(page) {
    await page.goto(`${url}#/new`);
    await page.setInputFiles("#exemplar-files", exemplar);
    await page.focus("summary");
    await page.keyboard.press("Enter");
    await page.waitForSelector("#option-model", { state: "visible" });
    assert.deepEqual(await page.$$eval("#option-model option", (all) => all.map(({ text }) => text)), ["none", "painterly", "sdxl"]);
    for (let presses = 0; !(await page.evaluate(() => document.activeElement.matches("#option-model"))); presses++) {
      assert.ok(presses < 60, "Tab never reaches the models");
      await page.keyboard.press("Tab");
    }
    await page.keyboard.type("sdxl");
    assert.equal(await page.inputValue("#option-model"), "sdxl");
    const sent = page.waitForRequest(/JobService\/Submit/);
    await page.click("button[type=submit]");
    assert.equal((await sent).postDataJSON().work.synthesize.options.model, "sdxl");
    await page.waitForSelector(".job .state[data-state=JOB_STATE_FAILED]", { timeout: 90_000 }); // it is no checkpoint
    assert.match(await page.textContent(".job .progress .wrong"), /sdxl/);
  },

  async "on a phone a model is chosen with a finger"(page) {
    await page.goto(`${url}#/new`);
    await page.tap("summary");
    await page.waitForSelector("#option-model", { state: "visible" });
    const { width, height } = await page.locator("#option-model").boundingBox();
    assert.ok(height >= 40 && width >= 120 && width <= 390, `${width} x ${height}`);
    await page.selectOption("#option-model", "painterly");
    await page.evaluate(() => (location.hash = "#/")); // to the queue and back: the choice stays
    await page.tap("text=New texture");
    await page.waitForSelector("#option-model", { state: "visible" });
    assert.equal(await page.inputValue("#option-model"), "painterly");
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390);
  },

  async "where no model is lent there is none to choose"(page) {
    await page.goto(settings.guarded);
    await page.waitForSelector("dialog.token");
    await page.fill("#token", settings.token);
    const asked = page.waitForResponse((answer) => /ListModels/.test(answer.url()) && answer.ok());
    await page.keyboard.press("Enter");
    await asked;
    await page.click("summary");
    await page.waitForSelector("#option-seams, #option-overlap", { state: "visible" });
    assert.equal(await page.isVisible("#option-model"), false);
    page.expected = /401 \(Unauthorized\)/;
  },

  async "files, folders and meshes find their place"(page) {
    await page.goto(url);
    const says = (zone) => page.textContent(`#zone-${zone} .says`);
    await page.setInputFiles("#exemplar-folder", inputs.exemplar);
    assert.match(await says("exemplar"), /^gravel: albedo\.png, .*roughness\.png/);
    await page.click("#zone-exemplar .clear");
    assert.match(await says("exemplar"), /^A photo/);
    await drop(page, ".new h2", [inputs.mesh]); // beside the zones: a mesh is an asset
    await page.waitForSelector("#zone-asset .clear:not([hidden])");
    assert.match(await says("asset"), /^asset: asset\.glb /);
    assert.equal(await page.textContent("button[type=submit]"), "Restyle the asset");
    assert.ok(await page.isVisible("#option-content"));
    await openJob(page);
    await drop(page, ".job-head", exemplar); // onto a result: it goes into the form for a new one
    await page.waitForSelector("form.new #zone-exemplar .picked img");
    assert.match(await says("asset"), /^asset: asset\.glb /);
  },

  async "a second exemplar, masks and a deadline go with the job"(page) {
    await page.goto(`${url}#/new`);
    await page.setInputFiles("#exemplar-files", exemplar);
    await page.click("summary");
    assert.ok(!(await page.isVisible("#zone-cover")) && !(await page.isVisible("#zone-region")) && !(await page.isVisible("#option-blend")));
    await page.setInputFiles("#asset-files", inputs.mesh);
    await page.setInputFiles("#second-files", exemplar);
    await page.setInputFiles("#cover-files", inputs.mesh);
    assert.match(await page.textContent("#zone-cover .wrong"), /^asset\.glb: one image is wanted/);
    const mask = exemplar.find((path) => path.includes("height")) ?? exemplar[0];
    await page.setInputFiles("#cover-files", mask);
    await page.setInputFiles("#region-files", mask);
    await page.selectOption("#option-size", "128");
    await page.selectOption("#option-preset", "draft");
    await page.fill("#deadline", "soon");
    await page.click("button[type=submit]");
    assert.match(await page.textContent("#deadline-wrong"), /^got soon; give seconds/);
    await page.fill("#deadline", "600");
    const sent = page.waitForRequest(/JobService\/Submit/);
    await page.click("button[type=submit]");
    const { work, deadline_seconds } = (await sent).postDataJSON();
    const digest = createHash("sha256").update(await readFile(mask)).digest("hex");
    assert.equal(deadline_seconds, 600);
    assert.equal(work.restyle.options.blend_sha256, digest);
    assert.equal(work.restyle.options.region_sha256, digest);
    assert.deepEqual(work.restyle.options.second, work.restyle.exemplar);
    await isDone(page);
  },

  async "maps, levels and texels are those of the files"(page) {
    await openJob(page);
    await page.focus("canvas.texture");
    await page.keyboard.press("1");
    await redrawn(page);
    const differ = () => page.evaluate(async (job) => {
      const canvas = document.querySelector("canvas.texture");
      const [kind, level] = canvas.dataset.level.split("/");
      const found = await (await fetch("/rpc/texsynth.v1.JobService/Get", { method: "POST", body: JSON.stringify({ id: job }), headers: { "Content-Type": "application/json" } })).json();
      const name = level === "0" ? `${kind}.png` : `mips/${kind}.${level}.png`;
      const digest = found.job.files.find((file) => file.name === name).sha256;
      const wanted = await createImageBitmap(await (await fetch(`/files/${digest}`)).blob());
      const copy = new OffscreenCanvas(wanted.width, wanted.height).getContext("2d");
      copy.drawImage(wanted, 0, 0);
      const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const seen = [];
      for (let at = 3; at < all.data.length; at += 4) if (all.data[at]) seen.push((at - 3) / 4);
      const [left, right, top] = [Math.min(...seen.map((at) => at % all.width)), Math.max(...seen.map((at) => at % all.width)), Math.floor(seen[0] / all.width)];
      const side = right - left + 1;
      const drawn = canvas.getContext("2d").getImageData(left, top, side, side).data;
      const texels = copy.getImageData(0, 0, wanted.width, wanted.height).data;
      const step = side / wanted.width;
      let most = 0;
      for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) for (let c = 0; c < 4; c++)
        most = Math.max(most, Math.abs(drawn[4 * (y * side + x) + c] - texels[4 * (Math.floor(y / step) * wanted.width + Math.floor(x / step)) + c]));
      return { kind, level, side, most };
    }, settings.job);
    assert.deepEqual(await differ(), { kind: "albedo", level: "0", side: 128, most: 0 });
    await page.click("[role=tab][data-key=normal]");
    await page.waitForSelector("canvas[data-level='normal/0']:not([aria-busy])");
    await page.focus("#mip");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await page.waitForSelector("canvas[data-level='normal/2']:not([aria-busy])");
    await redrawn(page);
    assert.deepEqual(await differ(), { kind: "normal", level: "2", side: 128, most: 0 }, "a level stands where level 0 stood");
    assert.equal(await page.getAttribute("#mip", "aria-valuetext"), "level 2, 32 by 32 texels");
    const corner = () => page.$eval("canvas.texture", (canvas) => canvas.getContext("2d").getImageData(2, 2, 1, 1).data[3]);
    assert.equal(await corner(), 0);
    await page.focus("canvas.texture");
    await page.keyboard.press("r");
    await redrawn(page);
    assert.equal(await corner(), 255, "repeated over the whole view");
  },

  async "a wipe shows what was before"(page) {
    await openJob(page);
    for (const before of ["exemplar", "asset"]) {
      await page.selectOption("select[aria-label='Compare with']", before);
      await page.waitForSelector(".wipe:not([hidden])");
      await page.focus(".wipe");
      await page.keyboard.press("End");
      await redrawn(page);
      const old = await texel(page, "canvas.texture", 0.5);
      await page.keyboard.press("Home");
      await redrawn(page);
      assert.equal(await page.getAttribute(".wipe", "aria-valuenow"), "0");
      assert.notDeepEqual(await texel(page, "canvas.texture", 0.5), old, before);
    }
    const box = await page.locator("canvas.texture").boundingBox();
    const handle = await page.locator(".grip").boundingBox();
    await page.mouse.move(handle.x + handle.width / 2, handle.y + handle.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.75, box.y + 50, { steps: 4 });
    await page.mouse.up();
    assert.equal(await page.getAttribute(".wipe", "aria-valuenow"), "75");
  },

  async "the mesh and the shapes are drawn with the material"(page) {
    await page.setViewportSize({ width: 800, height: 600 }); // drawn without a GPU
    await openJob(page);
    await page.click("[role=tab][data-key=light]");
    await page.waitForFunction(() => Number(document.querySelector("canvas.scene")?.dataset.drawn) > 1000);
    assert.ok((await colours(page)) > 500, "the mesh is not blank");
    const picture = () => page.$eval("canvas.scene", (canvas) => canvas.toDataURL());
    const before = await picture();
    await page.focus("canvas.scene");
    await page.keyboard.press("ArrowRight");
    await redrawn(page);
    assert.notEqual(await picture(), before, "an arrow key turns it");
    for (const shape of ["cube", "plane"]) {
      const triangles = { cube: "12", plane: "2" }[shape];
      await page.click(`[role=tab][data-key=${shape}]`);
      await page.waitForSelector(`canvas.scene[data-drawn='${triangles}']`);
      assert.ok((await colours(page)) > 500, shape);
    }
  },

  async "the report is shown where it can do nothing"(page) {
    await openJob(page);
    await page.click("[role=tab][data-key=report]");
    const report = page.frameLocator("iframe.report");
    await report.locator("text=Lit preview").first().waitFor();
    assert.ok(await report.locator("img").first().evaluate((image) => image.naturalWidth > 0));
    await page.route("**/files/*", (route) => route.fulfill({ body: "<title>x</title><h1>hostile</h1><script>top.was=1</script><img src=x onerror='parent.was=1'><a href='https://example.com' target=_top>out</a>" }));
    await page.click("[role=tab][data-key=report]");
    await report.locator("text=hostile").waitFor();
    await report.locator("a").click();
    assert.equal(await page.evaluate(() => window.was), undefined);
    assert.ok(page.url().startsWith(url), "it does not lead away");
    page.expected = /Content Security Policy|sandboxed|Unsafe attempt/;
  },

  async "files are saved as they are"(page) {
    await openJob(page);
    await page.click("[role=tab][data-key=files]");
    const saving = page.waitForEvent("download");
    await page.click("button.file:has-text('albedo.png')");
    const saved = await saving;
    assert.equal(saved.suggestedFilename(), "albedo.png");
    const digest = createHash("sha256").update(await readFile(await saved.path())).digest("hex");
    assert.equal(digest, settings.albedo);
  },

  async "a job is cancelled, retried and deleted"(page) {
    await page.goto(url);
    await page.setInputFiles("#exemplar-files", exemplar);
    await page.selectOption("#option-size", "4096");
    await page.click("button[type=submit]");
    const hash = await page.waitForFunction(() => location.hash.startsWith("#/job/") && location.hash).then((found) => found.jsonValue());
    const row = page.locator(`.row:has(a[href='${hash}'])`);
    const becomes = (state) => page.waitForFunction(([link, wanted]) => document.querySelector(`.row:has(a[href='${link}'])`)?.dataset.state === `JOB_STATE_${wanted}`, [hash, state]);
    await becomes("RUNNING");
    await row.locator(".cancel").click();
    await becomes("CANCELLED");
    await row.locator(".retry").click();
    await becomes("RUNNING");
    await page.click(".job .actions .cancel");
    await becomes("CANCELLED");
    await page.click("[role=tab][data-key=done]");
    await row.waitFor({ state: "detached" });
    await page.click("[role=tab][data-key=failed]");
    await row.waitFor();
    await row.locator(".delete").click();
    await row.waitFor({ state: "detached" });
  },

  async "on a phone nothing scrolls sideways and buttons fit a finger"(page) {
    const narrow = async (where) => {
      const { width, small } = await page.evaluate(() => ({
        width: document.documentElement.scrollWidth,
        small: [...document.querySelectorAll("button, select, .button, summary, a.open")].filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 40).map((each) => each.outerHTML.slice(0, 80)),
      }));
      assert.ok(width <= 390, `${where} is ${width} px wide`);
      assert.deepEqual(small, [], where);
    };
    await page.goto(url);
    await page.waitForSelector(".row");
    await narrow("the queue");
    assert.equal(await page.isVisible("form.new"), false, "one thing at a time");
    await page.tap("text=New texture");
    await page.waitForSelector("form.new", { state: "visible" });
    await narrow("the form");
    await openJob(page);
    for (const view of ["maps", "light", "files", "report"]) {
      await page.tap(`[role=tab][data-key=${view}]`);
      await page.waitForTimeout(200);
      await narrow(view);
    }
    await page.tap("text=‹ Queue");
    await page.waitForSelector(".row", { state: "visible" });
  },

  async "axe finds nothing that keeps people out, light and dark"(page) {
    const audit = async (where) => {
      await page.evaluate(axe.source);
      const { violations } = await page.evaluate(() => window.axe.run(document, { iframes: false }));
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
      assert.deepEqual(found, [], where);
    };
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.goto(`${url}#/new`);
      await page.reload();
      await page.waitForSelector(".row");
      await page.click("summary");
      await page.click("button[type=submit]"); // with its complaint
      await audit(`the form, ${colorScheme}`);
      await openJob(page);
      await page.selectOption("select[aria-label='Compare with']", "exemplar");
      await page.waitForSelector(".wipe:not([hidden])");
      await audit(`maps, ${colorScheme}`);
      await page.click("[role=tab][data-key=files]");
      await audit(`files, ${colorScheme}`);
    }
  },

  async "dark where the system is dark"(page) {
    await page.goto(url);
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(await ground(), "rgb(243, 243, 243)");
    await page.emulateMedia({ colorScheme: "dark" });
    assert.equal(await ground(), "rgb(22, 22, 22)");
  },

  async "a token is asked for once and kept for the tab"(page) {
    await page.goto(settings.guarded);
    await page.waitForSelector("dialog.token");
    await page.fill("#token", "wrong");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelectorAll("dialog.token").length === 1 && document.querySelector("#token").value === "");
    await page.fill("#token", settings.token);
    await page.keyboard.press("Enter");
    await page.waitForSelector(".row[data-state=JOB_STATE_SUCCEEDED]");
    await page.reload();
    await page.waitForFunction(() => document.querySelector(".row img")?.naturalWidth > 0);
    assert.equal(await page.locator("dialog").count(), 0);
    assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
    await page.click("a.open");
    await page.waitForSelector("canvas[data-level]:not([aria-busy])");
    await page.click("[role=tab][data-key=files]");
    const saving = page.waitForEvent("download");
    await page.click("button.file:has-text('material.json')");
    assert.ok(JSON.parse(await readFile(await (await saving).path(), "utf8")).maps.albedo);
    page.expected = /401 \(Unauthorized\)/;
  },
};

const phone = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const browser = await launch(settings.chromium);
const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...(name.includes("phone") ? phone : {}) });
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(String(error)));
  const began = Date.now();
  try {
    await scenario(page);
    const unexpected = wrong.filter((each) => !page.expected?.test(each));
    assert.deepEqual(unexpected, [], "the console");
    results[name] = "";
  } catch (error) {
    await page.screenshot({ path: join(settings.out, `${Object.keys(results).length}.png`) }).catch(() => undefined);
    results[name] = `${error.message}\n${wrong.join("\n")}`;
  }
  process.stderr.write(`${((Date.now() - began) / 1000).toFixed(1)} s  ${results[name] ? "WRONG " : ""}${name}\n`);
  await context.close();
}
await browser.close();
console.log(JSON.stringify(results));
