/** Copying for programs, and pasting by a button. */

import type { Terminal } from "@xterm/xterm";
import { copyText } from "./osc52.ts";
import { askForPaste } from "./settings.ts";
import { toast } from "./toast.ts";

/** How long after a key or a press it may have been for a copy, in milliseconds; browsers count like this, too. */
const ACTED_MS = 5_000;

let actedAt = -Infinity;
for (const type of ["keydown", "pointerdown", "pointerup"]) {
  const note = (event: Event): void => {
    if (event.isTrusted) actedAt = event.timeStamp;
  };
  addEventListener(type, note, { capture: true, passive: true });
}

/**
 * Copies what a program wants copied if a key or button was just pressed here, as for copying in tmux, by somebody
 * whose keys get there (`mayType`); else offers it. Without that, any output could put a command on the clipboard of
 * everybody who watches.
 */
export async function copyOrOffer(text: string, terminal: Terminal, mayType: boolean): Promise<void> {
  const hasJustActed = performance.now() - actedAt < ACTED_MS;
  if (mayType && hasJustActed && (await copyText(text, false))) return;
  const action = { label: "Copy", run: () => void copyText(text, true).then(() => terminal.focus()) };
  toast("A program wants to copy text to the clipboard.", { group: "copy", action });
}

/** Pastes the clipboard, or what is put into a field where it cannot be read. */
export async function paste(terminal: Terminal): Promise<void> {
  let text: string;
  try {
    text = await navigator.clipboard.readText();
  } catch {
    text = await askForPaste();
  }
  if (text !== "") terminal.paste(text);
  terminal.focus();
}
