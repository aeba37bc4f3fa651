/** The row of keys under the terminal on touch screens. */

import { byId } from "./dom.ts";
import { type Arrow, arrowKey, type Modifier, withModifiers } from "./keys.ts";

/** Time until a held key repeats, and between repeats, in milliseconds. */
const REPEAT_AFTER_MS = 400;
const REPEAT_EVERY_MS = 60;

export interface TouchBarHandlers {
  send(text: string): void;
  paste(): void;
  isApplicationCursor(): boolean;
  /** Gives the keyboard back to the terminal. */
  focus(): void;
}

export class TouchBar {
  readonly #held = new Set<Modifier>();
  readonly #buttons: readonly HTMLButtonElement[];
  #repeat: number | undefined;

  constructor(private readonly handlers: TouchBarHandlers) {
    const bar = byId("touchbar");
    this.#buttons = [...bar.querySelectorAll("button")];
    // Pressing a key must not take the focus away: that would close the keyboard on the screen.
    bar.addEventListener("pointerdown", (event) => event.preventDefault());
    for (const button of this.#buttons) this.#wire(button);
  }

  /** Applies and releases the held modifiers; longer text (pasted, an answer of the terminal) passes unchanged. */
  apply(text: string): string {
    if (this.#held.size === 0 || [...text].length !== 1) return text;
    const result = withModifiers(text, this.#held);
    this.#release();
    return result;
  }

  #wire(button: HTMLButtonElement): void {
    const { arrow, modifier, send } = button.dataset;
    const stop = (): void => clearTimeout(this.#repeat);
    if (arrow !== undefined) {
      button.addEventListener("pointerdown", () => this.#pressArrow(arrow as Arrow, REPEAT_AFTER_MS));
      for (const name of ["pointerup", "pointercancel", "pointerleave"]) button.addEventListener(name, stop);
      // A click without a pointer comes from a keyboard or a screen reader.
      button.addEventListener("click", (event) => {
        if (event.detail === 0) this.#sendArrow(arrow as Arrow);
      });
    } else if (modifier !== undefined) {
      button.addEventListener("click", () => this.#toggle(modifier as Modifier));
    } else if (send !== undefined) {
      button.addEventListener("click", () => this.handlers.send(this.apply(send)));
    } else {
      button.addEventListener("click", () => this.handlers.paste());
    }
  }

  #pressArrow(arrow: Arrow, delay: number): void {
    clearTimeout(this.#repeat);
    this.handlers.send(arrowKey(arrow, this.#held, this.handlers.isApplicationCursor()));
    this.#repeat = window.setTimeout(() => this.#pressArrow(arrow, REPEAT_EVERY_MS), delay);
  }

  #sendArrow(arrow: Arrow): void {
    this.handlers.send(arrowKey(arrow, this.#held, this.handlers.isApplicationCursor()));
    this.#release();
  }

  #toggle(modifier: Modifier): void {
    if (!this.#held.delete(modifier)) this.#held.add(modifier);
    this.#show();
    this.handlers.focus();
  }

  #release(): void {
    this.#held.clear();
    this.#show();
  }

  #show(): void {
    for (const button of this.#buttons) {
      const { modifier } = button.dataset;
      if (modifier !== undefined) button.setAttribute("aria-pressed", String(this.#held.has(modifier as Modifier)));
    }
  }
}
