// Elements without a framework.

export type Child = Node | string | null | false | undefined;
type Props = Record<string, unknown>;

/** An element: `on...` are listeners, names that the element has are properties, all others attributes. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, props: Props = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value as EventListener);
    else if (name === "class") element.className = String(value);
    else if (name in element && !name.includes("-")) (element as unknown as Props)[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== false && child !== undefined));
  return element;
}

/** Sets an element's text if it is another; so nothing is announced or laid out anew without need. */
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

const live = h("div", { class: "unseen", "aria-live": "polite", id: "news" });

/** For screen readers. */
export function announce(text: string): void {
  live.textContent = text;
}

export const liveRegion = live;

/** A group of tabs; arrow keys move within it. chosen: called with the key of the tab that is chosen. */
export function tabs(label: string, items: [key: string, text: string][], chosen: (key: string) => void): {
  element: HTMLElement; choose: (key: string) => void;
} {
  const buttons = items.map(([key, text]) =>
    h("button", { type: "button", role: "tab", class: "tab", onclick: () => pick(key), "data-key": key }, text),
  );
  const pick = (key: string): void => {
    for (const button of buttons) {
      const own = button.dataset.key === key;
      button.setAttribute("aria-selected", String(own));
      button.tabIndex = own ? 0 : -1;
    }
    chosen(key);
  };
  const element = h("div", { role: "tablist", class: "tabs", "aria-label": label }, ...buttons);
  element.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = buttons.indexOf(document.activeElement as HTMLButtonElement);
    if (step === undefined || at < 0) return;
    event.preventDefault();
    const next = buttons[(at + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
  return { element, choose: pick };
}
