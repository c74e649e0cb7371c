// What a surface was made of, and what else it could be made of.
import * as api from "../../web/src/api";
import type { Input, Job, Task } from "../../web/src/api";

export interface Exemplar { key: string; name: string; input: Input; picture: string | null }

const RECENT = 8; // exemplars on offer
const EMBEDDED = 2048; // texels a side that a result's mesh keeps of its textures, and the size where none is asked for
const SHOWN = /\.(png|jpe?g|webp)$/i;

export const taskOf = (job: Job): Task => job.work.restyle ?? job.work.synthesize ?? {};

/** The mesh's file, null where a job has none that is one file. */
export function meshOf(job: Job): string | null {
  const files = job.work.restyle?.asset?.files ?? [];
  return files.find(({ name }) => /\.glb$/i.test(name))?.sha256 ?? null;
}

/** Whether a job restyled the mesh that another one made, in the same material slot. */
export const isResultOf = (before: Job, job: Job): boolean =>
  slotOf(before) === slotOf(job) && before.files.some(({ name, sha256 }) => name === "asset.glb" && sha256 === meshOf(job));

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
  const mesh = job.files.find(({ name }) => name === "asset.glb");
  if (!job.work.restyle || !mesh) throw new Error("a region wants a mesh, and it is none; select nothing to drop the region");
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
