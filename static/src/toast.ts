/** Short messages over the terminal: notices of the server, the offer to copy. Text only. */

import { byId } from "./dom.ts";

const SHOWN_MS = 8_000;
const MOST_AT_ONCE = 3;

export interface ToastAction {
  readonly label: string;
  run(): void;
}

/** Shows a message; one with an action stays until it is used or closed. `group`: replaces the last of that group. */
export function toast(text: string, options: { group?: string; action?: ToastAction; isWarning?: boolean } = {}): void {
  const list = byId("toasts");
  const item = document.createElement("div");
  item.className = options.isWarning ? "toast warning" : "toast";
  item.setAttribute("role", options.isWarning ? "alert" : "status");
  if (options.group !== undefined) {
    item.dataset["group"] = options.group;
    for (const old of list.querySelectorAll<HTMLElement>(".toast")) {
      if (old.dataset["group"] === options.group) old.remove();
    }
  }
  const words = document.createElement("p");
  words.textContent = text;
  item.append(words);
  const { action } = options;
  if (action) item.append(button(action.label, "primary", () => {
    item.remove();
    action.run();
  }));
  item.append(button("Dismiss", "quiet", () => item.remove()));
  list.append(item);
  while (list.children.length > MOST_AT_ONCE) list.firstElementChild?.remove();
  if (!action) window.setTimeout(() => item.remove(), SHOWN_MS);
}

function button(label: string, kind: string, press: () => void): HTMLButtonElement {
  const element = document.createElement("button");
  element.type = "button";
  element.className = kind;
  element.textContent = label;
  element.addEventListener("click", press);
  return element;
}
