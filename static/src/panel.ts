/** The panel over the last screen: what happened, and the button to go on. */

import { byId } from "./dom.ts";
import type { Ending } from "./endings.ts";

/** Enter does nothing for this long, in milliseconds: it may be the end of a line that was being typed. */
const DEAF_MS = 700;

export class Panel {
  readonly #panel = byId("panel");
  readonly #button = byId<HTMLButtonElement>("panel-action");
  #shownAt = 0;
  #action: (() => void) | undefined;

  constructor() {
    this.#button.addEventListener("click", () => this.#press());
  }

  get isOpen(): boolean {
    return !this.#panel.hidden;
  }

  show(ending: Ending, action: () => void): void {
    byId("panel-title").textContent = ending.title;
    byId("panel-text").textContent = ending.text;
    this.#button.textContent = ending.action ?? "";
    this.#button.hidden = ending.action === undefined;
    this.#action = ending.action === undefined ? undefined : action;
    this.#panel.hidden = false;
    this.#shownAt = performance.now();
  }

  hide(): void {
    this.#panel.hidden = true;
    this.#action = undefined;
  }

  /** Enter was typed into the terminal; presses the button, if there is one. */
  enter(): void {
    if (performance.now() - this.#shownAt > DEAF_MS) this.#press();
  }

  #press(): void {
    const action = this.#action;
    if (!action) return;
    this.hide();
    action();
  }
}
