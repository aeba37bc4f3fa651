/** The line that is typed, and what keys make of it. Pure. */

import type { Key } from "./predictkeys.ts";

export interface Cell {
  /** The character; a blank where there is none, empty for the right half of a wide one. */
  readonly char: string;
  /** A suggestion that a shell shows behind the cursor: typing overwrites it. */
  readonly isFaint: boolean;
}

/** What is known of the terminal at a moment; rows and columns count from 0. */
export interface Screen {
  readonly cols: number;
  readonly cursorRow: number;
  readonly cursorCol: number;
  /** The program wants to know what is pasted: line editors do, programs that they start do not. */
  readonly isBracketed: boolean;
  /** Returns the cells of a row. */
  cells(row: number): readonly Cell[];
}

/** A row of the screen with the cursor in it, as it is or as it will be. */
export interface Line {
  readonly row: number;
  /** First column that was typed: nothing to the left of it is changed. */
  readonly home: number;
  readonly col: number;
  /** Column behind the last character of what is edited. */
  readonly end: number;
  readonly cells: readonly Cell[];
  /** Columns with typed characters that are not on the screen yet. */
  readonly typed: ReadonlySet<number>;
}

const BLANK: Cell = { char: " ", isFaint: false };

/** What multiplexers and editors draw between windows that stand side by side. */
const BORDER = /[│┃║▏▕]/;

const isBlank = (cell: Cell | undefined): boolean => cell === undefined || cell.char === " " || cell.isFaint;

/** Returns the text of some cells, without suggestions. */
export function textOf(cells: readonly Cell[], from: number, to: number): string {
  return cells.slice(from, to).map(({ char, isFaint }) => (isFaint ? " " : char)).join("");
}

/** Returns the column behind the text that begins at `col`: two blanks end it. */
function endOf(cells: readonly Cell[], col: number): number {
  let end = col;
  while (end < cells.length && !(isBlank(cells[end]) && isBlank(cells[end + 1]))) end += 1;
  return end;
}

/** Returns the line that the cursor is in; typing begins at `home`, and goes to `end` at least. */
export function lineAt(screen: Screen, home = screen.cursorCol, end = 0): Line {
  const { cursorRow: row, cursorCol: col } = screen;
  const cells = screen.cells(row);
  return { row, home, col, end: Math.max(end, endOf(cells, col)), cells, typed: new Set() };
}

/** Tells whether the cursor stands at the end of a prompt or of a line: nothing follows at once. */
export function isOpen({ cells, col }: Line): boolean {
  return isBlank(cells[col]) && isBlank(cells[col + 1]);
}

/** Returns the line after a key, or `undefined` when nobody can know. */
export function after(line: Line, key: Key): Line | undefined {
  if (key.kind === "char") return inserted(line, key.char);
  if (key.kind === "backspace") return line.col > line.home ? removed(line) : undefined;
  if (key.kind === "left") return line.col > line.home ? { ...line, col: line.col - 1 } : undefined;
  if (key.kind === "right") return line.col < line.end ? { ...line, col: line.col + 1 } : undefined;
  return undefined;
}

/** Text behind the cursor moves to the right; not into the last column, and over no border of a window. */
function inserted(line: Line, char: string): Line | undefined {
  const { cells, col } = line;
  const end = Math.max(line.end, col);
  const tail = cells.slice(col, end);
  if (end >= cells.length - 1 || !isBlank(cells[end]) || !isBlank(cells[end + 1]) || !canMove(tail)) return undefined;
  const typed = new Set([...line.typed].map((at) => (at >= col ? at + 1 : at)));
  typed.add(col);
  const moved = [...cells.slice(0, col), { char, isFaint: false }, ...tail, ...cells.slice(end + 1)];
  return { ...line, cells: moved, typed, col: col + 1, end: end + 1 };
}

function removed(line: Line): Line | undefined {
  const { cells, col } = line;
  const end = Math.max(line.end, col);
  const tail = cells.slice(col, end);
  if (!canMove(cells.slice(col - 1, end))) return undefined;
  const typed = new Set([...line.typed].filter((at) => at !== col - 1).map((at) => (at >= col ? at - 1 : at)));
  const moved = [...cells.slice(0, col - 1), ...tail, BLANK, ...cells.slice(end)];
  return { ...line, cells: moved, typed, col: col - 1, end: end - 1 };
}

/** Wide characters, combined ones and borders of windows stay where they are. */
function canMove(cells: readonly Cell[]): boolean {
  return cells.every(({ char }) => char.length === 1 && !BORDER.test(char));
}

/** Returns what stands to the left of the typing, without what belongs to another window. */
export function promptOf(line: Line): string {
  const text = textOf(line.cells, 0, line.home);
  for (let at = text.length - 1; at >= 0; at -= 1) if (BORDER.test(text[at] ?? "")) return text.slice(at + 1);
  return text;
}
