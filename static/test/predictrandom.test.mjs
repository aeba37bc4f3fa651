/** Predictions at programs that do whatever they like: what must hold for every one of them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "./random.mjs";
import { measure, share } from "./replay.mjs";

const RUNS = 40;
const COMMANDS = 12;

const KEYS = ["a", "b", "x", "*", " ", "é", "|", "\x7f", "\x1b[D", "\x1b[C", "\t", "\x15", "漢", "\x1b", "pasted text and more"];

/** A line editor that inserts, as readline does. */
function editor(prompt) {
  let text = "";
  let at = 0;
  const tail = (from) => text.slice(from);
  const back = (count) => "\b".repeat(count);
  return (key) => {
    if (key === "\x7f" && at > 0) {
      text = text.slice(0, at - 1) + tail(at);
      at -= 1;
      return `\b${tail(at)} ${back(text.length - at + 1)}`;
    }
    if (key === "\x1b[D" && at > 0) {
      at -= 1;
      return "\b";
    }
    if (key === "\x1b[C" && at < text.length) return text[at++];
    if (key === "\x15") {
      const out = `\r${prompt}\x1b[K`;
      text = "";
      at = 0;
      return out;
    }
    if (key < " " || key === "\x7f") return "\x07";
    text = text.slice(0, at) + key + tail(at);
    at += key.length;
    return key + tail(at) + back(text.length - at);
  };
}

/** Programs by name: how a line begins, what each key gives, and whether a key may be seen. */
const PROGRAMS = {
  shell: { prompt: "$ ", take: () => editor("$ "), as: "prompt" },
  password: { prompt: "Password: ", take: () => () => "", as: "hidden" },
  pin: { prompt: "PIN: ", take: () => () => "*", as: "hidden" },
  dots: { prompt: "PIN> ", take: () => () => "•", as: "hidden" },
  // Each key moves about the screen, as the commands of an editor do.
  commands: { prompt: "\x1b[2J\x1b[H text", take: (chance) => () => `\x1b[${1 + Math.floor(chance() * 9)};${1 + Math.floor(chance() * 30)}H`, as: "hidden" },
};

function session(seed, { names, noise = 0, keys = KEYS, types = 0.6 }) {
  const chance = random(seed);
  const pick = (list) => list[Math.floor(chance() * list.length)];
  const events = [];
  let at = 0;
  const write = (out) => out !== "" && events.push({ at: at + 1 + chance() * 3, out });
  let program = PROGRAMS[names[0]];
  write(program.prompt);
  let take = program.take(chance);
  for (let line = 0; line < COMMANDS; line += 1) {
    at += 500;
    events.push({ at, waits: true });
    for (let count = chance() * 14; count > 0; count -= 1) {
      at += 20 + chance() * 200;
      const key = chance() < types ? pick(["e", "c", "h", "o"]) : pick(keys);
      events.push({ at, key, as: key.length === 1 && key >= " " && key < "\x7f" ? program.as : "free" });
      write(take(key));
      if (chance() < noise) write(pick(["\r\nnoise\r\n", "\x1b[H", "\x07", "\x1b7\x1b[1;1Hclock\x1b8", "\n"]));
    }
    at += 100;
    events.push({ at, key: "\r", as: "free" });
    program = PROGRAMS[pick(names)];
    take = program.take(chance);
    write(`\r\n${program.prompt}`);
  }
  return { cols: 24 + Math.floor(chance() * 60), rows: 4 + Math.floor(chance() * 12), events: events.sort((a, b) => a.at - b.at) };
}

const ROUND_TRIPS = [20, 200, 700];

test("what a program does not echo is never shown, whatever is typed before and after", () => {
  for (let seed = 1; seed <= RUNS; seed += 1) {
    const roundTrip = ROUND_TRIPS[seed % ROUND_TRIPS.length];
    const { secrets, left } = measure(session(seed, { names: Object.keys(PROGRAMS), noise: 0.1 }), roundTrip);
    assert.deepEqual(secrets, [], `seed ${seed}`);
    assert.equal(left, undefined, `seed ${seed}`);
  }
});

test("programs that never echo are never guessed at", () => {
  for (const name of ["password", "pin", "dots", "commands"]) {
    for (let seed = 1; seed <= RUNS / 5; seed += 1) {
      const { secrets, lies, longest } = measure(session(seed, { names: [name] }), ROUND_TRIPS[seed % 3]);
      assert.deepEqual([secrets, lies, longest], [[], [], 0], `${name}, seed ${seed}`);
    }
  }
});

test("at a line editor, every guess comes true, and most keys are seen at once", () => {
  const times = [];
  for (let seed = 1; seed <= RUNS; seed += 1) {
    const editing = ["x", "\x7f", "\x1b[D", "\x1b[C", " ", "\x15"];
    const { visible, lies, left } = measure(session(seed, { names: ["shell"], keys: editing, types: 0.8 }), 200);
    assert.deepEqual(lies, [], `seed ${seed}`);
    assert.equal(left, undefined, `seed ${seed}`);
    times.push(...visible);
  }
  assert.ok(share(times, 30) > 0.6, `${share(times, 30)}`);
});
