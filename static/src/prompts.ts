/**
 * Prompts at which what was typed has appeared: at the same prompt, it will again. Pure.
 *
 * Without this, the first keys after each Enter would wait for an answer, since the next thing to read may be a
 * password. The text of the prompt tells them apart, and so does whether the program has asked to be told of
 * pastes: a shell does while it reads a line, and what it starts does not.
 */

import { isOpen, type Line, promptOf } from "./predictline.ts";

/** Prompts that are kept. */
const MAX_PROMPTS = 16;

/** What the prompts of shells and the like end with, the blank included; a colon stands behind questions. */
const PROMPT = /[$#%>❯➜»›⟩λ][ \u00a0]$/;

/** Ends of prompts behind which a secret may be typed. */
const SECRET = /(?:pass\w*|pin|secret|token)\W*$/i;

export class Prompts {
  readonly #known = new Set<string>();

  /** Notes that typing at the beginning of this line has appeared. */
  learn(line: Line, isBracketed: boolean): void {
    const text = promptOf(line);
    if (!PROMPT.test(text) || SECRET.test(text)) return;
    const name = nameOf(text, isBracketed);
    this.#known.delete(name);
    this.#known.add(name);
    for (const oldest of this.#known) if (this.#known.size > MAX_PROMPTS) this.#known.delete(oldest);
  }

  /** Notes that typing here has not appeared. */
  forget(line: Line): void {
    for (const isBracketed of [true, false]) this.#known.delete(nameOf(promptOf(line), isBracketed));
  }

  /** Tells whether the cursor stands right behind a known prompt, with nothing after it. */
  knows(line: Line, isBracketed: boolean): boolean {
    return line.col === line.home && isOpen(line) && this.#known.has(nameOf(promptOf(line), isBracketed));
  }
}

function nameOf(text: string, isBracketed: boolean): string {
  return `${isBracketed ? "line editor" : "anything"} ${text}`;
}
