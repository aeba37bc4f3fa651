/** Recordings that are read, and those that are refused with a sentence. */

import assert from "node:assert/strict";
import test from "node:test";
import { BadRecording, oneLine, parseRecording } from "../src/asciicast.ts";

const V2 = '{"version": 2, "width": 80, "height": 24}\n';
const V3 = '{"version": 3, "term": {"cols": 80, "rows": 24}}\n';

test("both formats give the same events, with times from the beginning", () => {
  const v2 = parseRecording(`${V2}[0.5, "o", "a"]\n[1.5, "r", "100x30"]\n[1.5, "m", "x\\ny"]\n[2, "i", "q"]\n`);
  const v3 = parseRecording(`${V3}# comment\n[0.5, "o", "a"]\n[1.0, "r", "100x30"]\n\n[0, "m", "x\\ny"]\n[0.5, "i", "q"]\n[1, "x", "0"]\n`);
  const events = [[0.5, "o", "a"], [1.5, "r", "100x30"], [1.5, "m", "x y"], [2, "i", "q"]];
  assert.deepEqual(v2.events, events);
  assert.deepEqual(v3.events, events);
  assert.deepEqual([v2.cols, v2.rows, v2.title, v2.idleTimeLimit], [80, 24, "", undefined]);
});

test("title and idle limit are taken when they are what they should be", () => {
  const read = (more) => parseRecording(`{"version": 2, "width": 8, "height": 2, ${more}}`);
  assert.equal(read('"title": " a\\u001b[1m\\nb\\u202e "').title, "a [1m b");
  assert.equal(read('"title": {"x": 1}').title, "");
  assert.equal(read('"idle_time_limit": 2.5').idleTimeLimit, 2.5);
  assert.equal(read('"idle_time_limit": "2"').idleTimeLimit, undefined);
  assert.equal(oneLine("x".repeat(1000)).length, 200);
});

test("a last line that was not written to its end is left out", () => {
  assert.deepEqual(parseRecording(`${V2}[1, "o", "a"]\n[2, "o", "b`).events, [[1, "o", "a"]]);
});

for (const [name, text, line] of [
  ["nothing", "", 1],
  ["text", "hello\n", 1],
  ["a list", "[2]\n", 1],
  ["version 1", '{"version": 1, "width": 80, "height": 24}\n', 1],
  ["no size", '{"version": 2}\n', 1],
  ["a huge window", '{"version": 2, "width": 1001, "height": 24}\n', 1],
  ["a fraction", '{"version": 2, "width": 8.5, "height": 24}\n', 1],
  ["half an event", `${V2}[1, "o"\n[2, "o", "x"]\n`, 2],
  ["no time", `${V2}["1", "o", "x"]\n`, 2],
  ["a negative time", `${V2}[-1, "o", "x"]\n`, 2],
  ["an infinite time", `${V2}[1e999, "o", "x"]\n`, 2],
  ["no text", `${V2}[1, "o", ["x"]]\n`, 2],
  ["a huge size later", `${V2}[1, "r", "9999x9999"]\n`, 2],
]) {
  test(`${name} is refused, and line ${line} named`, () => {
    assert.throws(() => parseRecording(text), (error) => error instanceof BadRecording && error.message.startsWith(`Line ${line}: `));
  });
}
