// What people do with the viewer, xr.html, in Chromium under playwright, with iwer in place of a Quest 3.
//
// node webxr_scenarios.mjs SETTINGS: a JSON file {chromium, url, guarded, token, scene, studio, mesh, flat, maps, out}.
// Prints {scenarios: {name: "" or what went wrong}, figures}. In every scenario an error on the console, an exception or
// a violation of the page's policy is wrong too. Pictures and texels go to the folder `out`.
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { launch } from "./chrome.mjs";
import { open } from "./line.mjs";
import { asQuest } from "./quest.mjs";
import { texels } from "./texels.mjs";

const settings = JSON.parse(await readFile(process.argv[2], "utf8"));
const { scene, studio, mesh, flat } = settings; // two scenes of two surfaces each; small ones in the studio
const SLOW = 300_000; // bytes a second, of the 3.3 MB that the scene has
const WINDOW = 512 << 10;
const figures = {};
const PACE = 200; // ms from frame to frame, as on a slow display: drawn as fast as it goes, each takes all processors
const PATIENCE = 240_000; // ms: where processors are slow and others use them, too
const IDLE = 2000; // ms, while nothing is to be seen but a job's progress, and the job needs the processors

const QUICK = "&upload=20"; // ms of uploads a frame, of which there are few
const visit = async (page, url, wanted = scene, more = QUICK) => page.goto(`${url}xr.html?scene=${wanted}${more}`);
const shot = (page, name) => page.screenshot({ path: join(settings.out, `${name}.png`) });

/** Bytes on the GPU, of all that comes; whether every map shows something; and whether all is there. */
const state = (page) => page.evaluate((wanted) => {
  const { surfaces, stage, counts } = window.texsynth;
  const drawn = new Set(stage.meshes.map((mesh) => stage.surfaceOf(mesh))).size;
  const slots = [...surfaces.all.values()].flatMap(({ slots }) => [...slots.values()]);
  const chunks = (pick) => slots.reduce((sum, slot) => sum + pick(slot.target.residency), 0);
  return {
    surfaces: surfaces.all.size, held: chunks(({ held }) => held.size), all: chunks(({ places }) => places.length),
    isShown: drawn === surfaces.all.size && drawn === wanted && slots.every(({ shown }) => shown), isSettled: counts.isSettled && surfaces.uploads.waiting === 0, bytes: counts.total,
  };
}, [mesh, flat].length);
async function until(page, what, reached) {
  const end = Date.now() + PATIENCE;
  let now;
  while (Date.now() < end) {
    now = await state(page);
    if (reached(now)) return now;
    await page.waitForTimeout(100);
  }
  throw new Error(`${what}: not within ${PATIENCE / 1000} s, but ${JSON.stringify(now)}; ${await page.textContent("aside")}`);
}
const isWhole = (now) => now.isShown && now.isSettled;
const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done)))));

/** Where the middle of a surface is on the screen. */
const middle = (page, surface) => page.evaluate((name) => {
  const { stage, camera } = window.texsynth;
  const mesh = stage.meshes.find((each) => stage.surfaceOf(each) === name);
  mesh.geometry.computeBoundingSphere();
  const { x, y } = mesh.localToWorld(mesh.geometry.boundingSphere.center.clone()).project(camera);
  return { x: ((x + 1) / 2) * innerWidth, y: ((1 - y) / 2) * innerHeight };
}, surface);

/** Coarse, middle and sharp, each held by a line that stands still. */
async function sharpens(page, line, name) {
  await until(page, "coarse", ({ isShown }) => isShown);
  line.rate = 1;
  await drawn(page);
  const coarse = await state(page);
  await shot(page, `${name}-coarse`);
  line.rate = SLOW;
  await until(page, "middle", ({ held, all }) => held >= coarse.held + 0.2 * (all - coarse.held)); // some came while the mesh was loaded
  line.rate = 1;
  await drawn(page);
  const between = await state(page);
  await shot(page, `${name}-middle`);
  line.rate = Infinity;
  const sharp = await until(page, "sharp", isWhole);
  await drawn(page);
  await shot(page, `${name}-sharp`);
  assert.ok(coarse.held < between.held && between.held < sharp.held, JSON.stringify({ coarse, between, sharp }));
  return { coarse, between, sharp };
}

/** The version of a map once it is no longer `before`. */
async function following(page, version, before, patience) {
  const pace = (milliseconds) => page.evaluate((each) => void (window.pace = each), milliseconds);
  const end = Date.now() + patience;
  await pace(IDLE);
  while ((await version()) === before && Date.now() < end) await page.waitForTimeout(200);
  await pace(PACE);
  return version();
}

/** No more frames than one each PACE: the viewer draws as long as it is open. */
const paced = (page) => page.addInitScript((pace) => {
  window.pace = pace;
  const next = window.requestAnimationFrame.bind(window);
  const waiting = new Set();
  let count = 0;
  window.requestAnimationFrame = (draw) => {
    const id = ++count;
    waiting.add(id);
    setTimeout(() => waiting.has(id) && next((time) => waiting.delete(id) && draw(time)), window.pace);
    return id;
  };
  window.cancelAnimationFrame = (id) => waiting.delete(id);
}, PACE);

/** Keeps what each frame uploaded, for `uploads`. */
const noted = (page) => page.addInitScript(() => {
  window.uploads = [];
  new PerformanceObserver((list) => window.uploads.push(...list.getEntriesByName("texsynth-upload").map(({ detail }) => detail))).observe({ type: "measure" });
});
const uploads = (page) => page.evaluate(() => window.uploads);

const scenarios = {
  async "the whole texture is there at once, coarse, and sharpens"(page) {
    await noted(page);
    const line = await open(settings.url);
    try {
      line.rate = SLOW;
      await visit(page, line.url, scene, "");
      figures.desktop = await sharpens(page, line, "desktop");
      const budgets = (await uploads(page)).map(({ budget }) => budget);
      assert.ok(Math.max(...budgets) >= 0.09 * PACE && budgets.every((each) => each >= 1.5 && each <= 50), `a slow frame has time: ${budgets}`);
    } finally {
      await line.close();
    }
  },

  async "a headset enters, and its scene sharpens"(page) {
    await asQuest(page);
    const line = await open(settings.url);
    try {
      line.rate = 1;
      await visit(page, line.url);
      await page.click("#enter-vr");
      await page.waitForFunction(() => window.texsynth.renderer.xr.isPresenting);
      line.rate = SLOW;
      figures.headset = await sharpens(page, line, "headset");
      const eyes = await page.evaluate(() => window.texsynth.renderer.xr.getCamera().cameras.length);
      assert.equal(eyes, 2);
      await page.evaluate(() => {
        const { right } = window.quest.controllers;
        right.position.set(0.05, 1.25, -0.3);
        right.quaternion.set(0, 0, 0, 1);
      });
      await drawn(page);
      await page.evaluate(() => {
        const { stage } = window.texsynth;
        const at = stage.meshes[0].getWorldPosition(stage.meshes[0].position.clone());
        window.quest.controllers.right.position.set(at.x, 1.25, -0.3);
      });
      await drawn(page);
      await page.evaluate(() => window.quest.controllers.right.updateButtonValue("trigger", 1));
      await drawn(page);
      await page.evaluate(() => window.quest.controllers.right.updateButtonValue("trigger", 0));
      await page.waitForFunction(() => document.querySelector("dd[data-name=Selected]").textContent !== "nothing");
      await drawn(page);
      await shot(page, "headset-selected");
    } finally {
      await line.close();
    }
  },

  async "in a headset uploads have no more time because frames are slow"(page) {
    await asQuest(page);
    await noted(page);
    const line = await open(settings.url);
    try {
      line.rate = 1;
      await visit(page, line.url, scene, "&size=64");
      await page.click("#enter-vr");
      await page.waitForFunction(() => window.texsynth.renderer.xr.isPresenting);
      line.rate = Infinity;
      await until(page, "whole", isWhole);
      const budgets = (await uploads(page)).map(({ budget }) => budget);
      assert.ok(budgets.length > 0 && budgets.every((each) => each === 1.5), `${budgets}`);
    } finally {
      await line.close();
    }
  },

  async "texels on the GPU are those that were published"(page) {
    await visit(page, settings.url);
    await until(page, "whole", isWhole);
    const read = {};
    for (const kind of settings.maps)
      for (const level of await page.evaluate(([surface, map]) => window.texsynth.surfaces.all.get(surface).slots.get(map).shown.shape.levels.map((_, at) => at), [mesh, kind]))
        read[`${kind}/${level}`] = await page.evaluate(texels, { surface: mesh, kind, level });
    await writeFile(join(settings.out, "texels.json"), JSON.stringify(read));
  },

  async "without time for uploads one row of blocks goes up in a frame, and all of them in the end"(page) {
    await page.setViewportSize({ width: 400, height: 300 }); // small frames are quick ones
    await noted(page);
    await visit(page, settings.url, scene, "&size=64&upload=0.000001");
    await until(page, "whole", isWhole);
    await drawn(page);
    const { held } = await page.evaluate(() => window.texsynth.surfaces.memory());
    const frames = await uploads(page);
    figures.slow = { frames: frames.length, bytes: frames.reduce((sum, { bytes }) => sum + bytes, 0), held };
    assert.ok(frames.every(({ parts }) => parts <= 1), JSON.stringify(frames));
    const widest = (64 / 4) * 16; // bytes of a row of 4 x 4 blocks
    assert.ok(frames.every(({ bytes, early }) => early > 0 || bytes <= widest), JSON.stringify(frames));
    assert.equal(figures.slow.bytes, held);
  },

  async "with little memory textures are smaller, and their storage stays within it"(page) {
    await visit(page, settings.url, scene, `&memory=1${QUICK}`);
    await until(page, "whole", isWhole);
    const { held, allocated } = await page.evaluate(() => window.texsynth.surfaces.memory());
    figures.memory = { held, allocated };
    assert.ok(allocated <= 1 << 20 && allocated > (1 << 20) / 5, JSON.stringify(figures.memory)); // a level has a quarter
    assert.equal(held, allocated);
    await page.waitForFunction(() => /, 256 texels at most/.test(document.querySelector("dd[data-name=Textures]").textContent));
  },

  async "a scene that shows nothing says so"(page) {
    await visit(page, settings.url, "no such room");
    await page.waitForFunction(() => /scene "no such room" shows nothing yet/.test(document.querySelector("#says").textContent));
    await shot(page, "nothing");
  },

  async "a mesh of several materials is one thing, whichever job has restyled which of them"(page) {
    await visit(page, settings.url, "village");
    await page.waitForFunction(() => window.texsynth.stage.names.length === 3);
    const found = await page.evaluate(() => {
      const { stage } = window.texsynth;
      const rootOf = (each) => (each.parent === stage.scene ? each.uuid : rootOf(each.parent));
      return Object.fromEntries(stage.names.map((name) => {
        const meshes = stage.meshes.filter((each) => stage.surfaceOf(each) === name);
        const us = meshes.flatMap(({ geometry }) => [...geometry.getAttribute("uv").array].filter((_, at) => at % 2 === 0));
        return [name, { meshes: meshes.map((mesh) => mesh.name), root: rootOf(meshes[0]), left: Math.min(...us), right: Math.max(...us) }];
      }));
    });
    const { walls, roof, gate } = found;
    assert.deepEqual([walls.meshes, roof.meshes, gate.meshes.length], [["walls"], ["roof"], 2], JSON.stringify(found));
    assert.equal(walls.root, roof.root);
    assert.notEqual(walls.root, gate.root);
    assert.deepEqual([walls.left, walls.right, roof.left, roof.right], [0.5, 1, 0, 1]);
    await page.waitForFunction(() => window.texsynth.counts.isSettled);
    await drawn(page);
    await shot(page, "village");
    assert.equal(await page.textContent("#says"), "");
  },

  async "by keyboard alone a surface is found, selected and painted on"(page) {
    await visit(page, settings.url);
    await until(page, "whole", isWhole);
    const isSelected = (name) => page.waitForFunction((wanted) => document.querySelector("dd[data-name=Selected]").textContent === wanted, name);
    const from = () => page.evaluate(() => {
      const { camera, orbit } = window.texsynth;
      return { ...camera.position, far: camera.position.distanceTo(orbit.target), at: orbit.target.x };
    });
    const presses = async (key) => {
      const before = await from();
      await page.keyboard.press(key);
      await drawn(page);
      return { before, after: await from() };
    };
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "CANVAS");
    for (let step = 0; step < 9 && (await page.evaluate(() => document.activeElement.textContent)) !== flat; step++) await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await isSelected(flat);
    await page.focus("canvas");
    await page.keyboard.press("Escape");
    await isSelected("nothing");
    await page.keyboard.press("Enter"); // what was chosen is in the middle
    await isSelected(flat);
    const near = await presses("+");
    assert.ok(near.after.far < near.before.far, JSON.stringify(near));
    const moved = await presses("ArrowLeft");
    assert.notEqual(moved.after.at, moved.before.at, JSON.stringify(moved));
    const turned = await presses("Shift+ArrowLeft");
    assert.ok(turned.after.x !== turned.before.x && turned.after.at === turned.before.at, JSON.stringify(turned));
    await page.keyboard.press("p");
    await drawn(page);
    assert.ok(await page.evaluate((name) => {
      const { canvas } = window.texsynth.brush;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return window.texsynth.brush.surface === name && data.some((value, at) => at % 4 === 0 && value === 255);
    }, flat));
    await shot(page, "keyboard");
  },

  async "a view of more places than a message takes is told by the largest"(page) {
    await visit(page, settings.url);
    await until(page, "whole", isWhole);
    await page.evaluate(() => {
      const { renderer, camera } = window.texsynth;
      const render = renderer.render.bind(renderer);
      renderer.render = (scene, from) => from !== camera && render(scene, from); // only the feedback: so large a view takes seconds
    });
    await page.setViewportSize({ width: 4096, height: 2304 }); // of which half as many pixels each way are drawn
    await page.evaluate((name) => {
      const { surfaces, stage, camera, orbit } = window.texsynth;
      for (const { shown } of surfaces.all.get(name).slots.values()) shown.shape.levels[0] = { width: 8192, height: 8192 };
      const mesh = stage.meshes.find((each) => stage.surfaceOf(each) === name);
      const shredded = new mesh.geometry.constructor(1.6, 0.9, 256, 144).toNonIndexed();
      const uv = shredded.getAttribute("uv");
      for (let at = 0; at < uv.count; at += 6) { // a square of the plane, somewhere in the texture
        const [u, v] = [Math.random(), Math.random()];
        for (const [corner, x, y] of [[0, 0, 1], [1, 0, 0], [2, 1, 1], [3, 0, 0], [4, 1, 0], [5, 1, 1]]) uv.setXY(at + corner, u + x / 1024, v + y / 1024);
      }
      mesh.geometry = shredded;
      const middle = stage.middleOf(name);
      orbit.target.copy(middle);
      camera.position.copy(middle).setZ(middle.z + 0.45 / Math.tan((27.5 * Math.PI) / 180));
      orbit.update();
    }, flat);
    await page.waitForFunction(() => window.texsynth.feedback.most >= 8192);
    for (const end = Date.now() + 3000; Date.now() < end; await page.waitForTimeout(100))
      assert.match(await page.textContent("dd[data-name=Line]"), /^streams/);
    assert.equal(await page.evaluate(() => window.texsynth.feedback.most), 8192);
  },

  async "after a cut line only what is missing comes"(page) {
    const line = await open(settings.url);
    try {
      line.rate = SLOW;
      await visit(page, line.url);
      for (const share of [0.15, 0.4, 0.7]) {
        await until(page, `${share} of it`, ({ isShown, held, all }) => isShown && held >= share * all);
        line.cut();
      }
      line.rate = Infinity;
      const cut = await until(page, "whole", isWhole);
      const needed = await page.evaluate(() => window.texsynth.surfaces.memory().held);
      figures.cut = { bytes: cut.bytes, needed };
      assert.ok(cut.bytes <= needed + 3 * WINDOW, JSON.stringify(figures.cut));
      page.expected = /WebSocket|ERR_/;
    } finally {
      await line.close();
    }
  },

  async "a restyle by mouse shows the new version, to another person too"(page) {
    const other = await page.context().newPage();
    await paced(other);
    await other.setViewportSize({ width: 320, height: 200 });
    for (const each of [page, other]) {
      await visit(each, settings.url, studio);
      await until(each, "whole", isWhole);
    }
    const shows = (each) => each.evaluate((name) => Number(window.texsynth.surfaces.all.get(name).slots.get("albedo").version), flat);
    const version = () => shows(page);
    const before = { version: await version(), texels: (await page.evaluate(texels, { surface: flat, kind: "albedo", level: 2 })).texels };
    const { x, y } = await middle(page, flat);
    await page.mouse.click(x, y);
    await page.waitForFunction((name) => document.querySelector("dd[data-name=Selected]").textContent === name, flat);
    await drawn(page);
    await shot(page, "selected");
    await page.click(".palette button[aria-label=other]");
    await page.waitForFunction(() => document.querySelector("dd[data-name=Restyle]").textContent !== "none");
    assert.equal(await following(page, version, before.version, PATIENCE), before.version + 1, await page.textContent("aside"));
    await until(page, "whole again", isWhole);
    await drawn(page);
    await shot(page, "restyled");
    const after = await page.evaluate(texels, { surface: flat, kind: "albedo", level: 2 });
    assert.notEqual(after.texels, before.texels);
    await until(other, "whole for the other", isWhole);
    assert.equal(await shows(other), before.version + 1);
    assert.equal((await other.evaluate(texels, { surface: flat, kind: "albedo", level: 2 })).texels, after.texels);
  },

  async "a region painted with the grip is restyled, and all around it stays to the bit"(page) {
    await asQuest(page);
    await visit(page, settings.url, studio);
    await until(page, "whole", isWhole);
    const version = () => page.evaluate((name) => Number(window.texsynth.surfaces.all.get(name).slots.get("albedo").version), mesh);
    const read = async () => Object.fromEntries(await Promise.all(settings.maps.map(async (kind) => [kind, await page.evaluate(texels, { surface: mesh, kind, level: 0 })])));
    const before = { version: await version(), maps: await read() };
    await page.click("#enter-vr");
    await page.waitForFunction(() => window.texsynth.renderer.xr.isPresenting);
    await page.evaluate(() => window.quest.controllers.right.quaternion.set(0, 0, 0, 1));
    const points = (share) => page.evaluate(([name, along]) => {
      const { stage } = window.texsynth;
      const shown = stage.meshes.find((each) => stage.surfaceOf(each) === name);
      const at = shown.getWorldPosition(shown.position.clone());
      window.quest.controllers.right.position.set(at.x - 0.06 + 0.12 * along, 1.25, -0.3);
    }, [mesh, share]);
    const presses = (button, value) => page.evaluate(([id, to]) => window.quest.controllers.right.updateButtonValue(id, to), [button, value]);
    await points(0);
    await drawn(page);
    await presses("squeeze", 1);
    for (let step = 0; step <= 8; step++) {
      await points(step / 8);
      await drawn(page);
    }
    await presses("squeeze", 0);
    await drawn(page);
    await page.waitForFunction((name) => document.querySelector("dd[data-name=Selected]").textContent === name, mesh);
    await shot(page, "grip-painted");
    await page.waitForFunction(() => window.texsynth.board.children.some(({ userData }) => userData.exemplar.name === "other"));
    await page.evaluate(() => {
      const { right } = window.quest.controllers;
      const picture = window.texsynth.board.children.find(({ userData }) => userData.exemplar.name === "other");
      const turned = picture.getWorldQuaternion(picture.quaternion.clone());
      const { x, y, z } = picture.localToWorld(picture.position.clone().set(0, 0, 0.2));
      right.position.set(x, y, z);
      right.quaternion.set(turned.x, turned.y, turned.z, turned.w);
    });
    await drawn(page);
    await presses("trigger", 1);
    await drawn(page);
    await presses("trigger", 0);
    assert.equal(await following(page, version, before.version, 600_000), before.version + 1, await page.textContent("aside"));
    await until(page, "whole again", isWhole);
    await drawn(page);
    await shot(page, "grip-restyled");
    const region = await page.evaluate((name) => window.texsynth.stage.jobs.get(name).work.restyle.options.region_sha256, mesh);
    await writeFile(join(settings.out, "region.json"), JSON.stringify({ region, before: before.maps, after: await read() }));
  },

  async "a region is painted with Shift and shown"(page) {
    await visit(page, settings.url);
    await until(page, "whole", isWhole);
    const { x, y } = await middle(page, flat);
    await page.keyboard.down("Shift");
    await page.mouse.move(x - 30, y);
    await page.mouse.down();
    await page.mouse.move(x + 30, y, { steps: 12 });
    await page.mouse.up();
    await page.keyboard.up("Shift");
    await page.waitForFunction((name) => document.querySelector("dd[data-name=Selected]").textContent === name, flat);
    await drawn(page);
    await shot(page, "painted");
  },

  async "after a loss of the GPU's context all is asked for again"(page) {
    await visit(page, settings.url);
    const before = await until(page, "whole", isWhole);
    await page.evaluate(() => {
      const lost = window.texsynth.renderer.getContext().getExtension("WEBGL_lose_context");
      window.restoreContext = () => lost.restoreContext();
      lost.loseContext();
    });
    await until(page, "nothing", ({ surfaces }) => surfaces === 0);
    await page.evaluate(() => window.restoreContext());
    const after = await until(page, "whole again", (now) => isWhole(now) && now.held === before.held);
    assert.ok(after.bytes >= 1.9 * before.bytes, JSON.stringify({ before, after }));
    await drawn(page);
    await shot(page, "restored");
    page.expected = /context/i;
  },

  async "a service with tokens asks for one"(page) {
    await visit(page, settings.guarded, "nobody");
    await page.fill("#token", settings.token);
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector("dd[data-name=Line]").textContent.startsWith("streams"));
    assert.match(await page.textContent("#says"), /^(scene "nobody" shows nothing yet.*)?$/);
    page.expected = /401 \(Unauthorized\)/;
  },
};

const browser = await launch(settings.chromium);
const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  if (process.argv[3] && !name.includes(process.argv[3])) continue;
  // Half a pixel a CSS pixel: every one is drawn by the processor, in each frame.
  const context = await browser.newContext({ viewport: { width: 720, height: 460 }, deviceScaleFactor: 0.5 });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(error.stack));
  const began = Date.now();
  try {
    if (!name.startsWith("without time")) await paced(page); // which counts frames
    await scenario(page);
    assert.deepEqual(wrong.filter((each) => !page.expected?.test(each)), [], "the console");
    results[name] = "";
  } catch (error) {
    await shot(page, `wrong-${Object.keys(results).length}`).catch(() => undefined);
    results[name] = `${error.message}\n${wrong.join("\n")}`;
  }
  process.stderr.write(`${((Date.now() - began) / 1000).toFixed(1)} s  ${results[name] ? "WRONG " : ""}${name}\n`);
  await context.close();
}
await browser.close();
console.log(JSON.stringify({ scenarios: results, figures }));
