/** The hint that a long paste is still on its way. */

import { byId } from "./dom.ts";

/** Less than this counts as delivered: the server confirms small messages with the next ones. */
const DONE_BELOW = 4096;

/** Shown for more input than this, in UTF-16 code units. */
const SHOW_ABOVE = 64 * 1024;

export class PasteProgress {
  readonly #box = byId("progress");
  readonly #words = byId("progress-words");
  readonly #bar = byId<HTMLProgressElement>("progress-bar");
  #total = 0;

  /** Takes the code units that are still to be delivered. */
  show(left: number): void {
    this.#total = left < DONE_BELOW ? 0 : Math.max(this.#total, left);
    const isLong = this.#total > SHOW_ABOVE;
    this.#box.hidden = !isLong;
    if (!isLong) return;
    this.#bar.value = 1 - left / this.#total;
    this.#words.textContent = `Pasting, ${Math.ceil(left / 1024)} KB left`;
  }
}
