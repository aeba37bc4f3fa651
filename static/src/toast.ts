/** Short messages over the terminal: notices of the server, offers, who comes and goes. Text only. */

import { byId, make, makeButton } from "./dom.ts";

const SHOWN_MS = 8_000;
const QUIET_MS = 4_000;
const MOST_AT_ONCE = 3;

export interface ToastAction {
  readonly label: string;
  run(): void;
}

export interface ToastOptions {
  /** Replaces the last message of that group. */
  readonly group?: string;
  readonly action?: ToastAction;
  readonly isWarning?: boolean;
  /** A line that nobody need act on: small, soon gone. */
  readonly isQuiet?: boolean;
}

/** Shows a message; one with an action stays until it is used or closed. */
export function toast(text: string, options: ToastOptions = {}): void {
  const list = atTheTop();
  const { action, group, isQuiet, isWarning } = options;
  const kind = isWarning ? " warning" : isQuiet ? " quiet" : action ? " asks" : "";
  const item = make("div", `toast${kind}`);
  item.setAttribute("role", isWarning ? "alert" : "status");
  if (group !== undefined) {
    dropToasts(group);
    item.dataset["group"] = group;
  }
  item.append(make("p", "", text));
  if (action) {
    item.append(
      makeButton(action.label, "primary", () => {
        item.remove();
        action.run();
      }),
    );
  }
  if (!isQuiet) item.append(dismissal(item));
  list.append(item);
  while (list.children.length > MOST_AT_ONCE) list.firstElementChild?.remove();
  if (!action) window.setTimeout(() => item.remove(), isQuiet ? QUIET_MS : SHOWN_MS);
}

function dismissal(item: HTMLElement): HTMLButtonElement {
  const button = makeButton("", "icon", () => item.remove());
  button.setAttribute("aria-label", "Dismiss");
  // The same cross as on the page's own buttons.
  const cross = byId("search-close").querySelector("svg")?.cloneNode(true);
  if (cross) button.append(cross);
  return button;
}

/** Returns the list of messages, where it can be seen: an open dialog covers the rest of the page. */
function atTheTop(): HTMLElement {
  const list = byId("toasts");
  const dialog = [...document.querySelectorAll("dialog")].find((one) => one.open);
  if (dialog && !dialog.contains(list)) {
    dialog.append(list);
    dialog.addEventListener("close", () => byId("main").append(list), { once: true });
  }
  return list;
}

/** Takes away what a group shows: it is not true any more. */
export function dropToasts(group: string): void {
  for (const old of byId("toasts").querySelectorAll<HTMLElement>(".toast")) {
    if (old.dataset["group"] === group) old.remove();
  }
}
