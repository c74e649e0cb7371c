// The page: the queue on one side, a job or the form for a new one on the other.
import "./style.css";
import * as api from "./api";
import { h, liveRegion, say } from "./dom";
import { fromDrop } from "./inputs";
import { jobView, View } from "./job";
import { Jobs } from "./jobs";
import { queue } from "./queue";
import { Form } from "./submit";
import { askForToken } from "./token";

const READY_EVERY = 5000; // milliseconds

const jobs = new Jobs();
const form = new Form(jobs);
const health = h("span", { class: "health", role: "status" });
const stage = h("main", { id: "stage", tabIndex: -1 });
const skip = h("a", { class: "skip", href: "#stage", onclick: (event: Event) => (event.preventDefault(), stage.focus()) }, "Skip the queue");
const fresh = h("a", { href: "#/new", class: "button primary", title: "New texture (N)" }, "New texture");
const header = h("header", { class: "top" }, skip, h("h1", {}, h("a", { href: "#/", class: "brand" }, "texsynth")), health, fresh);
document.body.append(header, h("div", { class: "columns" }, queue(jobs), stage), liveRegion);

let open: View | null = null;

function route(): void {
  open?.dispose();
  open = null;
  const [, where, id] = location.hash.split("/");
  document.body.dataset.view = where === "job" ? "job" : where === "new" ? "new" : "queue";
  if (where === "job" && id) {
    open = jobView(jobs, id);
    stage.replaceChildren(open.element);
  } else {
    stage.replaceChildren(form.element);
    void form.refresh();
  }
  window.scrollTo(0, 0);
}

async function lookAtHealth(): Promise<void> {
  const isReady = !document.hidden && (await api.ready());
  const state = !jobs.isReachable ? "no connection" : isReady ? "ready" : "starts";
  if (!document.hidden) {
    say(health, state);
    health.dataset.state = state;
  }
  setTimeout(() => void lookAtHealth(), isReady && jobs.isReachable ? READY_EVERY : 1000);
}

api.onTokenNeeded(askForToken);

addEventListener("hashchange", route);
addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLElement && event.target.matches("input, select, textarea, [contenteditable]");
  if (event.key === "n" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) location.hash = "#/new";
});
addEventListener("dragenter", (event) => event.preventDefault());
addEventListener("dragover", (event) => {
  event.preventDefault(); // else the browser would open what is dropped
  if (document.body.dataset.view === "job") location.hash = "#/new";
});
addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer) void fromDrop(event.dataTransfer).then((picked) => form.take(picked));
});

route();
jobs.start();
void lookAtHealth();
