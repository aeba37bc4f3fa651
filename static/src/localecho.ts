/** Predictions for one terminal: predictor, clock and drawing together. Loaded when they are wanted. */

import type { Terminal } from "@xterm/xterm";
import { Overlay } from "./overlay.ts";
import { Predictor } from "./predict.ts";
import { screenOf } from "./predictscreen.ts";

export class LocalEcho {
  readonly #predictor = new Predictor();
  readonly #overlay: Overlay;
  readonly #screen;
  #timer: number | undefined;
  #isShown = false;

  constructor(terminal: Terminal) {
    this.#overlay = new Overlay(terminal);
    this.#screen = screenOf(terminal);
  }

  /** Shows what is guessed, or only goes on guessing. */
  setShown(isShown: boolean): void {
    this.#isShown = isShown;
    this.#show();
  }

  /** Takes a round trip in milliseconds. */
  measured(ms: number): void {
    this.#predictor.measured(ms);
  }

  /** Takes text that goes to the pty, and its end as a position in the input. */
  typed(text: string, isBinary: boolean, end: number): void {
    this.#predictor.typed(text, isBinary, end, performance.now(), this.#screen);
    this.#show();
  }

  /** The pty has the input up to `end`; to be called behind the output that came before that was said. */
  delivered(end: number): void {
    this.#predictor.delivered(end, performance.now(), this.#screen);
    this.#show();
  }

  /** The terminal has worked through some output. */
  parsed(): void {
    this.#predictor.parsed(performance.now(), this.#screen);
    this.#show();
  }

  /** Nothing of what was guessed holds any more. */
  drop(): void {
    this.#predictor.drop();
    this.#show();
  }

  #show(): void {
    this.#overlay.show(this.#isShown ? this.#predictor.shown(this.#screen) : undefined);
    clearTimeout(this.#timer);
    const { deadline } = this.#predictor;
    if (deadline !== undefined) this.#timer = window.setTimeout(() => this.#tick(), Math.max(1, deadline - performance.now() + 1));
  }

  #tick(): void {
    this.#predictor.tick(performance.now(), this.#screen);
    this.#show();
  }
}
