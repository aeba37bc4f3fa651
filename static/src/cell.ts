/** How large a character is drawn, before anything has been drawn. */

import type { WindowSize } from "./protocol.ts";
import { remember, remembered } from "./storage.ts";

export const FONTS =
  '"SF Mono", "Cascadia Mono", "JetBrains Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';

const NAME = "renderer";

export interface Cell {
  readonly width: number;
  readonly height: number;
}

/** Tells whether WebGL draws here: it does almost everywhere, and where it did not, it is remembered. */
export function expectsWebgl(): boolean {
  return remembered(NAME) !== "dom";
}

/** Remembers what draws here, for the next time. */
export function rememberRenderer(isWebgl: boolean): void {
  remember(NAME, isWebgl ? null : "dom");
}

/**
 * Returns the size of a cell in CSS pixels, as xterm.js 6.0 rounds it (`_updateDimensions` of its renderers): whole
 * device pixels, but for the width without WebGL. `character`: measured size of a "W".
 */
export function roundedCell(character: Cell, ratio: number, isWebgl: boolean): Cell {
  const width = character.width * ratio;
  return { width: (isWebgl ? Math.floor(width) : width) / ratio, height: Math.ceil(character.height * ratio) / ratio };
}

/** Measures as xterm.js does; `undefined` where it has to draw for that. */
export function cellOf(fontPx: number, isWebgl: boolean): Cell | undefined {
  try {
    const context = new OffscreenCanvas(100, 100).getContext("2d");
    if (!context) return undefined;
    context.font = `${fontPx}px ${FONTS}`;
    const { width, fontBoundingBoxAscent, fontBoundingBoxDescent } = context.measureText("W");
    const height = fontBoundingBoxAscent + fontBoundingBoxDescent;
    return width > 0 && height > 0 ? roundedCell({ width, height }, devicePixelRatio, isWebgl) : undefined;
  } catch {
    return undefined;
  }
}

/** Returns how many cells fit into a box without padding. */
export function fitIn(box: HTMLElement, cell: Cell): WindowSize {
  const { width, height } = getComputedStyle(box);
  return { cols: Math.floor(parseInt(width) / cell.width), rows: Math.floor(parseInt(height) / cell.height) };
}
