/** The search bar, loaded at its first use. Imports nothing of the page at run time, so that it stays one chunk. */

import { type ISearchDecorationOptions, SearchAddon } from "@xterm/addon-search";
import type { Terminal } from "@xterm/xterm";

export interface SearchElements {
  readonly bar: HTMLFormElement;
  readonly field: HTMLInputElement;
  readonly count: HTMLElement;
  readonly previous: HTMLElement;
  readonly next: HTMLElement;
  readonly close: HTMLElement;
}

/** Backgrounds of a match and of the present one; the text keeps its colour and stays readable on both. */
const COLOURS = { light: ["#f5dc8c", "#ffb873"], dark: ["#5c4d16", "#8a4b12"] } as const;

function colours(): ISearchDecorationOptions {
  const [match, present] = COLOURS[document.documentElement.dataset["theme"] === "dark" ? "dark" : "light"];
  return {
    matchBackground: match,
    matchOverviewRuler: match,
    activeMatchBackground: present,
    activeMatchColorOverviewRuler: present,
  };
}

export class Search {
  readonly #addon = new SearchAddon();

  constructor(
    private readonly terminal: Terminal,
    private readonly elements: SearchElements,
  ) {
    terminal.loadAddon(this.#addon);
    const { bar, field, previous, next, close } = elements;
    this.#addon.onDidChangeResults(({ resultIndex, resultCount }) => this.#showCount(resultIndex, resultCount));
    field.addEventListener("input", () => this.#find(true, true));
    bar.addEventListener("submit", (event) => event.preventDefault());
    bar.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
      else if (event.key === "Enter" && event.target === field) this.#find(!event.shiftKey, false);
    });
    previous.addEventListener("click", () => this.#find(false, false));
    next.addEventListener("click", () => this.#find(true, false));
    close.addEventListener("click", () => this.close());
  }

  /** Shows the bar with the selected text in it. */
  open(): void {
    const { bar, field } = this.elements;
    const selected = this.terminal.getSelection();
    if (selected !== "" && !selected.includes("\n")) field.value = selected;
    bar.hidden = false;
    field.focus();
    field.select();
    this.#find(true, true);
  }

  close(): void {
    this.#addon.clearDecorations();
    this.elements.bar.hidden = true;
    this.terminal.focus();
  }

  #find(isForward: boolean, isIncremental: boolean): void {
    const { value } = this.elements.field;
    if (value === "") {
      this.#addon.clearDecorations();
      this.elements.count.textContent = "";
    } else if (isForward) {
      this.#addon.findNext(value, { decorations: colours(), incremental: isIncremental });
    } else {
      this.#addon.findPrevious(value, { decorations: colours() });
    }
  }

  #showCount(index: number, count: number): void {
    const isNothing = count === 0 && this.elements.field.value !== "";
    this.elements.count.textContent = isNothing ? "not found" : count > 0 ? `${index + 1} of ${count}` : "";
  }
}
