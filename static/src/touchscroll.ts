/**
 * Scrolling with a finger: a vertical drag over the terminal moves it line by line.
 *
 * Lines kept above the screen are scrolled here. Where the program has the screen or the mouse, each line becomes a
 * turn of the wheel: xterm.js knows which keys or mouse reports that means.
 */

import type { Terminal } from "@xterm/xterm";

/** Movement in CSS pixels before a touch counts as a drag and no longer as a tap. */
const DRAG_AFTER_PX = 8;

/** Zoom of the browser from which on a finger moves the page and not the terminal. */
const ZOOMED_FROM = 1.05;

/** Begins to listen on `box`, the element around the terminal. A tap gives the terminal the focus. */
export function scrollByTouch(box: HTMLElement, terminal: Terminal): void {
  let lastY = 0;
  let isDrag = false;

  const start = (event: TouchEvent): void => {
    lastY = event.touches[0]?.clientY ?? 0;
    isDrag = false;
  };
  const move = (event: TouchEvent): void => {
    const touch = event.touches[0];
    if (!touch || event.touches.length > 1 || (visualViewport?.scale ?? 1) > ZOOMED_FROM) return;
    const moved = lastY - touch.clientY;
    if (!isDrag && Math.abs(moved) < DRAG_AFTER_PX) return;
    isDrag = true;
    event.preventDefault();
    const screen = terminal.element?.querySelector(".xterm-screen")?.getBoundingClientRect();
    const lineHeight = (screen?.height ?? 0) / terminal.rows || 16;
    const lines = Math.trunc(moved / lineHeight);
    if (lines === 0) return;
    lastY = touch.clientY + (moved - lines * lineHeight);
    scroll(terminal, touch, lines);
  };
  const end = (): void => {
    if (!isDrag) terminal.focus();
  };
  box.addEventListener("touchstart", start, { passive: true });
  box.addEventListener("touchmove", move, { passive: false });
  box.addEventListener("touchend", end);
}

/** Scrolls by lines, down when positive; `at`: where the finger is. */
function scroll(terminal: Terminal, at: Touch, lines: number): void {
  if (terminal.buffer.active.type === "normal" && terminal.modes.mouseTrackingMode === "none") {
    terminal.scrollLines(lines);
    return;
  }
  const { clientX, clientY } = at;
  const target = terminal.element?.querySelector(".xterm-screen");
  for (let line = 0; line < Math.abs(lines); line += 1) {
    const deltaY = Math.sign(lines);
    const deltaMode = WheelEvent.DOM_DELTA_LINE;
    target?.dispatchEvent(new WheelEvent("wheel", { deltaY, deltaMode, clientX, clientY, bubbles: true, cancelable: true }));
  }
}
