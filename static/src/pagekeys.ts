/** Keys and buttons of the page itself, beside the terminal. */

import type { Terminal } from "@xterm/xterm";
import { byId, onPress } from "./dom.ts";
import { type FontStep, fontStepOf } from "./fontsize.ts";
import { copyText } from "./osc52.ts";
import type { Search } from "./search.ts";
import { toast } from "./toast.ts";

/** Wires what leads out of the terminal and back, text size, search and copying. */
export function wirePageKeys(terminal: Terminal, stepFont: (step: FontStep) => void): void {
  let search: Promise<Search> | undefined;

  async function openSearch(): Promise<void> {
    search ??= import("./search.ts").then(
      (module) =>
        new module.Search(terminal, {
          bar: byId<HTMLFormElement>("search"),
          field: byId<HTMLInputElement>("search-field"),
          count: byId("search-count"),
          previous: byId("search-previous"),
          next: byId("search-next"),
          close: byId("search-close"),
        }),
    );
    try {
      (await search).open();
    } catch {
      search = undefined;
      toast("The search could not be loaded.", { isWarning: true });
    }
  }

  /** Returns true when the key is used up. */
  function pageKey(event: KeyboardEvent): boolean {
    const step = fontStepOf(event);
    if (step) stepFont(step);
    else if (!event.ctrlKey) return false;
    else if (event.key === "F6" || (event.shiftKey && event.key === "Escape")) byId("settings-open").focus();
    else if (event.shiftKey && event.code === "KeyF") void openSearch();
    else if (event.shiftKey && event.code === "KeyC" && terminal.hasSelection()) {
      void copyText(terminal.getSelection(), true);
    } else return false;
    return true;
  }

  addEventListener(
    "keydown",
    (event) => {
      if (!pageKey(event)) return;
      event.preventDefault();
      event.stopPropagation();
    },
    { capture: true },
  );
  byId("bar").addEventListener("keydown", (event) => {
    if (event.key === "Escape") terminal.focus();
  });
  byId("bar").addEventListener("click", (event) => {
    // Who uses a pointer types on; who uses the keyboard stays at the button.
    const isButton =
      event.target instanceof Element && event.target.closest("#font-smaller, #font-larger, #theme-switch, #hand");
    if (isButton && event.detail > 0) terminal.focus();
  });
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    terminal.focus();
  });
  onPress("font-smaller", () => stepFont("smaller"));
  onPress("font-larger", () => stepFont("larger"));
  onPress("search-open", () => void openSearch());
}
