// iwer's Quest 3 in place of a headset.
import { readFile } from "node:fs/promises";

const IWER = new URL("node_modules/iwer/build/iwer.min.js", import.meta.url);

/** A Quest 3 without its native runtime, whose controls `window.quest` holds. Before the page is loaded. */
export async function asQuest(page) {
  await page.addInitScript({ content: await readFile(IWER, "utf8") });
  await page.addInitScript(() => {
    window.quest = new window.IWER.XRDevice(window.IWER.metaQuest3);
    window.quest.installRuntime({ forceInstall: true });
    window.quest.position.set(0, 1.5, 0);
  });
}
