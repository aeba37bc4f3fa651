/** The widths of characters as Unicode 15 has them; loaded beside the page, which need not wait for it. */

import type { Terminal } from "@xterm/xterm";

type Data = string | Uint8Array;

/** Tells whether every character is one cell wide, or none, whatever the rules. */
export function isAscii(data: Data): boolean {
  for (let i = 0; i < data.length; i += 1) {
    if ((typeof data === "string" ? data.charCodeAt(i) : (data[i] ?? 0)) > 0x7f) return false;
  }
  return true;
}

/** Writes to a terminal; from the first character that is not ASCII on, it waits until the widths are there. */
export class GraphemeWriter {
  #held: (readonly [Data, (() => void) | undefined])[] | undefined = [];

  constructor(private readonly terminal: Pick<Terminal, "write" | "loadAddon">) {
    void this.#load();
  }

  write(data: Data, parsed?: () => void): void {
    if (this.#held && (this.#held.length > 0 || !isAscii(data))) this.#held.push([data, parsed]);
    else this.terminal.write(data, parsed);
  }

  async #load(): Promise<void> {
    try {
      const { UnicodeGraphemesAddon } = await import("@xterm/addon-unicode-graphemes");
      this.terminal.loadAddon(new UnicodeGraphemesAddon());
    } catch {
      // It cannot be had now: xterm.js has widths of its own.
    }
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const [data, parsed] of held) this.terminal.write(data, parsed);
  }
}
