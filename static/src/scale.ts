/**
 * How large a window of a given size is drawn so that all of it is seen.
 *
 * The font is made as large as fits both ways; fonts too small to be drawn well keep a least size, and what they
 * draw is scaled down as a picture. Pure but for `correctPointer`.
 */

export interface Box {
  readonly width: number;
  readonly height: number;
}

export interface Fit {
  readonly px: number;
  /** What the drawing is scaled by: 1 unless the smallest font is too large. */
  readonly scale: number;
}

/** Smallest font that is drawn, in CSS pixels: below, browsers round characters to other widths. */
export const SMALLEST_FIT_PX = 6;
/** Largest font that is drawn, in CSS pixels. */
export const LARGEST_FIT_PX = 72;
/** Fonts are multiples of this. */
const STEP_PX = 0.25;
/** Most fonts that are tried: each try lays the terminal out. */
const MAX_TRIES = 10;

/**
 * Returns the largest font with which a window fits into `box`.
 *
 * `measure(px)` draws the window with a font and returns its size; it is not assumed to grow evenly, since
 * renderers round to device pixels. The last call of it is the one for the font that is returned.
 */
export function fitFont(box: Box, first: number, measure: (px: number) => Box): Fit {
  let fits = 0;
  let tooLarge = LARGEST_FIT_PX + STEP_PX;
  let measured = onGrid(first);
  let drawn = measure(measured);
  const draw = (px: number): void => {
    if (px !== measured) drawn = measure(px);
    measured = px;
  };
  for (let tries = 1; tries < MAX_TRIES; tries += 1) {
    const ratio = Math.min(box.width / drawn.width, box.height / drawn.height);
    if (ratio >= 1) fits = measured;
    else tooLarge = measured;
    const lowest = Math.max(fits + STEP_PX, SMALLEST_FIT_PX);
    if (lowest >= tooLarge) break;
    draw(Math.min(Math.max(onGrid(measured * ratio), lowest), tooLarge - STEP_PX));
  }
  const px = Math.max(fits, SMALLEST_FIT_PX);
  draw(px);
  const scale = Math.min(1, box.width / drawn.width, box.height / drawn.height);
  return { px, scale: scale > 0 ? scale : 1 };
}

function onGrid(px: number): number {
  const rounded = Math.floor(px / STEP_PX) * STEP_PX;
  return Number.isFinite(rounded) ? Math.min(Math.max(rounded, SMALLEST_FIT_PX), LARGEST_FIT_PX) : SMALLEST_FIT_PX;
}

/** Returns where a point of a scaled drawing is in the unscaled one; `start`: the drawing's edge. */
export function unscaled(at: number, start: number, scale: number): number {
  return start + (at - start) / scale;
}

const POINTER_EVENTS = ["mousedown", "mousemove", "mouseup", "click", "dblclick", "auxclick", "contextmenu", "wheel"];

/**
 * Lets xterm.js find the cell under the pointer while its drawing is scaled, which it does not know of.
 *
 * `scale()` is asked at each event; a drag counts until its end, wherever it goes.
 */
export function correctPointer(box: HTMLElement, scale: () => number): void {
  let isDrag = false;
  const correct = (event: Event): void => {
    const now = scale();
    if (!(event instanceof MouseEvent) || now === 1) return;
    const isInside = event.target instanceof Node && box.contains(event.target);
    if (event.type === "mousedown") isDrag = isInside;
    const screen = isInside || isDrag ? box.querySelector(".xterm-screen")?.getBoundingClientRect() : undefined;
    if (event.type === "mouseup") isDrag = false;
    if (!screen) return;
    const { clientX, clientY } = event;
    Object.defineProperty(event, "clientX", { value: unscaled(clientX, screen.left, now) });
    Object.defineProperty(event, "clientY", { value: unscaled(clientY, screen.top, now) });
  };
  for (const name of POINTER_EVENTS) addEventListener(name, correct, { capture: true, passive: true });
}
