// A line on loopback that can be slow, stand still or break: `const line = await open("http://127.0.0.1:8080/")`.
import { connect, createServer } from "node:net";

const TICK = 20; // milliseconds

/** Carries connections to the host of `url`. What a stream sends is passed on at `rate` bytes a second, all else at once. */
export async function open(url) {
  const { hostname, port } = new URL(url);
  const pairs = new Set();
  const line = { rate: Infinity, passed: 0, url: "", cut, close };
  const server = createServer((near) => {
    const far = connect(Number(port), hostname);
    const pair = { near, far, waiting: [], allowed: 0 };
    pairs.add(pair);
    near.once("data", (first) => (pair.isStream = first.includes("GET /stream ")));
    near.pipe(far);
    far.on("data", (data) => {
      pair.waiting.push(data);
      if (held(pair) > 64 << 10) far.pause(); // as little as a slow line holds
      pass(pair);
    });
    far.on("end", () => (pair.hasEnded = true));
    const end = () => (near.destroy(), far.destroy(), pairs.delete(pair));
    for (const side of [near, far]) side.on("error", end);
    near.on("close", end);
  });
  const isQuick = ({ isStream }) => !isStream || line.rate === Infinity;
  const held = (pair) => pair.waiting.reduce((sum, data) => sum + data.length, 0);

  function pass(pair) {
    while (pair.waiting.length > 0 && (isQuick(pair) || pair.allowed >= 1)) {
      const data = pair.waiting.shift();
      const count = isQuick(pair) ? data.length : Math.min(data.length, Math.floor(pair.allowed));
      pair.allowed -= count;
      line.passed += count;
      pair.near.write(data.subarray(0, count));
      if (count < data.length) pair.waiting.unshift(data.subarray(count));
    }
    if (pair.waiting.length === 0 && pair.hasEnded) pair.near.end();
    if (held(pair) <= 64 << 10) pair.far.resume();
  }
  const ticking = setInterval(() => {
    for (const pair of pairs) {
      pair.allowed = isQuick(pair) ? 0 : Math.min(pair.allowed + (line.rate * TICK) / 1000, line.rate);
      pass(pair);
    }
  }, TICK);

  /** Breaks what is open; new connections are taken. */
  function cut() {
    for (const { near, far } of pairs) (near.resetAndDestroy(), far.destroy());
    pairs.clear();
  }

  async function close() {
    clearInterval(ticking);
    cut();
    await new Promise((done) => server.close(done));
  }

  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  line.url = `http://127.0.0.1:${server.address().port}/`;
  return line;
}
