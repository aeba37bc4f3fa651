/** Replays a recorded session on a line of a given round trip, with the predictions that the page would make. */

import { readFileSync } from "node:fs";
import path from "node:path";
import xterm from "@xterm/headless";
import { Predictor } from "../src/predict.ts";
import { screenOf } from "../src/predictscreen.ts";

/** The server says of the first message, and then of every fourth, that the pty has it (ttybridge/sessions/typing.py). */
const CONFIRM_EVERY = 4;

/** After this time without anything, in milliseconds, everything has its answer. */
const QUIET_MS = 2500;

export function recorded(name) {
  return JSON.parse(readFileSync(path.join(process.env.SESSIONS, `${name}.json`), "utf8"));
}

/** Returns what happens, in the order in which the page sees it: keys, output, confirmations. */
export function timeline({ events }, roundTrip) {
  const happens = [];
  let waited = 0;
  let typed = 0;
  for (const { at, out, key, as, waits } of events) {
    // Who waits to see something waits longer on a slow line.
    if (waits) waited += roundTrip;
    const now = at + waited;
    if (out !== undefined) happens.push({ at: now + roundTrip, out });
    if (key === undefined) continue;
    typed += key.length;
    happens.push({ at: now, key, as, end: typed });
    const isConfirmed = happens.filter((event) => event.key !== undefined).length % CONFIRM_EVERY === 1;
    if (isConfirmed) happens.push({ at: now + roundTrip, delivered: typed });
  }
  // The sort keeps the order of what is simultaneous: the confirmation goes before the echo.
  return happens.sort((a, b) => a.at - b.at);
}

/** A timer may be late, in milliseconds. */
const BETWEEN_MS = 5;

/**
 * Replays; `watch(moment)` sees each moment: what happened, what is shown over the screen, the screen itself.
 *
 * Between two events, the clock stops whenever the predictor wants to be called. It is told of nothing that happens
 * before the time `from`, as where it is loaded in the midst of typing, and forgets everything at the time `dropAt`.
 */
export function replay(session, roundTrip, watch, { from = 0, dropAt = Infinity } = {}) {
  const terminal = new xterm.Terminal({ cols: session.cols, rows: session.rows, allowProposedApi: true });
  const screen = screenOf(terminal);
  const predictor = new Predictor();
  let now = 0;
  const pass = (until) => {
    for (;;) {
      const { deadline } = predictor;
      if (deadline === undefined || deadline > until) break;
      now = Math.max(deadline, now) + BETWEEN_MS;
      predictor.tick(now, screen);
      watch({ at: now, shown: predictor.shown(screen), terminal });
    }
    now = Math.max(now, until);
  };
  const events = timeline(session, roundTrip);
  const firstTold = events.find(({ at }) => at >= from);
  const firstForgotten = events.find(({ at }) => at >= dropAt);
  // The page takes the time of what is confirmed, whoever listens.
  const isMeasured = events.some(({ at, delivered }) => at < from && delivered !== undefined);
  for (const event of events) {
    pass(event.at);
    if (event === firstTold && isMeasured) predictor.measured(roundTrip);
    if (event === firstForgotten) predictor.drop();
    if (event.at < from) {
      if (event.out !== undefined) terminal._core.writeSync(event.out);
    } else if (event.key !== undefined) predictor.typed(event.key, false, event.end, now, screen);
    else if (event.delivered !== undefined) {
      predictor.measured(roundTrip); // as static/src/main.ts
      predictor.delivered(event.delivered, now, screen);
    } else {
      terminal._core.writeSync(event.out); // as tests/node/screens.mjs: a callback would cost a timer each
      predictor.parsed(now, screen);
    }
    watch({ ...event, at: now, shown: predictor.shown(screen), terminal });
  }
  pass(now + QUIET_MS);
  watch({ at: now, isEnd: true, shown: predictor.shown(screen), terminal });
  terminal.dispose();
}

/** Returns a row of a terminal, with what is shown over it. */
export function rowOf(terminal, y, shown) {
  const { active } = terminal.buffer;
  const row = active.getLine(active.baseY + y).translateToString(false).padEnd(terminal.cols).split("");
  if (shown?.row === y) for (const { col, char } of shown.cells) row[col] = char;
  return row.join("");
}

/**
 * Replays and measures: `visible` are the times, in milliseconds, after which the keys that were typed at `what` were
 * seen, `keys` the same with the times `at` which they were typed; `lies` what was shown and never came; `secrets` the
 * keys to a program that does not echo at which a guess was shown; `left` what is shown at the end; `longest` how long,
 * in milliseconds after the last key, something was shown.
 */
export function measure(session, roundTrip, what = "prompt", when = {}) {
  const keys = [];
  const waiting = [];
  const lies = [];
  const secrets = [];
  let left;
  let isNewLine = false;
  let lastKeyAt = 0;
  let longest = 0;
  const glimpses = new Map();
  replay(session, roundTrip, (moment) => {
    const { at, key, as, shown, terminal } = moment;
    const buffer = terminal.buffer.active;
    if (key !== undefined && as === "hidden" && shown?.cells.some(({ isMarked }) => isMarked)) secrets.push({ at, key });
    // What of the last line was not seen by now never was, in the form in which it was typed.
    if (as === what && isNewLine) keys.push(...waiting.splice(0).map((one) => ({ ...one, after: Infinity })));
    if (key !== undefined) lastKeyAt = at;
    if (shown?.cells.length > 0) longest = Math.max(longest, at - lastKeyAt);
    if (key !== undefined) isNewLine = key === "\r";
    if (as === what) waiting.push({ at, key });
    // A character is seen once the text before the cursor, the guessed one, ends in it.
    const cursor = shown ?? { row: buffer.cursorY, col: buffer.cursorX };
    const text = rowOf(terminal, cursor.row, shown).slice(0, cursor.col);
    const pending = waiting.map((one) => one.key).join("");
    for (let count = waiting.length; count > 0; count -= 1) {
      if (!text.endsWith(pending.slice(0, count))) continue;
      keys.push(...waiting.splice(0, count).map((one) => ({ ...one, after: at - one.at })));
      break;
    }
    // What was shown is to come true within the time that an answer takes.
    for (const [place, glimpse] of glimpses) {
      const [row, col] = place.split(" ").map(Number);
      const is = rowOf(terminal, row)[col];
      if (is === glimpse.char) glimpses.delete(place);
      // A key may change what is guessed; nothing else may.
      else if (key !== undefined) glimpses.delete(place);
      else if (!shown || shown.row !== row || !shown.cells.some((cell) => cell.col === col && cell.char === glimpse.char)) {
        lies.push({ ...glimpse, until: at, is });
        glimpses.delete(place);
      }
    }
    for (const { col, char, isMarked } of shown?.cells ?? []) {
      const place = `${shown.row} ${col}`;
      if (isMarked && !glimpses.has(place)) glimpses.set(place, { at, char, row: shown.row, col });
    }
    if (moment.isEnd) left = shown;
  }, when);
  keys.push(...waiting.map((one) => ({ ...one, after: Infinity })));
  return { keys, visible: keys.map(({ after }) => after), lies, secrets, left, longest };
}

/** Returns the share of times that are at most `limit`. */
export const share = (times, limit) => times.filter((time) => time <= limit).length / times.length;
