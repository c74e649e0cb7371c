// The service as the gateway offers it: JSON calls, files by digest, streams of lines. The names are those of the protos.

export type State = "JOB_STATE_QUEUED" | "JOB_STATE_RUNNING" | "JOB_STATE_SUCCEEDED" | "JOB_STATE_FAILED" | "JOB_STATE_CANCELLED";
export interface InputFile { name: string; sha256: string }
export interface Input { files: InputFile[]; main: string; name: string }
export interface Progress { stage: string; fraction: number; remaining_seconds: number; preview_sha256: string }
export type Options = Record<string, unknown>;
export interface Task {
  entries?: unknown[]; asset?: Input; exemplar?: Input; source?: Input; generated?: Input; reference?: Input; options?: Options; target?: string;
}
export type Work = Partial<Record<"restyle" | "synthesize" | "mips" | "measure" | "bake", Task>>;
export interface ResultFile { name: string; sha256: string; size: string }
export interface Job {
  id: string; request_id: string; state: State; priority: string; work: Work; progress: Progress; attempts: number;
  submitted: string; changed: string; error?: { kind: string; message: string }; files: ResultFile[];
}
export interface JobEvent { number: string; time: string; state?: Job; progress?: Progress }

const TOKEN = "texsynth-token";
const KEPT = 120; // pictures kept in memory
const LARGEST_HASHED = 512 * 2 ** 20; // the browser's SHA-256 wants a file as a whole

/** What the service said: one line, and the field it is about. */
export class ServiceError extends Error {
  constructor(readonly status: number, readonly code: string, message: string, readonly field = "") {
    super(field && message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message);
  }
}

let askForToken: () => Promise<string> = () => Promise.reject(new Error("no token"));
let asked: Promise<string> | null = null;

/** ask: shows the person a field for the token; called once for all requests that wait for it. */
export function onTokenNeeded(ask: () => Promise<string>): void {
  askForToken = ask;
}

/** The token of this tab, "" for none. */
export const token = (): string => sessionStorage.getItem(TOKEN) ?? "";

function authorised(): Record<string, string> {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function newToken(): Promise<void> {
  asked ??= askForToken().finally(() => (asked = null));
  sessionStorage.setItem(TOKEN, await asked);
}

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  for (;;) {
    let response;
    const sent = sessionStorage.getItem(TOKEN);
    try {
      response = await fetch(path, { ...init, headers: { ...authorised(), ...init.headers } });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new ServiceError(0, "UNAVAILABLE", "the service cannot be reached");
    }
    if (response.status !== 401) {
      if (response.ok) return response;
      throw await problem(response);
    }
    if (sessionStorage.getItem(TOKEN) === sent) await newToken();
  }
}

async function problem(response: Response): Promise<ServiceError> {
  const said = await response.json().catch(() => ({}));
  return new ServiceError(response.status, said.code ?? "UNKNOWN", said.message ?? response.statusText, said.field);
}

async function post(method: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return request(`/rpc/texsynth.v1.${method}`, {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal,
  });
}

/** A method that answers once. */
export async function call<T>(method: string, body: unknown): Promise<T> {
  return (await post(method, body)).json();
}

export const list = (states: State[], page_token = "", page_size = 50): Promise<{ jobs: Job[]; next_page_token: string }> =>
  call("JobService/List", { states, page_token, page_size });
export const get = async (id: string): Promise<Job> => (await call<{ job: Job }>("JobService/Get", { id })).job;
export const cancel = async (id: string): Promise<Job> => (await call<{ job: Job }>("JobService/Cancel", { id })).job;
export const retry = async (id: string): Promise<Job> => (await call<{ job: Job }>("JobService/Retry", { id })).job;
/** What the option `model` may name. */
export const models = async (): Promise<string[]> => (await call<{ models: { name: string }[] }>("JobService/ListModels", {})).models.map(({ name }) => name);
export const forget = (id: string): Promise<unknown> => call("JobService/Delete", { id });

/** label: what the person would call it; it becomes a part of the request's name. deadline_seconds: 0 is never. */
export async function submit(work: Work, label: string, priority: string, deadline_seconds = 0): Promise<Job> {
  const request_id = `${label.replace(/[^\p{L}\p{N}\p{P}\p{S} ]/gu, "").slice(0, 80)} ${crypto.randomUUID()}`;
  return (await call<{ job: Job }>("JobService/Submit", { request_id, work, priority, deadline_seconds })).job;
}

/** The events of a job from a number on, until it has ended, the line breaks or `signal` says so. */
export async function* watch(id: string, from_event: number, signal: AbortSignal): AsyncGenerator<JobEvent> {
  const response = await post("JobService/Watch", { id, from_event }, signal);
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop()!;
    for (const line of lines.filter((each) => each)) {
      const { result, error } = JSON.parse(line);
      if (error) throw new ServiceError(200, error.code, error.message, error.field);
      yield result;
    }
  }
}

export async function ready(): Promise<boolean> {
  return fetch("/readyz").then((response) => response.ok, () => false);
}

// --- files ----------------------------------------------------------------------------------------------------------

export const fileUrl = (sha256: string, name = ""): string => `/files/${sha256}${name && `?name=${encodeURIComponent(name)}`}`;

/** The bytes at a path of this service. */
export async function blob(path: string): Promise<Blob> {
  return (await request(path)).blob();
}

const pictures = new Map<string, Promise<string>>();

/** What <img>, which cannot send a token itself, is given for the picture at a path of this service. */
export function picture(path: string): Promise<string> {
  const known = pictures.get(path);
  const url = known ?? blob(path).then((data) => URL.createObjectURL(data));
  pictures.delete(path);
  pictures.set(path, url); // the one used last stands last
  url.catch(() => pictures.delete(path));
  const [oldest] = pictures.keys();
  if (pictures.size > KEPT) {
    void pictures.get(oldest)!.then((old) => URL.revokeObjectURL(old), () => undefined);
    pictures.delete(oldest);
  }
  return url;
}

/** Saves a file under its name. */
export async function save(sha256: string, name: string): Promise<void> {
  const isOpen = !sessionStorage.getItem(TOKEN);
  const url = isOpen ? fileUrl(sha256, name) : URL.createObjectURL(await blob(fileUrl(sha256)));
  const link = document.createElement("a");
  link.href = url;
  link.download = name.split("/").pop()!;
  link.click();
  if (!isOpen) setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** SHA-256 in hexadecimal digits. */
export async function hashOf(file: File): Promise<string> {
  if (file.size > LARGEST_HASHED)
    throw new ServiceError(0, "INVALID_ARGUMENT", `${file.name}: has ${Math.round(file.size / 2 ** 20)} MiB; 512 are the most from a browser, use the command line`);
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Sends those of the files that the service has not yet; told: how much of all bytes is done, 0 to 1. */
export async function upload(files: File[], told: (share: number) => void): Promise<string[]> {
  const digests: string[] = [];
  for (const file of files) digests.push(await hashOf(file));
  const known = await call<{ assets: { sha256: string }[] }>("AssetService/Describe", { sha256: [...new Set(digests)] });
  const there = new Set(known.assets.map((asset) => asset.sha256));
  const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
  let done = 0;
  for (const [number, file] of files.entries()) {
    if (!there.has(digests[number])) await put(file, digests[number], (sent) => told((done + sent) / total));
    there.add(digests[number]);
    done += file.size;
    told(done / total);
  }
  return digests;
}

function put(file: File, sha256: string, told: (sent: number) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest(); // fetch does not tell how far it is
    sending.open("PUT", fileUrl(sha256));
    for (const [name, value] of Object.entries(authorised())) sending.setRequestHeader(name, value);
    sending.upload.onprogress = (event) => told(event.loaded);
    sending.onload = () => {
      if (sending.status === 200) return resolve();
      let said: Record<string, string> = {};
      try { said = JSON.parse(sending.responseText); } catch { /* no JSON, no reason */ }
      reject(new ServiceError(sending.status, said.code ?? "UNKNOWN", `${file.name}: ${said.message ?? sending.statusText}`));
    };
    sending.onerror = () => reject(new ServiceError(0, "UNAVAILABLE", `${file.name}: the line broke; send it again`));
    sending.send(file);
  });
}
