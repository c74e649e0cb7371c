// Drives Chromium for benchmarks/transport.py: node transport.mjs CHROMIUM URL CHUNKS ROUNDS; prints rounds as JSON.
import { launch } from "../tests/web/chrome.mjs";

const [chromium, url, chunks, rounds] = process.argv.slice(2);
const browser = await launch(chromium);
const results = { websocket: [], fetch: [] };

async function round(way) {
  const page = await browser.newPage();
  await page.goto(url);
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const busy = async () => (await session.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
  const cpu = async () => Number(await (await fetch(`${url}cpu`)).text());
  const before = { busy: await busy(), cpu: await cpu() };
  const seen = await page.evaluate(([way, url, count]) => new Promise((done) => {
    const worker = new Worker("/worker.js");
    let [chunks, bytes, longest, last] = [0, 0, 0, performance.now()];
    const start = performance.now();
    worker.onmessage = ({ data }) => {
      chunks++;
      bytes += data.length;
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
      worker.postMessage({ taken: 65536 });
      if (chunks === count) done({ seconds: (performance.now() - start) / 1000, bytes, longest });
    };
    worker.postMessage({ way, url });
  }), [way, url, Number(chunks)]);
  const gigabytes = seen.bytes / 1e9;
  const after = { busy: await busy(), cpu: await cpu() };
  await page.close();
  return {
    "MB/s": seen.bytes / 1e6 / seen.seconds, "page s/GB": (after.busy - before.busy) / gigabytes,
    "server CPU s/GB": (after.cpu - before.cpu) / gigabytes, "longest pause ms": seen.longest,
  };
}

for (let each = 0; each < Number(rounds); each++) for (const way of Object.keys(results)) results[way].push(await round(way));
await browser.close();
console.log(JSON.stringify(results));
