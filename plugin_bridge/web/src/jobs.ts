// The jobs that are known here, kept up to date: a list now and then, and a stream for each running one that is seen.
import * as api from "./api";
import type { Job, State } from "./api";
import { announce } from "./dom";

const POLL = 2000; // milliseconds
const WHOLE = 8; // every so many polls the whole list is asked for
const STREAMS = 2; // a browser opens six connections to a host; pictures need some too

export const ACTIVE: State[] = ["JOB_STATE_QUEUED", "JOB_STATE_RUNNING"];
export const isActive = (job: Job): boolean => ACTIVE.includes(job.state);
const WORDS: Record<State, string> = {
  JOB_STATE_QUEUED: "waits", JOB_STATE_RUNNING: "runs", JOB_STATE_SUCCEEDED: "done", JOB_STATE_FAILED: "failed",
  JOB_STATE_CANCELLED: "cancelled",
};
export const stateWord = (job: Job): string => WORDS[job.state] ?? job.state;

/** Everything that the page knows of the queue. */
export class Jobs {
  readonly known = new Map<string, Job>();
  order: string[] = [];
  more = "";
  filter: State[] = [];
  isReachable = true;
  private readonly listeners = new Set<() => void>();
  private readonly streams = new Map<string, AbortController>();
  private readonly numbers = new Map<string, number>();
  private polls = 0;
  private timer = 0;
  private frame = 0;

  /** heard: called after each change. Returns what ends that. */
  listen(heard: () => void): () => void {
    this.listeners.add(heard);
    return () => this.listeners.delete(heard);
  }

  start(): void {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.endStreams();
      else void this.poll();
    });
    addEventListener("pagehide", () => this.endStreams());
    void this.poll();
  }

  /** Takes what the service said of a job. */
  put(job: Job): void {
    const before = this.known.get(job.id);
    if (before && Date.parse(before.changed) > Date.parse(job.changed)) return; // an older answer that came later
    if (before?.state === "JOB_STATE_RUNNING" && before.changed === job.changed && before.progress.fraction > job.progress.fraction)
      job.progress = before.progress; // the stream was quicker than the list
    if (before && before.state !== job.state) announce(`${title(job)}: ${stateWord(job)}${job.error ? `, ${job.error.message}` : ""}`);
    this.known.set(job.id, job);
    if (!this.order.includes(job.id) && this.shows(job)) {
      this.order.push(job.id);
      this.order.sort((a, b) => (this.known.get(b)?.submitted ?? "").localeCompare(this.known.get(a)?.submitted ?? ""));
    }
    this.tell();
  }

  drop(id: string): void {
    this.known.delete(id);
    this.order = this.order.filter((each) => each !== id);
    this.tell();
  }

  shows(job: Job): boolean {
    return this.filter.length === 0 || this.filter.includes(job.state);
  }

  /** Shows only jobs in these states, none for all. */
  async choose(states: State[]): Promise<void> {
    this.filter = states;
    this.order = [];
    this.more = "";
    await this.whole();
  }

  /** The next page of the list. */
  async append(): Promise<void> {
    const page = await api.list(this.filter, this.more);
    this.more = page.next_page_token;
    for (const job of page.jobs) this.known.set(job.id, job);
    this.order = [...new Set([...this.order, ...page.jobs.map((job) => job.id)])];
    this.tell();
  }

  private async whole(): Promise<void> {
    const wanted = this.filter;
    const page = await api.list(wanted);
    if (wanted !== this.filter) return;
    const first = page.jobs.map((job) => job.id);
    const rest = this.more ? this.order.filter((id) => !first.includes(id) && this.known.has(id) && this.shows(this.known.get(id)!)) : [];
    for (const job of page.jobs) this.put(job);
    const oldest = page.jobs.at(-1)?.submitted ?? "";
    this.order = [...first, ...rest.filter((id) => this.known.get(id)!.submitted < oldest)];
    this.more ||= page.next_page_token;
    this.tell();
  }

  private async poll(): Promise<void> {
    clearTimeout(this.timer);
    if (document.hidden) return;
    try {
      if (this.polls++ % WHOLE === 0) await this.whole();
      else await this.glance();
      this.isReachable = true;
      this.follow();
    } catch (error) {
      this.isReachable = !(error instanceof api.ServiceError) || error.status !== 0;
    }
    this.tell();
    this.timer = window.setTimeout(() => void this.poll(), POLL);
  }

  /** Only what waits or runs, and what did so a moment ago. */
  private async glance(): Promise<void> {
    const { jobs } = await api.list(ACTIVE, "", 100);
    const now = new Set(jobs.map((job) => job.id));
    const ended = [...this.known.values()].filter((job) => isActive(job) && !now.has(job.id));
    jobs.forEach((job) => this.put(job));
    for (const job of ended) {
      try {
        this.put(await api.get(job.id));
      } catch (error) {
        if (error instanceof api.ServiceError && error.status === 404) this.drop(job.id);
        else throw error;
      }
    }
  }

  private follow(): void {
    const running = [...this.known.values()].filter((job) => job.state === "JOB_STATE_RUNNING").map((job) => job.id);
    for (const id of running.slice(0, STREAMS)) if (!this.streams.has(id) && this.streams.size < STREAMS) void this.stream(id);
  }

  private async stream(id: string): Promise<void> {
    const control = new AbortController();
    this.streams.set(id, control);
    try {
      for await (const event of api.watch(id, this.numbers.get(id) ?? 0, control.signal)) {
        this.numbers.set(id, Number(event.number) + 1);
        const job = this.known.get(id);
        // a stream tells all from the beginning: earlier tries, and what the list has overtaken
        const isOld = job && (Date.parse(event.time) < Date.parse(job.changed) || (event.progress?.fraction ?? 0) < job.progress.fraction);
        if (event.progress && job?.state === "JOB_STATE_RUNNING" && !isOld) {
          job.progress = { ...event.progress, preview_sha256: event.progress.preview_sha256 || job.progress.preview_sha256 };
          this.tell();
        }
      }
      this.put(await api.get(id)); // the stream ends with the job
    } catch {
      // the next poll begins it again, from the event after the last
    } finally {
      this.streams.delete(id);
    }
  }

  private endStreams(): void {
    for (const control of this.streams.values()) control.abort();
  }

  /** Once a frame: a stream that catches up brings many events at a time. */
  private tell(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      for (const heard of this.listeners) heard();
    });
  }
}

// --- what a job is called -------------------------------------------------------------------------------------------

export const kindOf = (job: Job): keyof api.Work => (Object.keys(job.work)[0] ?? "synthesize") as keyof api.Work;
export const taskOf = (job: Job): api.Task => job.work[kindOf(job)] ?? {};

/** What the person called it, else the names of its files. */
export function title(job: Job): string {
  const own = /^(.+) [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.exec(job.request_id);
  if (own) return own[1];
  const task = taskOf(job);
  if (task.entries) return `${task.entries.length} results`;
  const inputs = [task.asset, task.exemplar ?? task.source ?? task.generated].filter((input) => input?.files.length);
  const names = inputs.map((input) => (input!.name || input!.main || input!.files[0].name).replace(/\.[^.]+$/, ""));
  return names.join(" ← ") || job.id.slice(0, 8);
}

/** What it is to become, in short. */
export function facts(job: Job): string[] {
  const { options, target } = taskOf(job);
  if (!options) return [kindOf(job), target ?? ""].filter(Boolean);
  const content = (options.content as { value: number } | undefined)?.value;
  return [
    `${options.size || 2048} px`, String(options.preset || "standard"), `seed ${options.seed ?? 0}`,
    options.tileable ? "tileable" : "", options.target && options.target !== "source" ? String(options.target) : "",
    content === undefined ? "" : `content ${Math.round(content * 100) / 100}`,
    job.priority === "PRIORITY_BATCH" ? "batch" : "",
  ].filter(Boolean);
}

/** Seconds in words. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** Where it stands, in one line. */
export function standing(job: Job): string {
  if (job.state !== "JOB_STATE_RUNNING") return stateWord(job);
  const { stage, fraction, remaining_seconds: left } = job.progress;
  return [stage || "starts", `${Math.round(fraction * 100)} %`, left > 0 ? `about ${duration(left)} left` : ""].filter(Boolean).join(" · ");
}

/** The path of a small picture of the job, "" for none: how far it is, its exemplar, or a mip of about 128 texels. */
export function thumbnail(job: Job): string {
  if (job.state !== "JOB_STATE_SUCCEEDED") {
    const shown = job.progress.preview_sha256 || given(job, "exemplar", "albedo");
    return shown && api.fileUrl(shown, "x.png");
  }
  const size = Number(taskOf(job).options?.size) || 2048;
  const level = Math.max(0, Math.round(Math.log2(size / 128)));
  const find = (name: string) => job.files.find((file) => file.name === name);
  const file = find(`mips/albedo.${level}.png`) ?? (level === 0 ? find("albedo.png") : undefined);
  if (file) return api.fileUrl(file.sha256, "x.png");
  return ["albedo.ktx2", "albedo.dds", "albedo.exr"].some(find) ? `/levels/${job.id}/albedo/${level}` : "";
}

/** SHA-256 of the picture of `kind` in what the job was given: a single image, or a folder's file of such a name. */
export function given(job: Job, which: "exemplar" | "asset" | "source", kind: string): string {
  const files = (taskOf(job)[which]?.files ?? []).filter(({ name }) => /\.(png|jpe?g|webp)$/i.test(name));
  if (files.length === 1) return kind === "albedo" ? files[0].sha256 : "";
  const words = (name: string) => name.replace(/\.[^.]+$/, "").split(/[_\-. /]+|(?<=[a-z])(?=[A-Z])/).map((word) => word.toLowerCase());
  return files.find(({ name }) => words(name).some((word) => NAMES[kind]?.includes(word)))?.sha256 ?? "";
}

// The common ones of texsynth/material_files.py, which decides for the engine.
const NAMES: Record<string, string[]> = {
  albedo: ["albedo", "basecolor", "basecolour", "color", "colour", "col", "diffuse", "diff", "bc", "alb"],
  normal: ["normal", "normals", "nor", "nrm", "normalgl", "normaldx", "gl"],
  roughness: ["roughness", "rough"], metalness: ["metalness", "metallic", "metal"],
  height: ["height", "displacement", "disp"], opacity: ["opacity", "alpha"],
};
