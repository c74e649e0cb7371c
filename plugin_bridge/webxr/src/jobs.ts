// What a surface was made of, and what else it could be made of.
import * as api from "../../web/src/api";
import type { Input, Job, ResultFile, Task } from "../../web/src/api";

export interface Exemplar { key: string; name: string; input: Input; picture: string | null }

const RECENT = 8; // exemplars on offer
const EMBEDDED = 2048; // texels a side that a result's mesh keeps of its textures, and the size where none is asked for
const SHOWN = /\.(png|jpe?g|webp)$/i;
const PICTURE = /\.(png|jpe?g|webp|tiff?|tga|exr|hdr|bmp)$/i;
const PAGES = 20; // of 50 jobs, to look for the one that left a mesh

export const taskOf = (job: Job): Task => job.work.restyle ?? job.work.synthesize ?? {};

/** A mesh before any job restyled it. given: digest of its file where that is one .glb. made: of the mesh as its first
 * job left it, which has UVs in any case. size: texels that UVs were made for where it had none. isBare: without any
 * texture, as far as the names of its files tell. */
export interface Origin { key: string; given: string | null; made: string | null; size: number; isBare: boolean }

/** Null for a texture without a mesh. A job that restyles what another one left works on the same mesh. */
export async function originOf(job: Job): Promise<Origin | null> {
  let first = job;
  for (let before: Job | undefined = first; before; before = await makerOf(first)) first = before;
  const files = first.work.restyle?.asset?.files ?? [];
  if (files.length === 0) return null;
  const given = digestOf(first) ?? null;
  return {
    key: given ?? files.map(({ sha256 }) => sha256).sort().join(), given, made: leftBy(first)?.sha256 ?? null,
    size: Number(taskOf(first).options?.size ?? 0), isBare: !given && !files.some(({ name }) => PICTURE.test(name)),
  };
}

/** Of the mesh that a job restyles, where it is one .glb. */
const digestOf = (job: Job): string | undefined => job.work.restyle?.asset?.files.find(({ name }) => /\.glb$/i.test(name))?.sha256;

/** The mesh as a job left it. */
const leftBy = (job: Job): ResultFile | undefined => (job.work.restyle ? job.files.find(({ name }) => name === "asset.glb") : undefined);

const makers = new Map<string, Job>(); // by the digest of the mesh that they left
const originals = new Set<string>(); // digests of meshes that no job left

/** The job that left the mesh that this one restyled. */
async function makerOf(job: Job): Promise<Job | undefined> {
  const digest = digestOf(job);
  if (!digest || originals.has(digest)) return undefined;
  for (let page = "", asked = 0; !makers.has(digest) && asked < PAGES; asked++) {
    const { jobs, next_page_token } = await api.list(["JOB_STATE_SUCCEEDED"], page);
    for (const each of jobs) {
      const left = leftBy(each);
      if (left && left.sha256 !== digestOf(each)) makers.set(left.sha256, each);
    }
    if (!(page = next_page_token)) break;
  }
  if (!makers.has(digest)) originals.add(digest);
  return makers.get(digest);
}

/** Name or number of the mesh's material that the job replaced, "" for the one that covers most. */
export const slotOf = (job: Job): string => String(taskOf(job).options?.material ?? "");

/** The exemplars of recent jobs, each once. */
export async function exemplars(): Promise<Exemplar[]> {
  const found = new Map<string, Exemplar>();
  for (const job of (await api.list([])).jobs) {
    const input = taskOf(job).exemplar;
    if (!input) continue;
    const key = input.files.map(({ sha256 }) => sha256).sort().join();
    if (found.has(key) || found.size >= RECENT) continue;
    const shown = input.files.filter(({ name }) => SHOWN.test(name));
    const file = shown.find(({ name }) => /albedo|color|diffuse/i.test(name)) ?? shown[0];
    found.set(key, { key, name: input.name || stem(input.files[0].name), input, picture: file ? api.fileUrl(file.sha256, file.name) : null });
  }
  return [...found.values()];
}

/** The mesh as a job left it, with the texels that a region is to keep. Throws where a job has none with all of them. */
function kept(job: Job): Input {
  const mesh = leftBy(job);
  if (!mesh) throw new Error("a region wants a mesh, and it is none; select nothing to drop the region");
  const size = Number(taskOf(job).options?.size ?? EMBEDDED) || EMBEDDED;
  if (size > EMBEDDED) throw new Error(`it has ${size} texels a side; a region can be restyled up to ${EMBEDDED}`);
  return { files: [{ name: mesh.name, sha256: mesh.sha256 }], main: "", name: "" };
}

/** Asks for the same with another exemplar, waits for it and lets the surface show it. region: digest of the picture of
 * what may change, "" for all; the rest stays as it is now. told: how far it is, 0 to 1. */
export async function restyle(scene: string, surface: string, before: Job, exemplar: Exemplar, region: string, told: (share: number) => void): Promise<void> {
  const task: Task = { ...taskOf(before), exemplar: exemplar.input };
  task.options = { ...task.options, region_sha256: region, selection: undefined }; // not those of the job before
  if (region) task.asset = kept(before);
  const made = await api.submit(before.work.restyle ? { restyle: task } : { synthesize: task }, `${surface} of ${exemplar.name}`, "PRIORITY_INTERACTIVE");
  const job = await finished(made, told);
  if (job.state !== "JOB_STATE_SUCCEEDED") throw new Error(job.error?.message ?? "the job was called off");
  await show(scene, surface, job.id);
}

async function finished(job: Job, told: (share: number) => void): Promise<Job> {
  let from = 0;
  for (;;) {
    for await (const event of api.watch(job.id, from, new AbortController().signal)) {
      from = Number(event.number) + 1;
      if (event.progress) told(event.progress.fraction);
      if (event.state && !["JOB_STATE_QUEUED", "JOB_STATE_RUNNING"].includes(event.state.state)) return event.state;
    }
  }
}

/** Lets a surface of a scene show a job's texture. */
export async function show(scene: string, surface: string, job: string): Promise<void> {
  await api.call("StreamService/Show", { scene, surface, job });
}

const stem = (path: string): string => path.split("/").pop()!.replace(/\.[^.]+$/, "");
