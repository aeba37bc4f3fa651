/** The keys that touch keyboards lack: what each sends, and Ctrl and Alt that hold for one key. Pure. */

export type Modifier = "ctrl" | "alt";

/** Final bytes of the cursor keys, as in `ESC [ A`. */
const ARROWS = { up: "A", down: "B", right: "C", left: "D" } as const;
export type Arrow = keyof typeof ARROWS;

const ESC = "\x1b";

/** Returns what the letter, digit or sign `key` sends together with Ctrl. */
export function withCtrl(key: string): string {
  if (/^[a-z@[\\\]^_]$/i.test(key)) return String.fromCharCode(key.toUpperCase().charCodeAt(0) & 0x1f);
  if (key === " " || key === "2") return "\0";
  if (key === "?" || key === "8") return "\x7f";
  if (key === "/" || key === "-" || key === "7") return "\x1f";
  return key;
}

/** Returns what an arrow sends; `isApplication`: the program has asked for the other form. */
export function arrowKey(arrow: Arrow, held: ReadonlySet<Modifier>, isApplication: boolean): string {
  const final = ARROWS[arrow];
  const modifier = 1 + (held.has("alt") ? 2 : 0) + (held.has("ctrl") ? 4 : 0);
  if (modifier > 1) return `${ESC}[1;${modifier}${final}`;
  return `${ESC}${isApplication ? "O" : "["}${final}`;
}

/** Applies the held modifiers to typed text; text of more than one character stays as it is. */
export function withModifiers(text: string, held: ReadonlySet<Modifier>): string {
  if (held.size === 0 || [...text].length !== 1) return text;
  const key = held.has("ctrl") ? withCtrl(text) : text;
  return held.has("alt") ? ESC + key : key;
}
