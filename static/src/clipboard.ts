/** Copying for programs, and pasting by a button. */

import type { Terminal } from "@xterm/xterm";
import { copyText } from "./osc52.ts";
import { askForPaste } from "./settings.ts";
import { toast } from "./toast.ts";

/** Copies what a program wants copied, or offers it where the browser asks for a press first. */
export async function copyOrOffer(text: string, terminal: Terminal): Promise<void> {
  if (await copyText(text, false)) return;
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
