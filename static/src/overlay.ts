/**
 * Draws guessed characters and the guessed cursor over the terminal.
 *
 * A layer of its own above xterm.js's drawing, whichever renderer makes that: its buffer stays what the server has
 * sent, and so do selection, copying and what a screen reader is told. Places are shares of the drawing, which holds
 * at any font and any scale.
 */

import type { Terminal } from "@xterm/xterm";
import { make } from "./dom.ts";
import type { Shown } from "./predict.ts";

export class Overlay {
  readonly #layer = make("div", "prediction");
  #isEmpty = true;

  constructor(private readonly terminal: Terminal) {
    this.#layer.setAttribute("aria-hidden", "true");
    terminal.element?.querySelector(".xterm-screen")?.append(this.#layer);
  }

  /** Draws this and nothing else; `undefined`: nothing. */
  show(shown: Shown | undefined): void {
    const { active } = this.terminal.buffer;
    const isScrolledBack = active.viewportY !== active.baseY;
    if (!shown || isScrolledBack) {
      if (!this.#isEmpty) this.#layer.replaceChildren();
      this.#isEmpty = true;
      return;
    }
    this.#isEmpty = false;
    this.#dress();
    this.#layer.replaceChildren(...this.#cells(shown));
  }

  dispose(): void {
    this.#layer.remove();
  }

  #cells({ row, col, cells }: Shown): HTMLElement[] {
    const { active } = this.terminal.buffer;
    const real = (at: number): string => active.getLine(active.baseY + row)?.getCell(at)?.getChars() || " ";
    const drawn = new Map(cells.map((cell) => [cell.col, this.#cell(row, cell.col, cell.char, cell.isMarked)]));
    const isMoved = active.cursorY === row && active.cursorX !== col;
    // The terminal's own cursor is behind: what it stands on is drawn without it.
    if (isMoved && !drawn.has(active.cursorX)) {
      drawn.set(active.cursorX, this.#cell(row, active.cursorX, real(active.cursorX), false));
    }
    const cursor = drawn.get(col) ?? this.#cell(row, col, real(col), false);
    cursor.classList.add("cursor");
    return [...new Set([...drawn.values(), cursor])];
  }

  #cell(row: number, col: number, char: string, isMarked: boolean): HTMLElement {
    const { cols, rows } = this.terminal;
    const cell = make("span", isMarked ? "marked" : "", char);
    const share = (part: number, of: number): string => `${(100 * part) / of}%`;
    cell.style.left = share(col, cols);
    cell.style.top = share(row, rows);
    cell.style.width = share(1, cols);
    cell.style.height = share(1, rows);
    return cell;
  }

  /** Takes over font and colours. */
  #dress(): void {
    const { theme, fontFamily, fontSize } = this.terminal.options;
    const { style } = this.#layer;
    style.fontFamily = fontFamily ?? "monospace";
    style.fontSize = `${fontSize}px`;
    style.lineHeight = `${this.#layer.clientHeight / this.terminal.rows}px`;
    const colours = { text: theme?.foreground, back: theme?.background, cursor: theme?.cursor, accent: theme?.cursorAccent };
    for (const [name, colour] of Object.entries(colours)) style.setProperty(`--guess-${name}`, colour ?? "");
  }
}
