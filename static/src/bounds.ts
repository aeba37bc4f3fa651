/**
 * Bounds the work that one escape sequence can ask for.
 *
 * xterm.js 6.0 does as often as told what at the edge of the screen has no effect any more: `ESC [ 2147483647 S`
 * scrolls two thousand million times, and the tab hangs; REP (`ESC [ n b`) asks for an array of that length first.
 * Repeated more often than the screen has rows, or columns, each of these leaves what it leaves then.
 */

import type { IDisposable, Terminal } from "@xterm/xterm";

/** What xterm.js does for a sequence, by its own name for it. */
type Deed =
  | "cursorForwardTab"
  | "cursorBackwardTab"
  | "insertLines"
  | "deleteLines"
  | "scrollUp"
  | "scrollDown"
  | "repeatPrecedingCharacter";

interface Rule {
  readonly deed: Deed;
  readonly limit: "rows" | "cols";
}

/** By the final character of the sequence. REP is kept to a line, as in tmux. */
const RULES: Readonly<Record<string, Rule>> = {
  I: { deed: "cursorForwardTab", limit: "cols" },
  Z: { deed: "cursorBackwardTab", limit: "cols" },
  L: { deed: "insertLines", limit: "rows" },
  M: { deed: "deleteLines", limit: "rows" },
  S: { deed: "scrollUp", limit: "rows" },
  T: { deed: "scrollDown", limit: "rows" },
  b: { deed: "repeatPrecedingCharacter", limit: "cols" },
};

/** The part of xterm.js that its addons reach, too; a handler gets a copy of the numbers and cannot change them. */
interface Inside {
  readonly _core?: {
    readonly _inputHandler?: Partial<Record<Deed, (numbers: { params: Int32Array; length: number }) => boolean>>;
  };
}

/** Has a terminal do nothing more often than its screen is large. */
export function boundRepetitions(terminal: Terminal): IDisposable[] {
  return Object.entries(RULES).map(([final, { deed, limit }]) =>
    terminal.parser.registerCsiHandler({ final }, ([count]) => {
      if (typeof count !== "number" || count <= terminal[limit]) return false;
      const numbers = { params: Int32Array.of(terminal[limit]), length: 1 };
      // Where another version has no such part, the sequence is left out.
      (terminal as unknown as Inside)._core?._inputHandler?.[deed]?.(numbers);
      return true;
    }),
  );
}
