/** What a key does to the line that is typed, as far as that can be known without the program. Pure. */

export type Key =
  /** One character, one cell wide. */
  | { readonly kind: "char"; readonly char: string }
  | { readonly kind: "backspace" | "left" | "right" }
  /** Ends the line: a prompt may follow. */
  | { readonly kind: "enter" }
  /** Changes the line in a way that only the program knows, and leaves it a line that is edited. */
  | { readonly kind: "edit" }
  /** Anything: escape, control keys, pasted text, wide and combining characters. */
  | { readonly kind: "other" };

/** Longest text, in code units, that counts as typed and not as pasted: what a phone's keyboard gives at once. */
export const MAX_TYPED = 12;

/**
 * Characters that every terminal and every program draws one cell wide: ASCII, Latin, Greek, Cyrillic.
 * Combining characters (U+0483 …) and the soft hyphen are left out.
 */
const NARROW = /^[ -~¡-¬®-ɏͰ-ͳͶͷͻ-ͽΆΈ-ΊΌΎ-ΡΣ-ϿЀ-҂Ҋ-ԯ]$/;

const ARROWS: Readonly<Record<string, Key>> = {
  "\x1b[D": { kind: "left" },
  "\x1bOD": { kind: "left" },
  "\x1b[C": { kind: "right" },
  "\x1bOC": { kind: "right" },
};

/**
 * Tab, Ctrl+E, K, U, W; up, down, home, end, delete. Ctrl+A, which readline knows as well, is the prefix of many
 * a multiplexer: what follows it would be a command.
 */
const EDITS = /^(?:[\t\x05\x0b\x15\x17]|\x1b[[O][ABFH]|\x1b\[[1347~]~)$/;

/** Answers of the terminal, and what it says of its focus: no keys. */
const REPORT = /^\x1b(?:\[[IO]$|\[[?>]?[\d;]*[cnRy]$|\[\?[\d;]*\$y$|[P\]_])/;

/** Returns the keys that make up a text; none for what the terminal itself answers. */
export function keysOf(text: string, isBinary = false): readonly Key[] {
  if (REPORT.test(text)) return [];
  if (isBinary || text.length > MAX_TYPED) return [{ kind: "other" }];
  const arrow = ARROWS[text];
  if (arrow) return [arrow];
  if (EDITS.test(text)) return [{ kind: "edit" }];
  if (text.startsWith("\x1b")) return [{ kind: "other" }];
  return [...text].map(keyOf);
}

function keyOf(char: string): Key {
  if (NARROW.test(char)) return { kind: "char", char };
  if (char === "\x7f" || char === "\b") return { kind: "backspace" };
  // Ctrl+C ends a line as well: the next prompt follows.
  if (char === "\r" || char === "\x03") return { kind: "enter" };
  return { kind: EDITS.test(char) ? "edit" : "other" };
}
