/** Predictions over recorded sessions (tests/record_predictions.py), on lines of 50, 200 and 500 ms. */

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { measure, recorded, share } from "./replay.mjs";

const ROUND_TRIPS = [50, 200, 500];

/** When a key counts as seen at once, in milliseconds. */
const AT_ONCE_MS = 30;

/** How long a guess may stay without an answer, beyond the round trip, in milliseconds. */
const LATEST_MS = 250;

const NAMES = readdirSync(process.env.SESSIONS).map((name) => name.replace(".json", ""));

/**
 * Where what is shown may be wrong for a moment: while something else writes to the same lines, and when a program stops
 * to echo with a key under way.
 */
const MAY_ERR = /flood|passwords/;

/** Share of the keys at prompts that are seen at once; the first command of each session teaches the prompt. */
const AT_LEAST = { 50: 0.92, 200: 0.85, 500: 0.6 };

assert.ok(NAMES.length >= 17);
const all = new Map(ROUND_TRIPS.map((roundTrip) => [roundTrip, []]));

for (const name of NAMES) {
  for (const roundTrip of ROUND_TRIPS) {
    test(`${name} at ${roundTrip} ms: seen at once, nothing that is to stay unseen, nothing wrong`, () => {
      const { visible, lies, secrets, left, longest } = measure(recorded(name), roundTrip);
      assert.deepEqual(secrets, []);
      assert.equal(left, undefined);
      assert.ok(longest <= roundTrip + LATEST_MS, `something was shown ${longest} ms after the last key`);
      if (!MAY_ERR.test(name)) assert.deepEqual(lies, []);
      if (visible.length > 0) assert.ok(share(visible, AT_ONCE_MS) >= AT_LEAST[roundTrip], visible.join(" "));
      all.get(roundTrip).push(...visible);
    });
  }
}

for (const roundTrip of ROUND_TRIPS) {
  test(`at ${roundTrip} ms, nine of ten keys at a prompt are seen at once`, () => {
    const times = all.get(roundTrip);
    assert.ok(times.length > 1000);
    assert.ok(share(times, AT_ONCE_MS) >= 0.9, `${share(times, AT_ONCE_MS)}`);
  });
}

test("shells, in tmux as well, show nine of ten keys at once at 200 and 500 ms each", () => {
  for (const name of ["shell", "scrolling", "tmux-shell", "tmux-scrolling"]) {
    for (const roundTrip of [200, 500]) {
      const { visible } = measure(recorded(name), roundTrip);
      assert.ok(share(visible, AT_ONCE_MS) >= 0.9, `${name}: ${visible.join(" ")}`);
    }
  }
});

test("text that is written into an editor is seen at once, too, once the editor has shown some", () => {
  for (const name of ["vim", "tmux-vim"]) {
    const { visible } = measure(recorded(name), 200, "text");
    assert.ok(share(visible, AT_ONCE_MS) >= 0.75, `${name}: ${visible.join(" ")}`);
  }
});

test("without a guess, nothing would be seen before the round trip is over", () => {
  const silent = { ...recorded("shell") };
  // A program of one's own that writes each key twice is never believed.
  silent.events = silent.events.map((event) => (event.out?.length === 1 ? { ...event, out: event.out + event.out } : event));
  const { visible } = measure(silent, 200);
  assert.ok(share(visible, AT_ONCE_MS) < 0.1);
});
