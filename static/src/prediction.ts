/**
 * Switches predictions on and off, by choice, round trip, role and connection; loads them.
 *
 * Guesses are made from the first key on, wherever they may be wanted, and shown where they are: so that it is known by
 * then what is echoed, and no key is under way that nobody has told of. mosh does so, too.
 */

import type { Terminal } from "@xterm/xterm";
import type { LocalEcho } from "./localecho.ts";
import { type PredictionChoice, PredictionSwitch } from "./roundtrip.ts";

export class Prediction {
  readonly #switch: PredictionSwitch;
  #echo: LocalEcho | undefined;
  #isLoading = false;
  #mayType = false;
  #isGuessing = false;
  #isOn = false;
  #lastMs: number | undefined;
  #serverMs: number | undefined;

  constructor(
    private readonly terminal: Terminal,
    private readonly box: HTMLElement,
    choice: PredictionChoice,
  ) {
    this.#switch = new PredictionSwitch(choice);
    terminal.onResize(() => this.drop());
    this.#decide();
  }

  choose(choice: PredictionChoice): void {
    this.#switch.choice = choice;
    this.#decide();
  }

  /** Tells whether what is typed goes to the pty at once: the role allows it, and the connection is there. */
  setMayType(mayType: boolean): void {
    this.#mayType = mayType;
    this.#decide();
  }

  /** Takes a round trip in milliseconds, from wherever it is known. */
  measured(ms: number): void {
    this.#switch.measured(ms);
    this.#lastMs = ms;
    this.#echo?.measured(ms);
    this.#decide();
  }

  /** Takes what the server has measured, which it tells again until it measures anew. */
  serverMeasured(ms: number | undefined): void {
    if (ms === undefined || ms === this.#serverMs) return;
    this.#serverMs = ms;
    this.measured(ms);
  }

  /** Takes text that has gone to the pty, and its end as a position in the input. */
  typed(text: string, isBinary: boolean, end: number): void {
    if (this.#isGuessing) this.#echo?.typed(text, isBinary, end);
  }

  /** The pty has the input up to `end`. */
  delivered(end: number): void {
    // Behind the output that is here already: what comes after the message may be the answer, and not before.
    if (this.#isGuessing && this.#echo) this.terminal.write("", () => this.#echo?.delivered(end));
  }

  /** The terminal has worked through some output. */
  parsed(): void {
    if (this.#isGuessing) this.#echo?.parsed();
  }

  /** The screen becomes another one. */
  drop(): void {
    this.#echo?.drop();
  }

  /** Gets the program for it, unless nobody wants it; where it cannot be had now, the next call tries again. */
  load(): void {
    if (!this.#echo && !this.#isLoading && this.#switch.choice !== "off" && this.#mayType) void this.#load();
  }

  #decide(): void {
    const isGuessing = this.#switch.choice !== "off" && this.#mayType;
    if (isGuessing !== this.#isGuessing) this.drop();
    this.#isGuessing = isGuessing;
    if (isGuessing && this.#switch.isOn) this.load();
    // Which output answers a key can be told when the round trip is known.
    const isOn = isGuessing && this.#switch.isOn && this.#echo !== undefined && this.#lastMs !== undefined;
    if (isOn !== this.#isOn) this.#echo?.setShown(isOn);
    this.#isOn = isOn;
    this.box.dataset["prediction"] = isOn ? "on" : "off";
  }

  async #load(): Promise<void> {
    this.#isLoading = true;
    try {
      const { LocalEcho } = await import("./localecho.ts");
      this.#echo = new LocalEcho(this.terminal);
      if (this.#lastMs !== undefined) this.#echo.measured(this.#lastMs);
      this.#decide();
    } catch {
      // The connection is poor, or the bridge is another one by now: the next measurement tries again.
    }
    this.#isLoading = false;
  }
}
