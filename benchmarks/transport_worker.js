// Takes the chunks of benchmarks/transport.py and hands them to the page; grants credit when the page has had them.
const CREDIT = 5; // the field of OpenRequest
const WINDOW = 512 << 10;
let say;
let owed = 0;
let timer = 0;

/** OpenRequest{credit{bytes}} by hand: a message within a message, one number in it. */
function grant(bytes) {
  const number = [];
  for (let rest = bytes; ; rest = Math.floor(rest / 128)) {
    number.push((rest % 128) | (rest >= 128 ? 128 : 0));
    if (rest < 128) break;
  }
  say(new Uint8Array([(CREDIT << 3) | 2, number.length + 1, 8, ...number]));
}

function taken(bytes) {
  owed += bytes;
  const tell = () => {
    clearTimeout(timer);
    timer = 0;
    grant(owed);
    owed = 0;
  };
  if (owed >= WINDOW / 4) tell();
  else timer ||= setTimeout(tell, 10);
}

const hand = (data) => postMessage(data, [data.buffer]);

function socket(url) {
  const line = new WebSocket(`${url.replace("http", "ws")}socket`);
  line.binaryType = "arraybuffer";
  say = (data) => line.send(data);
  line.onopen = () => grant(WINDOW);
  line.onmessage = ({ data }) => hand(new Uint8Array(data));
}

async function fetched(url) {
  const name = crypto.randomUUID();
  let last = Promise.resolve();
  const post = async (body) => (await fetch(`${url}said/${name}`, { method: "POST", body })).arrayBuffer(); // unread, it keeps its connection
  say = (body) => (last = last.then(() => post(body))); // in their order
  grant(WINDOW); // the answer's headers may wait for its first bytes
  const answer = await fetch(`${url}fetch/${name}`);
  const reader = answer.body.getReader();
  let rest = new Uint8Array();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(rest.length + value.length);
    joined.set(rest);
    joined.set(value, rest.length);
    let at = 0;
    while (joined.length - at >= 5) {
      const length = new DataView(joined.buffer).getUint32(at + 1);
      if (joined.length - at - 5 < length) break;
      hand(joined.slice(at + 5, at + 5 + length));
      at += 5 + length;
    }
    rest = joined.subarray(at);
  }
}

onmessage = ({ data }) => {
  if (data.taken) taken(data.taken);
  else if (data.way === "websocket") socket(data.url);
  else void fetched(data.url);
};
