/** Offsets, repeated bytes, gaps and acknowledgements of the output stream. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ACK_EVERY_BYTES, ackRule, EARLY_BYTES, WATCHING_ACK_BYTES } from "../src/acks.ts";
import { OutputStream } from "../src/stream.ts";
import { random } from "./random.mjs";

const bytes = (...values) => Uint8Array.from(values);

test("output that continues the stream is taken in whole", () => {
  const stream = new OutputStream();
  const accepted = stream.accept(0, bytes(1, 2, 3));
  assert.deepEqual([accepted.kind, [...accepted.data]], ["new", [1, 2, 3]]);
  assert.equal(stream.taken, 3);
});

test("of output that overlaps only the new part is taken in", () => {
  const stream = new OutputStream();
  stream.accept(0, bytes(1, 2, 3));
  const accepted = stream.accept(1, bytes(2, 3, 4, 5));
  assert.deepEqual([...accepted.data], [4, 5]);
  assert.equal(stream.taken, 5);
});

test("output that is there already is dropped", () => {
  const stream = new OutputStream();
  stream.accept(0, bytes(1, 2, 3));
  assert.equal(stream.accept(0, bytes(1, 2)).kind, "seen");
  assert.equal(stream.accept(0, bytes(1, 2, 3)).kind, "seen");
  assert.equal(stream.taken, 3);
});

test("output behind a hole is refused and changes nothing", () => {
  const stream = new OutputStream();
  stream.accept(0, bytes(1));
  assert.deepEqual(stream.accept(3, bytes(9)), { kind: "gap", missing: 2 });
  assert.equal(stream.taken, 1);
});

test("any cuts and repeats of a stream give the stream itself", () => {
  const next = random(7);
  for (let round = 0; round < 200; round += 1) {
    const whole = Uint8Array.from({ length: 200 }, () => next() * 256);
    const stream = new OutputStream();
    const seen = [];
    while (stream.taken < whole.length) {
      const start = Math.floor(next() * (stream.taken + 1));
      const accepted = stream.accept(start, whole.subarray(start, start + Math.ceil(next() * 60)));
      if (accepted.kind === "new") seen.push(...accepted.data);
    }
    assert.deepEqual(Uint8Array.from(seen), whole);
  }
});

test("nothing is acknowledged before it is parsed", () => {
  const stream = new OutputStream();
  const { mark } = stream.accept(0, new Uint8Array(ACK_EVERY_BYTES));
  assert.equal(stream.ackIsWaiting, false);
  stream.parsed(mark);
  assert.equal(stream.ackIsDue(ACK_EVERY_BYTES), true);
  assert.equal(stream.takeAck(), ACK_EVERY_BYTES);
  assert.equal(stream.ackIsWaiting, false);
});

test("who watches acknowledges less often, but not at the beginning, when its window has to grow", () => {
  const editor = ackRule("editor", false, EARLY_BYTES);
  assert.deepEqual(ackRule("viewer", false, EARLY_BYTES - 1), editor);
  assert.equal(editor.bytes, ACK_EVERY_BYTES);
  const watching = ackRule("viewer", false, EARLY_BYTES);
  assert.equal(watching.bytes, WATCHING_ACK_BYTES);
  assert.ok(watching.wait > editor.wait);
  assert.ok(ackRule("viewer", true, 0).wait > watching.wait);
});

test("the beginning is counted from the last reset", () => {
  const stream = new OutputStream();
  stream.accept(0, new Uint8Array(100));
  assert.equal(stream.length, 100);
  stream.restart(70);
  assert.equal(stream.length, 0);
  stream.accept(70, new Uint8Array(30));
  assert.equal(stream.length, 30);
});

test("an acknowledgement is due within 64 KiB and not for a key's echo", () => {
  const stream = new OutputStream();
  stream.parsed(stream.accept(0, new Uint8Array(100)).mark);
  assert.equal(stream.ackIsWaiting, true);
  assert.equal(stream.ackIsDue(ACK_EVERY_BYTES), false);
  stream.parsed(stream.accept(100, new Uint8Array(64 * 1024 - 100)).mark);
  assert.equal(stream.ackIsDue(ACK_EVERY_BYTES), true);
});

test("what was written before a reset does not count after it", () => {
  const stream = new OutputStream();
  const before = stream.accept(0, new Uint8Array(50_000)).mark;
  stream.restart(10);
  stream.parsed(before);
  assert.equal(stream.ackIsWaiting, false);
  assert.equal(stream.taken, 10);
});

test("a resumed connection is never told less than the offset it was resumed from", () => {
  const stream = new OutputStream();
  const first = stream.accept(0, new Uint8Array(100)).mark;
  const second = stream.accept(100, new Uint8Array(100)).mark;
  stream.resume();
  stream.parsed(first);
  assert.equal(stream.ackIsWaiting, false);
  stream.parsed(second);
  assert.equal(stream.takeAck(), 200);
});

test("what was acknowledged on the lost connection is acknowledged again", () => {
  const stream = new OutputStream();
  stream.parsed(stream.accept(0, new Uint8Array(100)).mark);
  stream.takeAck();
  stream.resume();
  assert.equal(stream.ackIsWaiting, true);
  assert.equal(stream.takeAck(), 100);
});
