// The worker that owns the line, from the page's side.
import workerUrl from "./worker?worker&url";
import type { FromWorker, ToWorker } from "./messages";

interface Policy { createScriptURL(url: string): string }
interface TrustedTypes { createPolicy(name: string, rules: Policy): Policy }

/** The page's own policy wants it said which script a worker may be. */
function trusted(url: string): string {
  const { trustedTypes } = window as unknown as { trustedTypes?: TrustedTypes };
  return trustedTypes ? trustedTypes.createPolicy("texsynth-worker", { createScriptURL: (own) => own }).createScriptURL(url) : url;
}

export class Stream {
  private readonly worker = new Worker(trusted(workerUrl), { type: "module" });

  constructor(heard: (message: FromWorker) => void) {
    this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => heard(data);
  }

  /** transfer: whose memory goes along. */
  send(message: ToWorker, transfer: Transferable[] = []): void {
    this.worker.postMessage(message, transfer);
  }
}
