/** Predictions that begin, or begin anew, in the midst of typing: keys are under way of which nobody has told them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { measure, recorded, timeline } from "./replay.mjs";

const ROUND_TRIP = 200;

/** When a key counts as seen at once, in milliseconds. */
const AT_ONCE_MS = 30;

/** In this time, the place of the line is found again, and something is proved: five round trips. */
const FOUND_AGAIN_MS = 5 * ROUND_TRIP;

/**
 * How long something may be shown a column off, in milliseconds: of two equal letters, the first may be under way, and be
 * taken for the second.
 */
const WRONG_MS = ROUND_TRIP / 2;

/** The two ways in which that happens: loaded late, and after a change of the window's size. */
const WAYS = ["from", "dropAt"];

const AT_PROMPTS = ["shell", "completion", "scrolling", "tmux-shell", "tmux-completion", "tmux-scrolling"];
const UNSEEN = ["passwords", "tmux-passwords", "no-echo", "asterisks", "vim", "tmux-vim", "less"];

for (const name of AT_PROMPTS) {
  test(`${name}: whenever it begins, the rest of the line is seen at once before long`, () => {
    const session = recorded(name);
    const events = timeline(session, ROUND_TRIP);
    const enter = events.find(({ key }) => key === "\r").at;
    const begins = events.filter(({ at, as }) => as === "prompt" && at < enter);
    let judged = 0;
    for (const { at } of begins) {
      for (const way of WAYS) {
        const { keys, lies, left } = measure(session, ROUND_TRIP, "prompt", { [way]: at });
        const rest = keys.filter((key) => key.at > at + FOUND_AGAIN_MS && key.at < enter);
        const late = rest.filter(({ after }) => after > AT_ONCE_MS);
        const wrong = lies.filter((lie) => lie.until - lie.at > WRONG_MS);
        assert.deepEqual([late, wrong, left], [[], [], undefined], `${way} ${at}`);
        judged += rest.length;
      }
    }
    assert.ok(judged > 0 || enter - begins[0].at < FOUND_AGAIN_MS, "the line is too short to tell anything");
  });
}

for (const name of UNSEEN) {
  test(`${name}: whenever it begins, nothing is shown that is to stay unseen, and nothing is left`, () => {
    const session = recorded(name);
    const begins = timeline(session, ROUND_TRIP).filter(({ key }) => key !== undefined).filter((_, index) => index % 4 === 0);
    assert.ok(begins.length > 5);
    for (const { at } of begins) {
      for (const way of WAYS) {
        const { secrets, left } = measure(session, ROUND_TRIP, "prompt", { [way]: at });
        assert.deepEqual([secrets, left], [[], undefined], `${way} ${at}`);
      }
    }
  });
}
