/** Font size of the terminal: steps, limits, keys. */

import { remember, remembered } from "./storage.ts";

export const SMALLEST_PX = 8;
export const LARGEST_PX = 40;
const NAME = "fontSize";

export type FontStep = "larger" | "smaller" | "default";

/** Returns the size to begin with where nothing is remembered: smaller on narrow screens, for more columns. */
export function defaultFontSize(pageWidth: number): number {
  return pageWidth < 600 ? 13 : 15;
}

/** Returns the size after a step from `size`, within the limits. */
export function steppedFontSize(size: number, step: FontStep, fallback: number): number {
  if (step === "default") return fallback;
  const next = size + (step === "larger" ? 1 : -1);
  return Math.min(Math.max(next, SMALLEST_PX), LARGEST_PX);
}

/** Reads a size from text; `undefined` when it is none or beyond the limits. */
export function parseFontSize(text: string | null): number | undefined {
  const size = Number(text);
  return Number.isInteger(size) && size >= SMALLEST_PX && size <= LARGEST_PX ? size : undefined;
}

export function rememberedFontSize(): number | undefined {
  return parseFontSize(remembered(NAME));
}

export function rememberFontSize(size: number, fallback: number): void {
  remember(NAME, size === fallback ? null : String(size));
}

/** Tells which step a key press asks for: Ctrl or Cmd with plus, minus or 0. */
export function fontStepOf(
  event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey">,
): FontStep | undefined {
  if (event.ctrlKey === event.metaKey || event.altKey) return undefined;
  // "_" is left alone: Ctrl+_ is "undo" in editors and shells.
  if (event.key === "+" || event.key === "=") return "larger";
  if (event.key === "-") return "smaller";
  return event.key === "0" ? "default" : undefined;
}
