/** What is pasted into a program that tells pastes from keys cannot pass for keys. Pure. */

const START = "\x1b[200~";
const END = "\x1b[201~";

/**
 * Returns what the terminal is about to type, with the text of a bracketed paste made plain.
 *
 * xterm.js 6.0 puts a pasted text between the two marks as it is. One that has the second mark in it ends the paste
 * there, and a shell runs the rest at once. So ESC and the one-character CSI become pictures of ESC.
 */
export function plainPaste(typed: string): string {
  if (!typed.startsWith(START) || !typed.endsWith(END) || typed.length < START.length + END.length) return typed;
  const text = typed.slice(START.length, -END.length);
  return `${START}${text.replace(/[\x1b\x9b]/g, "\u241b")}${END}`;
}
