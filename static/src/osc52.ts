/**
 * OSC 52: a program in the terminal copies text to the clipboard of the browser.
 *
 * One way only: a query for the clipboard's content is swallowed without an answer. Where the browser
 * refuses to write (no focus, no user action, plain http), the text is offered with a button instead.
 */

/** Largest text that is taken, in bytes; tmux passes about 0.7 MB. */
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * Returns the text that an OSC 52 payload wants copied, or `undefined` for a query or a broken payload.
 *
 * tmux leaves the selection empty; empty, `c` (clipboard) and `p` (primary) all mean the clipboard here.
 */
export function copyRequest(payload: string): string | undefined {
  const separator = payload.indexOf(";");
  if (separator < 0) return undefined;
  const selection = payload.slice(0, separator);
  if (selection !== "" && !/[cp]/.test(selection)) return undefined;
  const encoded = payload.slice(separator + 1);
  if (encoded === "?" || encoded === "" || encoded.length > (MAX_BYTES / 3) * 4) return undefined;
  try {
    const bytes = Uint8Array.from(atob(encoded), (unit) => unit.charCodeAt(0));
    return new TextDecoder().decode(bytes);
  } catch {
    return undefined;
  }
}

/** Copies text by the old way, which needs a user action but works on plain http. */
function copyByCommand(text: string): boolean {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.readOnly = true;
  area.className = "offscreen";
  document.body.append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    area.remove();
    if (before instanceof HTMLElement) before.focus();
  }
}

/** Writes text to the clipboard; resolves to whether the browser let it. `byUser`: called from a click or key. */
export async function copyText(text: string, byUser: boolean): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return byUser && copyByCommand(text);
  }
}
