// The list of jobs.
import * as api from "./api";
import type { Job, State } from "./api";
import { announce, h, say, tabs } from "./dom";
import { facts, isActive, Jobs, standing, thumbnail, title } from "./jobs";

const FILTERS: Record<string, State[]> = {
  all: [], active: ["JOB_STATE_QUEUED", "JOB_STATE_RUNNING"], done: ["JOB_STATE_SUCCEEDED"],
  failed: ["JOB_STATE_FAILED", "JOB_STATE_CANCELLED"],
};

/** Does something with a job and says what went wrong. */
export async function act(jobs: Jobs, job: Job, what: "cancel" | "retry" | "delete"): Promise<void> {
  try {
    if (what === "delete") {
      await api.forget(job.id);
      jobs.drop(job.id);
      announce(`${title(job)}: deleted`);
      if (location.hash === `#/job/${job.id}`) location.hash = "#/";
    } else {
      jobs.put(await api[what](job.id));
    }
  } catch (error) {
    announce(`${title(job)}: ${(error as Error).message}`);
  }
}

export function actions(jobs: Jobs, job: () => Job): HTMLElement & { show: () => void } {
  const button = (what: "cancel" | "retry" | "delete", text: string) =>
    h("button", { type: "button", class: `small ${what}`, onclick: () => void act(jobs, job(), what) }, text);
  const all = { cancel: button("cancel", "Cancel"), retry: button("retry", "Retry"), delete: button("delete", "Delete") };
  const element = h("div", { class: "actions" }, all.cancel, all.retry, all.delete) as unknown as HTMLElement & { show: () => void };
  element.show = () => {
    const { state } = job();
    all.cancel.hidden = !isActive(job());
    all.retry.hidden = state !== "JOB_STATE_FAILED" && state !== "JOB_STATE_CANCELLED";
    all.delete.hidden = isActive(job());
    for (const each of Object.values(all)) each.setAttribute("aria-label", `${each.textContent}: ${title(job())}`);
  };
  return element;
}

class Row {
  readonly element: HTMLLIElement;
  private readonly link = h("a", { class: "open" });
  private readonly image = h("img", { alt: "", class: "thumb", onerror: () => this.image.removeAttribute("src") }); // what was sent is no picture
  private readonly name = h("span", { class: "name" });
  private readonly facts = h("span", { class: "facts" });
  private readonly standing = h("span", { class: "standing" });
  private readonly bar = h("progress", { max: 1 });
  private readonly actions;
  private shown = "";

  constructor(jobs: Jobs, private job: Job) {
    this.actions = actions(jobs, () => this.job);
    this.link.href = `#/job/${job.id}`;
    this.link.append(h("span", { class: "frame" }, this.image), h("span", { class: "text" }, this.name, this.facts, this.bar, this.standing));
    this.element = h("li", { class: "row" }, this.link, this.actions);
    this.update(job);
  }

  update(job: Job): void {
    this.job = job;
    say(this.name, title(job));
    say(this.facts, facts(job).join(" · "));
    say(this.standing, job.state === "JOB_STATE_FAILED" ? `failed: ${job.error?.message ?? ""}` : standing(job));
    this.bar.value = job.progress.fraction;
    this.bar.hidden = job.state !== "JOB_STATE_RUNNING";
    this.bar.setAttribute("aria-label", `progress of ${title(job)}`);
    this.element.dataset.state = job.state;
    this.link.setAttribute("aria-current", String(location.hash === `#/job/${job.id}`));
    this.actions.show();
    const picture = thumbnail(job);
    this.image.classList.toggle("dim", job.state !== "JOB_STATE_SUCCEEDED" && !job.progress.preview_sha256);
    if (picture && picture !== this.shown) {
      this.shown = picture;
      void api.picture(picture).then((url) => { if (this.shown === picture) this.image.src = url; }, () => undefined);
    }
  }
}

export function queue(jobs: Jobs): HTMLElement {
  const rows = new Map<string, Row>();
  const items = h("ul", { class: "rows", "aria-label": "Jobs" });
  const empty = h("p", { class: "empty" });
  const more = h("button", { type: "button", class: "more", onclick: () => void jobs.append() }, "Show older ones");
  const filter = tabs("Which jobs", Object.keys(FILTERS).map((key) => [key, key[0].toUpperCase() + key.slice(1)]), (key) => {
    void jobs.choose(FILTERS[key]).catch(() => undefined);
  });

  const update = (): void => {
    const wanted = jobs.order.filter((id) => jobs.known.has(id) && jobs.shows(jobs.known.get(id)!));
    for (const [id, row] of rows) if (!wanted.includes(id)) (row.element.remove(), rows.delete(id));
    wanted.forEach((id, place) => {
      const job = jobs.known.get(id)!;
      const row = rows.get(id) ?? new Row(jobs, job);
      rows.set(id, row);
      row.update(job);
      if (items.children[place] !== row.element) items.insertBefore(row.element, items.children[place] ?? null);
    });
    say(empty, jobs.filter.length ? "No such jobs." : "No jobs yet. Drop an exemplar to make the first texture.");
    empty.hidden = wanted.length > 0;
    more.hidden = !jobs.more;
  };
  items.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const links = [...items.querySelectorAll<HTMLElement>("a.open")];
    const at = links.findIndex((link) => link.closest("li")!.contains(document.activeElement));
    if (step && links[at + step]) {
      event.preventDefault();
      links[at + step].focus();
    } else if (event.key === "Delete" && at >= 0) {
      const job = jobs.known.get([...rows].find(([, row]) => row.element === links[at].closest("li"))![0])!;
      void act(jobs, job, isActive(job) ? "cancel" : "delete");
    }
  });
  jobs.listen(update);
  addEventListener("hashchange", update);
  for (const button of filter.element.querySelectorAll<HTMLElement>("button")) {
    button.setAttribute("aria-selected", String(button.dataset.key === "all"));
    button.tabIndex = button.dataset.key === "all" ? 0 : -1;
  }
  return h("nav", { class: "queue", "aria-label": "Queue" }, filter.element, items, empty, more);
}
