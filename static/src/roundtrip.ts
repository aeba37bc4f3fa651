/** How long the way to the server and back takes, and whether that is long enough for predictions. Pure. */

/** What the user wants: predictions on slow lines, always, or never. */
export const PREDICTIONS = ["auto", "on", "off"] as const;
export type PredictionChoice = (typeof PREDICTIONS)[number];

/**
 * Round trips, in milliseconds, above which predictions begin and below which they end; as in mosh, whose man
 * page says why: on a fast line a wrong prediction is seen longer than a late character.
 */
export const ON_ABOVE_MS = 30;
export const OFF_BELOW_MS = 20;

/** Mean and deviation of round trips, weighted as TCP does (RFC 6298). */
export class RoundTrip {
  #mean: number | undefined;
  #deviation = 0;

  /** In milliseconds; `undefined` before the first sample. */
  get mean(): number | undefined {
    return this.#mean;
  }

  /** Time before which an answer hardly ever comes, in milliseconds. */
  get least(): number {
    const mean = this.#mean ?? 0;
    return Math.max(mean / 2, mean - 4 * this.#deviation);
  }

  /** Time in which an answer comes nearly always, in milliseconds. */
  get most(): number {
    return (this.#mean ?? 0) + 4 * this.#deviation;
  }

  /** Takes a sample in milliseconds. */
  add(ms: number): void {
    if (!Number.isFinite(ms) || ms < 0) return;
    if (this.#mean === undefined) {
      this.#mean = ms;
      this.#deviation = ms / 2;
      return;
    }
    this.#deviation += (Math.abs(ms - this.#mean) - this.#deviation) / 4;
    this.#mean += (ms - this.#mean) / 8;
  }
}

/** Samples of which the least counts: a busy moment of browser or bridge makes no slow line. */
const SAMPLES = 3;
/** Round trip in milliseconds that one sample is enough for. */
const SURE_MS = 100;

/** Decides whether to predict, by choice and round trip. */
export class PredictionSwitch {
  #isSlow = false;
  #samples: readonly number[] = [];

  constructor(public choice: PredictionChoice) {}

  get isOn(): boolean {
    return this.choice === "on" || (this.choice === "auto" && this.#isSlow);
  }

  /** Takes the present round trip in milliseconds. */
  measured(ms: number): void {
    this.#samples = [...this.#samples, ms].slice(-SAMPLES);
    const least = Math.min(...this.#samples);
    if (least > (this.#samples.length > 1 ? ON_ABOVE_MS : SURE_MS)) this.#isSlow = true;
    else if (least < OFF_BELOW_MS) this.#isSlow = false;
  }
}
