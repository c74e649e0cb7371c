// The dialog that asks for a token.
import { h } from "./dom";

/** What the person typed. */
export function askForToken(): Promise<string> {
  return new Promise((resolve) => {
    const field = h("input", { type: "password", id: "token", autocomplete: "off", required: true });
    const dialog = h("dialog", { class: "token", "aria-labelledby": "token-label" },
      h("form", { onsubmit: (event: Event) => (event.preventDefault(), dialog.close(), dialog.remove(), resolve(field.value.trim())) },
        h("label", { htmlFor: "token", id: "token-label" }, "This service asks for a token"), field,
        h("p", { class: "help" }, "texsynth serve --new-token NAME makes one. It is kept until this tab is closed."),
        h("button", { type: "submit", class: "primary" }, "Go on")));
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
  });
}
