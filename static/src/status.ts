/** The state of the page: one value, `data-state` on the root, and its words in the header. */

import type { LinkState } from "./connection.ts";
import { byId } from "./dom.ts";

export type State =
  | "connecting"
  | "waiting"
  | "connected"
  | "reconnecting"
  | "offline"
  | "ended"
  | "refused"
  | "signed-out";

export interface Status {
  readonly state: State;
  /** What the header says. */
  readonly words: string;
  /** When the next try begins, in milliseconds since the epoch; "now" while one is under way. */
  readonly retryAt?: number | "now";
}

/**
 * Returns the status that a state of the connection means; `undefined` when it changes nothing.
 *
 * The words stay the same from try to try (`before` is what is shown now), so that a screen reader says them once.
 */
export function statusOf(link: LinkState, isOnline: boolean, before: Status): Status | undefined {
  switch (link.kind) {
    case "opening":
      if (before.retryAt !== undefined) return { ...before, retryAt: "now" };
      return link.isFirst
        ? { state: "connecting", words: "Connecting…" }
        : { state: "reconnecting", words: "Reconnecting…" };
    case "joined":
      return { state: "connected", words: "Connected" };
    case "at-the-door":
      return { state: "waiting", words: "Waiting to be let in" };
    case "waiting": {
      const lost = link.isFirst ? "Cannot reach the bridge" : "Connection lost";
      if (!isOnline) return { state: "offline", words: "Offline", retryAt: link.until };
      return { state: "reconnecting", words: link.hint || lost, retryAt: link.until };
    }
    case "refused":
    case "forbidden":
      return { state: "refused", words: "Refused" };
    case "signed-out":
      return { state: "signed-out", words: "Signed out" };
    case "closed":
      return undefined;
  }
}

/** Shows the status; the words are a live region, the countdown beside them is not. */
export class StatusView {
  readonly #words = byId("status-words");
  readonly #countdown = byId("status-countdown");
  readonly #button = byId("reconnect");
  #status: Status = { state: "connecting", words: "" };
  #timer: number | undefined;

  get status(): Status {
    return this.#status;
  }

  show(status: Status): void {
    this.#status = status;
    document.documentElement.dataset["state"] = status.state;
    if (this.#words.textContent !== status.words) this.#words.textContent = status.words;
    this.#button.hidden = status.retryAt === undefined;
    clearInterval(this.#timer);
    this.#tick();
    if (typeof status.retryAt === "number") this.#timer = window.setInterval(() => this.#tick(), 500);
  }

  #tick(): void {
    const { retryAt } = this.#status;
    const seconds = typeof retryAt === "number" ? Math.ceil((retryAt - Date.now()) / 1000) : 0;
    const isTrying = retryAt !== undefined && seconds <= 0;
    this.#countdown.textContent = isTrying ? "trying now" : seconds > 0 ? `next try in ${seconds} s` : "";
  }
}
