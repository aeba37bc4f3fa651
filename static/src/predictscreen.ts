/** What the predictor sees of an xterm.js terminal. */

import type { IBufferCell, Terminal } from "@xterm/xterm";
import type { Cell, Screen } from "./predictline.ts";

/** Colour of the palette in which shells draw suggestions, unless told otherwise. */
const BRIGHT_BLACK = 8;

const NOTHING: Cell = { char: " ", isFaint: false };

/** Returns a view of a terminal that always shows its present state. */
export function screenOf(terminal: Pick<Terminal, "buffer" | "cols" | "modes">): Screen {
  let cell: IBufferCell | undefined;
  const cellAt = (row: number, col: number): Cell => {
    const { active } = terminal.buffer;
    cell = active.getLine(active.baseY + row)?.getCell(col, cell);
    if (!cell) return NOTHING;
    const isFaint = cell.isDim() !== 0 || (cell.isFgPalette() && cell.getFgColor() === BRIGHT_BLACK);
    return { char: cell.getWidth() === 0 ? "" : cell.getChars() || " ", isFaint };
  };
  return {
    get cols() {
      return terminal.cols;
    },
    get cursorRow() {
      return terminal.buffer.active.cursorY;
    },
    get cursorCol() {
      return terminal.buffer.active.cursorX;
    },
    get isBracketed() {
      return terminal.modes.bracketedPasteMode;
    },
    cells: (row) => Array.from({ length: terminal.cols }, (_, col) => cellAt(row, col)),
  };
}
