/** The widths of characters as Unicode 15 has them; loaded beside the page, which need not wait for it. */

import type { IUnicodeVersionProvider, Terminal } from "@xterm/xterm";

type Data = string | Uint8Array;

/**
 * Most characters that join the first one of a cell: what the Stream-Safe Text Format (UAX #15) allows of marks, and
 * more than any emoji or syllable has. Without a limit, one cell can take all output, and drawing it minutes.
 */
const MAX_JOINED = 30;

/** In xterm.js 6.0 a character's properties take 9 bits: whether it joins, its width, how it breaks. */
const COUNT_SHIFT = 16;
const OWN_BITS = (1 << COUNT_SHIFT) - 1;

/**
 * Characters that steer how others are shown, and take no room; not those with a shape, as the soft hyphen. The addon
 * gives them a cell. tmux, like the C library, does not: a title of its status line with some of them would be wider
 * than the line, and move all of the screen up.
 */
const NO_ROOM = /^[\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\u{e0001}]$/u;

function takesNoRoom(code: number): boolean {
  // Most texts are decided here: few characters are worth the search.
  const mayBe = code >= 0x61c && (code < 0x2070 || (code >= 0xfeff && code <= 0xfffb) || code === 0xe0001);
  return mayBe && NO_ROOM.test(String.fromCodePoint(code));
}

/** Makes a provider of widths that begins a new cell where too many characters would be in one. */
export function boundClusters(provider: IUnicodeVersionProvider): IUnicodeVersionProvider {
  return {
    version: `${provider.version}-bounded`,
    wcwidth: (codepoint) => (takesNoRoom(codepoint) ? 0 : provider.wcwidth(codepoint)),
    charProperties: (codepoint, preceding) => {
      const before = preceding & OWN_BITS;
      const found = takesNoRoom(codepoint) ? before | 1 : provider.charProperties(codepoint, before);
      if ((found & 1) === 0) return found;
      const joined = (preceding >>> COUNT_SHIFT) + 1;
      return joined > MAX_JOINED ? provider.charProperties(codepoint, 0) : found | (joined << COUNT_SHIFT);
    },
  };
}

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

  constructor(private readonly terminal: Pick<Terminal, "write" | "unicode">) {
    void this.#load();
  }

  write(data: Data, parsed?: () => void): void {
    if (this.#held && (this.#held.length > 0 || !isAscii(data))) this.#held.push([data, parsed]);
    else this.terminal.write(data, parsed);
  }

  async #load(): Promise<void> {
    try {
      const { UnicodeGraphemesAddon } = await import("@xterm/addon-unicode-graphemes");
      const { unicode } = this.terminal;
      const register = (provider: IUnicodeVersionProvider): void => unicode.register(boundClusters(provider));
      // It only registers its providers; ours take their places.
      new UnicodeGraphemesAddon().activate({ unicode: { register, activeVersion: "" } } as unknown as Terminal);
      unicode.activeVersion = "15-graphemes-bounded";
    } catch {
      // It cannot be had now: xterm.js has widths of its own.
    }
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const [data, parsed] of held) this.terminal.write(data, parsed);
  }
}
