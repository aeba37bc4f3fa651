/**
 * Keeps the last screen of a tmux client, which wipes the terminal before it says goodbye.
 *
 * tmux clears the screen and leaves the alternate one when it detaches or ends; what the user last saw would be gone.
 * So the screen is copied whenever all of it is about to be cleared, and put back once the session has ended.
 */

import type { IBuffer, IBufferCell, IDisposable, Terminal } from "@xterm/xterm";

/** Least time between two copies, in milliseconds: one takes about a millisecond, and a program may clear in a loop. */
const COPY_EVERY_MS = 40;

const ESC = "\x1b";

type Colour = "Fg" | "Bg";

/** Returns the parameters that select a colour, for `ESC [ … m`; none for the default. */
function colourCodes(cell: IBufferCell, which: Colour): number[] {
  const isForeground = which === "Fg";
  const value = isForeground ? cell.getFgColor() : cell.getBgColor();
  const kind = isForeground ? 38 : 48;
  if (isForeground ? cell.isFgRGB() : cell.isBgRGB()) return [kind, 2, value >> 16, (value >> 8) & 255, value & 255];
  return (isForeground ? cell.isFgPalette() : cell.isBgPalette()) ? [kind, 5, value] : [];
}

/** Returns the sequence that gives text the attributes of a cell. */
export function attributesOf(cell: IBufferCell): string {
  const flags: [number, number][] = [
    [cell.isBold(), 1],
    [cell.isDim(), 2],
    [cell.isItalic(), 3],
    [cell.isUnderline(), 4],
    [cell.isInverse(), 7],
    [cell.isInvisible(), 8],
    [cell.isStrikethrough(), 9],
    [cell.isOverline(), 53],
  ];
  const codes = flags.flatMap(([isSet, code]) => (isSet ? [code] : []));
  return `${ESC}[${[0, ...codes, ...colourCodes(cell, "Fg"), ...colourCodes(cell, "Bg")].join(";")}m`;
}

/** Returns the sequences that draw the visible rows of a buffer again. */
export function drawingOf(buffer: IBuffer, rows: number, cols: number): string {
  const parts: string[] = [];
  let cell: IBufferCell | undefined;
  for (let y = 0; y < rows; y += 1) {
    const line = buffer.getLine(buffer.baseY + y);
    parts.push(`${ESC}[${y + 1};1H`);
    let before = "";
    for (let x = 0; x < cols; x += 1) {
      cell = line?.getCell(x, cell);
      if (!cell || cell.getWidth() === 0) continue;
      const attributes = attributesOf(cell);
      if (attributes !== before) parts.push(attributes);
      before = attributes;
      parts.push(cell.getChars() || " ");
    }
  }
  return parts.join("");
}

export class LastScreen implements IDisposable {
  readonly #hook: IDisposable;
  #drawing = "";
  #copiedAt = 0;

  constructor(private readonly terminal: Terminal) {
    this.#hook = terminal.parser.registerCsiHandler({ final: "J" }, ([what]) => {
      this.#beforeErase(Number(what ?? 0));
      return false; // The erasing itself is xterm.js's work.
    });
  }

  /** Puts the last screen back, behind all output, if the alternate screen was left. */
  restore(): void {
    const { terminal } = this;
    terminal.write("", () => {
      if (terminal.buffer.active.type !== "normal" || this.#drawing === "") return;
      // Without a cursor: nobody is there to type to.
      terminal.write(`${ESC}c${ESC}[?25l${this.#drawing}${ESC}[0m`);
      this.#drawing = "";
    });
  }

  dispose(): void {
    this.#hook.dispose();
  }

  #beforeErase(what: number): void {
    const buffer = this.terminal.buffer.active;
    const isWhole = what === 2 || (what === 0 && buffer.cursorX === 0 && buffer.cursorY === 0);
    const now = performance.now();
    if (!isWhole || buffer.type !== "alternate" || now - this.#copiedAt < COPY_EVERY_MS) return;
    this.#copiedAt = now;
    this.#drawing = drawingOf(buffer, this.terminal.rows, this.terminal.cols);
  }
}
