// "Enter VR", where a headset is there.
import type { WebGLRenderer } from "three";
import { h } from "../../web/src/dom";

/** The button; null where the browser has no immersive-vr. failed: why a session did not begin. */
export async function headsetButton(renderer: WebGLRenderer, failed: (message: string) => void): Promise<HTMLButtonElement | null> {
  if (!(await navigator.xr?.isSessionSupported("immersive-vr").catch(() => false))) return null;
  const button = h("button", { type: "button", id: "enter-vr", class: "primary" }, "Enter VR");
  button.addEventListener("click", () => {
    if (renderer.xr.getSession()) return void renderer.xr.getSession()!.end();
    navigator.xr!.requestSession("immersive-vr", { optionalFeatures: ["local-floor"] }).then(
      (session) => renderer.xr.setSession(session), (error: Error) => failed(`the headset does not begin: ${error.message}`));
  });
  renderer.xr.addEventListener("sessionstart", () => (button.textContent = "Leave VR"));
  renderer.xr.addEventListener("sessionend", () => (button.textContent = "Enter VR"));
  return button;
}
