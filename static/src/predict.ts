/**
 * Guesses what typed keys will show, before the answer comes, and finds out whether it was right.
 *
 * Keys that have no answer yet wait in a row. The first of them, up to one whose effect nobody can know, have their
 * effects worked out from the line on the screen; each output is compared with that, and what it confirms leaves the
 * row. Nothing is shown until something that was typed on this line has appeared, changed by the program and not by
 * us: so passwords and the commands of editors are never seen. What the program does not know to be its line any
 * more (Enter, Escape, another place, another text before it) has to be earned anew; the idea is mosh's.
 * Pure: no clock, no terminal.
 */

import { type Key, keysOf } from "./predictkeys.ts";
import { after, isOpen, type Line, lineAt, type Screen, textOf } from "./predictline.ts";
import { Prompts } from "./prompts.ts";
import { RoundTrip } from "./roundtrip.ts";

/** A cell to draw over the screen's own. */
export interface ShownCell {
  readonly col: number;
  readonly char: string;
  /** Typed, and not confirmed. */
  readonly isMarked: boolean;
}

/** What is to be drawn over the screen: cells of one row, and the cursor in it. */
export interface Shown {
  readonly row: number;
  readonly col: number;
  readonly cells: readonly ShownCell[];
}

/** A key without an answer. */
interface Pending {
  readonly key: Key;
  /** Position in the input at which the key's text ends. */
  readonly end: number;
  readonly sentAt: number;
  /** When the pty had it, as far as the server has said. */
  deliveredAt?: number;
  /** Output has come that may be the answer. */
  isSeen: boolean;
  /** The line after it. */
  line: Line | undefined;
  /** For keys that edit: the line before it, when that could be believed. */
  kept?: Line;
}

/** How long an answer may take beyond the way, in milliseconds, while the guess is shown and while it is not. */
const PATIENCE_SHOWN_MS = 200;
const PATIENCE_HIDDEN_MS = 500;
/** The same when nothing at all has come: the line is held up rather than the guess wrong. */
const PATIENCE_SILENT_MS = 1500;
/** How long an answer may take while nobody knows how long the way is, in milliseconds. */
const PATIENCE_UNKNOWN_MS = 3000;

/** Kinds of keys that leave a line a line, even where their effect is not known. */
const EDITING: ReadonlySet<Key["kind"]> = new Set(["edit", "backspace", "left", "right"]);

/** What most programs draw for each character of a password. */
const MASK = "*";

/** Most proofs that are wanted where guesses were wrong. */
const MAX_PRICE = 8;

/** Keys in the row; more are a program's, or a line that is held up. */
const MAX_PENDING = 128;

export class Predictor {
  readonly #roundTrip = new RoundTrip();
  readonly #prompts = new Prompts();
  #pending: Pending[] = [];
  /** The line as it was confirmed last. */
  #line: Line | undefined;
  /** What is typed here appears. */
  #isTrusted = false;
  /** The trust comes from the prompt alone. */
  #isByPrompt = false;
  /** Enter was the last key of unknown effect: a prompt may come. */
  #isAfterEnter = false;
  /** Characters that were drawn for other ones: they hide what is typed, and prove nothing. */
  readonly #masks = new Set([MASK]);
  /** Proofs that are missing before something is shown, and how many the next place will cost. */
  #owed = 1;
  #price = 1;
  #lastHeard = -Infinity;
  #hasConfirmed = false;

  /** Takes a round trip in milliseconds that somebody else has measured. */
  measured(ms: number): void {
    this.#roundTrip.add(ms);
  }

  /** Forgets everything but the prompts: the screen is another one, or nothing arrives any more. */
  drop(): void {
    this.#pending = [];
    this.#distrust();
  }

  /** Takes typed text that ends at position `end` of the input. */
  typed(text: string, isBinary: boolean, end: number, now: number, screen: Screen): void {
    for (const key of keysOf(text, isBinary)) {
      if (this.#pending.length >= MAX_PENDING) this.drop();
      const entry: Pending = { key, end, sentAt: now, isSeen: false, line: undefined };
      const last = this.#pending.at(-1);
      const before = last ? last.line : this.#start(screen);
      if (EDITING.has(key.kind) && this.#isTrusted && before) entry.kept = before;
      if (!last) this.#line = before;
      entry.line = before && after(before, key);
      this.#pending.push(entry);
    }
  }

  /** Takes that the pty has the input up to `end`, behind all output that came before the message. */
  delivered(end: number, now: number, screen: Screen): void {
    this.#lastHeard = now;
    for (const entry of this.#pending) {
      if (entry.end > end || entry.deliveredAt !== undefined) continue;
      entry.deliveredAt = now;
      if (entry.end === end) this.#roundTrip.add(now - entry.sentAt);
    }
    this.#settle(now, screen);
  }

  /** Takes that output has been worked through. */
  parsed(now: number, screen: Screen): void {
    this.#lastHeard = now;
    this.#hasConfirmed = false;
    this.#settle(now, screen);
    // What has confirmed a guess is not taken for the answer to a later key as well.
    if (this.#hasConfirmed) return;
    for (const entry of this.#pending) entry.isSeen ||= this.#mayBeAnswered(entry, now);
    this.#settle(now, screen);
  }

  /** Takes that time has passed: `deadline` is over. */
  tick(now: number, screen: Screen): void {
    this.#settle(now, screen);
  }

  /** When to call `tick`, unless something else comes first. */
  get deadline(): number | undefined {
    const head = this.#pending[0];
    return head && this.#lateAt(head);
  }

  /** Returns what to draw over the screen now; `undefined`: nothing. */
  shown(screen: Screen): Shown | undefined {
    const line = this.#isTrusted ? this.#guess : undefined;
    if (!line) return undefined;
    const real = screen.cells(line.row);
    const cells: ShownCell[] = [];
    for (let col = line.home; col < line.cells.length; col += 1) {
      const [wanted, is] = [line.cells[col], real[col]];
      const isMarked = line.typed.has(col);
      if (!wanted || (wanted.char === is?.char && !(isMarked && is.isFaint))) continue;
      cells.push({ col, char: wanted.char, isMarked });
    }
    return { row: line.row, col: line.col, cells };
  }

  /** The line after all keys whose effect can be known. */
  get #guess(): Line | undefined {
    let guess: Line | undefined;
    for (const { line } of this.#pending) {
      if (!line) break;
      guess = line;
    }
    return guess;
  }

  #distrust(): void {
    this.#line = undefined;
    this.#isTrusted = this.#isByPrompt = this.#isAfterEnter = false;
  }

  /** Returns the line to type on, as the screen shows it; what was believed of another one is forgotten. */
  #start(screen: Screen): Line {
    const old = this.#line;
    const isOld = old && isWhole(old, screen) && isIn(old, screen) && screen.cursorCol === old.col;
    if (isOld) return lineAt(screen, old.home, old.end);
    const line = lineAt(screen);
    const isPrompt = this.#isAfterEnter && this.#prompts.knows(line, screen.isBracketed);
    this.#isTrusted = this.#isByPrompt = isPrompt;
    return line;
  }

  /** Works the row off as far as there are answers. */
  #settle(now: number, screen: Screen): void {
    for (let head = this.#pending[0]; head; head = this.#pending[0]) {
      const isGone = head.line ? this.#settleGuess(head, now, screen) : this.#settleUnknown(head, now, screen);
      if (!isGone) return;
    }
  }

  /** Waits for the answer to a key of unknown effect; returns whether it is off the row. */
  #settleUnknown(head: Pending, now: number, screen: Screen): boolean {
    if (!head.isSeen && now < this.#lateAt(head)) return false;
    this.#pending.shift();
    const { kept, key } = head;
    if (kept && this.#isTrusted && isWhole(kept, screen) && isIn(kept, screen)) {
      this.#line = lineAt(screen, kept.home);
    } else {
      this.#distrust();
      this.#masks.clear();
      this.#masks.add(MASK);
      this.#isAfterEnter = key.kind === "enter";
      if (this.#isAfterEnter) this.#price = 1;
      this.#owed = this.#price;
    }
    this.#place(screen);
    return true;
  }

  /** Works out the effects of the keys in the row from where the cursor is now. */
  #place(screen: Screen): void {
    if (this.#pending.length > 0) this.#lay(this.#start(screen));
  }

  #lay(start: Line): void {
    this.#line = start;
    let line: Line | undefined = start;
    for (const entry of this.#pending) {
      line = line && after(line, entry.key);
      entry.line = line;
    }
  }

  /** Compares the screen with what was guessed; returns whether something is off the row. */
  #settleGuess(head: Pending, now: number, screen: Screen): boolean {
    const start = this.#line;
    if (!start) return this.#restart(now, screen);
    const confirmed = this.#confirmed(start, now, screen);
    if (confirmed > 0) return this.#confirm(confirmed, now, screen);
    if (this.#isStale(head, start, screen, now)) return this.#restart(now, screen);
    const isLate = now >= this.#lateAt(head);
    if ((isLate || !isWhole(start, screen) || screen.cursorRow !== start.row) && this.#skipAnswered()) return true;
    if (this.#isOther(head, start, now, screen) || isLate) return this.#miss(head, now, screen);
    if (this.#isAway(head, start, screen, now) || !isWhole(start, screen) || this.#isDisturbed(start, screen)) return this.#restart(now, screen, true);
    return false;
  }

  /** Returns how many keys of the row the screen confirms: no more than are needed to look as it does. */
  #confirmed(start: Line, now: number, screen: Screen): number {
    const isUnchanged = start.col === screen.cursorCol && isSame(start, screen, start.end);
    for (const [index, entry] of this.#pending.entries()) {
      const { line } = entry;
      if (!line || !this.#mayBeAnswered(entry, now)) break;
      if (line.row !== screen.cursorRow) continue;
      // A character and its removal: while the screen is as before, there is no answer, or both have come at once.
      if (isUnchanged && now < this.#lateAt(entry)) continue;
      const next = this.#pending[index + 1];
      const isPassed = next !== undefined && !next.line && next.isSeen && screen.cursorCol > line.col;
      if (line.col !== screen.cursorCol && !isPassed) continue;
      if (isSame(line, screen, isPassed ? line.col : line.end)) return index + 1;
    }
    return 0;
  }

  #confirm(count: number, now: number, screen: Screen): boolean {
    const gone = this.#pending.splice(0, count);
    const start = this.#line;
    const last = gone.at(-1);
    if (!start || !last?.line) return this.#restart(now, screen);
    this.#roundTrip.add(now - last.sentAt);
    this.#hasConfirmed = true;
    let before = start;
    for (const { key, line } of gone) {
      if (!line) break;
      if (key.kind === "char" && this.#isProof(key.char, start, line, screen)) this.#prove(before, screen);
      before = line;
    }
    this.#lay(lineAt(screen, start.home, last.line.end));
    return true;
  }

  /** Tells whether a character stands where another one was, and is not drawn for whatever is typed. */
  #isProof(char: string, start: Line, { row, col }: Line, screen: Screen): boolean {
    const isThere = screen.cells(row)[col - 1]?.char === char;
    return isThere && start.cells[col - 1]?.char !== char && !this.#masks.has(char);
  }

  #prove(before: Line, screen: Screen): void {
    this.#owed -= 1;
    if (this.#owed <= 0) this.#isTrusted = true;
    this.#isByPrompt = false;
    if (before.col === before.home && isOpen(before)) this.#prompts.learn(before, screen.isBracketed);
  }

  /** Tells whether the cursor has moved before there can be an answer: by the program, or by keys not told of. */
  #isStale(head: Pending, start: Line, screen: Screen, now: number): boolean {
    if (this.#isTrusted || this.#roundTrip.mean === undefined || this.#mayBeAnswered(head, now)) return false;
    const isHere = start.row === screen.cursorRow && start.col === screen.cursorCol;
    return !isHere && !this.#isGuessed(screen);
  }

  /** Tells whether the answer to the first key has gone past where it was expected. */
  #isAway(head: Pending, start: Line, screen: Screen, now: number): boolean {
    // The cursor alone may be away for a moment: programs draw elsewhere, and output is cut anywhere.
    if (this.#isTrusted || !this.#mayBeAnswered(head, now)) return false;
    if (screen.cursorRow !== start.row) return true;
    return head.line !== undefined && screen.cursorCol > head.line.col && !this.#isGuessed(screen);
  }

  /** Tells whether the screen looks as it will after one of the keys in the row. */
  #isGuessed(screen: Screen): boolean {
    const { cursorRow: row, cursorCol: col } = screen;
    return this.#pending.some(({ line }) => line?.row === row && line.col === col && isSame(line, screen, col));
  }

  /** Takes the keys off the row that come before one of unknown effect that has its answer. */
  #skipAnswered(): boolean {
    const unknown = this.#pending.findIndex((entry) => !entry.line && entry.isSeen);
    this.#pending.splice(0, Math.max(unknown, 0));
    return unknown > 0;
  }

  /** Guesses anew from where the cursor is, without the keys that may have been answered already. */
  #restart(now: number, screen: Screen, drops = false): boolean {
    let isAfterEnter = this.#isAfterEnter;
    if (drops) {
      this.#fault();
      // Whether a prompt shows these already, or will, cannot be known.
      if (this.#dropAnswered(now)) isAfterEnter = false;
    }
    this.#distrust();
    this.#isAfterEnter = isAfterEnter;
    this.#place(screen);
    return drops || this.#isTrusted;
  }

  /** Takes the keys off the row that may have been answered, up to one of unknown effect; returns whether there were any. */
  #dropAnswered(now: number): boolean {
    const first = this.#pending.findIndex((entry) => !entry.line || !this.#mayBeAnswered(entry, now));
    this.#pending.splice(0, first < 0 ? this.#pending.length : first);
    return first !== 0;
  }

  /** Tells whether the program has drawn another character in place of the one that was typed. */
  #isOther(head: Pending, start: Line, now: number, screen: Screen): boolean {
    const { key, line } = head;
    if (key.kind !== "char" || !line || !this.#mayBeAnswered(head, now)) return false;
    const is = screen.cells(line.row)[line.col - 1]?.char;
    if (is === undefined || is === key.char || is === start.cells[line.col - 1]?.char) return false;
    if (screen.cursorCol === line.col && is !== " ") this.#masks.add(is);
    return screen.cursorCol >= line.col;
  }

  /** The guess was wrong: nothing is shown until something is right again. */
  #miss(head: Pending, now: number, screen: Screen): boolean {
    this.#fault();
    if (this.#line && this.#isByPrompt) this.#prompts.forget(this.#line);
    this.#dropAnswered(now);
    if (this.#pending[0] === head) this.#pending.shift();
    this.#distrust();
    this.#place(screen);
    return true;
  }

  /** Something that was shown was wrong: the more often, the more proof is wanted. */
  #fault(): void {
    if (!this.#isTrusted) return;
    this.#price = Math.min(2 * this.#price, MAX_PRICE);
    this.#owed = this.#price;
  }

  /** Tells whether something else has been written where the guess is. */
  #isDisturbed(start: Line, screen: Screen): boolean {
    if (isSame(start, screen, start.col + 1)) return false;
    return !this.#pending.some(({ line }) => line && isSame(line, screen, line.col));
  }

  #mayBeAnswered(entry: Pending, now: number): boolean {
    if (entry.deliveredAt !== undefined) return true;
    return this.#roundTrip.mean !== undefined && now - entry.sentAt >= this.#roundTrip.least;
  }

  /** When a key counts as not answered. */
  #lateAt({ sentAt, deliveredAt }: Pending): number {
    if (deliveredAt === undefined && this.#roundTrip.mean === undefined) return sentAt + PATIENCE_UNKNOWN_MS;
    const due = deliveredAt ?? sentAt + this.#roundTrip.most;
    const isHeard = deliveredAt !== undefined || this.#lastHeard >= due;
    if (!isHeard) return due + PATIENCE_SILENT_MS;
    return due + (this.#isTrusted ? PATIENCE_SHOWN_MS : PATIENCE_HIDDEN_MS);
  }
}

/** Tells whether the screen shows the text of a line up to a column; suggestions behind the cursor are no text. */
function isSame(line: Line, screen: Screen, to: number): boolean {
  return textOf(line.cells, 0, to) === textOf(screen.cells(line.row), 0, to);
}

/** Tells whether the text before a line is still the same. */
function isWhole(line: Line, screen: Screen): boolean {
  return isSame(line, screen, line.home);
}

function isIn(line: Line, screen: Screen): boolean {
  return screen.cursorRow === line.row && screen.cursorCol >= line.home;
}
