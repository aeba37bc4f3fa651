/** Numbers, cuts, coalescing and repetition of input. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { cutAt, InputQueue, MAX_KEPT, MAX_UNDER_WAY } from "../src/input.ts";
import { random } from "./random.mjs";

const drain = (queue) => {
  const messages = [];
  for (let message = queue.next(); message; message = queue.next()) messages.push(message);
  return messages;
};

test("messages are numbered from 1 without holes", () => {
  const queue = new InputQueue(100);
  queue.push("a");
  assert.deepEqual(queue.next(), { seq: 1, text: "a", isBinary: false });
  queue.push("b");
  assert.deepEqual(queue.next(), { seq: 2, text: "b", isBinary: false });
  assert.equal(queue.next(), undefined);
});

test("keys that wait together travel together", () => {
  const queue = new InputQueue(100);
  for (const key of "hello") queue.push(key);
  assert.deepEqual(drain(queue).map((message) => message.text), ["hello"]);
});

test("text and bytes are never joined", () => {
  const queue = new InputQueue(100);
  queue.push("a");
  queue.push("\xff", true);
  queue.push("b");
  assert.deepEqual(drain(queue), [
    { seq: 1, text: "a", isBinary: false },
    { seq: 2, text: "\xff", isBinary: true },
    { seq: 3, text: "b", isBinary: false },
  ]);
});

test("long text is cut at the limit and no character in two", () => {
  assert.equal(cutAt("ab😀", 0, 3), 2);
  assert.equal(cutAt("ab😀", 2, 2), 4);
  assert.equal(cutAt("abcd", 0, 3), 3);
  const queue = new InputQueue(3);
  queue.push("a😀😀b");
  assert.deepEqual(drain(queue).map((message) => message.text), ["a😀", "😀b"]);
});

test("a limit of one unit still gets through a character of two", () => {
  assert.equal(cutAt("😀", 0, 1), 1);
});

test("only so many messages are under way, the rest waits", () => {
  const queue = new InputQueue(10);
  queue.push("x".repeat(1000));
  assert.equal(drain(queue).length, MAX_UNDER_WAY);
  assert.ok(MAX_UNDER_WAY <= 16);
  queue.acknowledge(3);
  assert.deepEqual(drain(queue).map((message) => message.seq), [MAX_UNDER_WAY + 1, MAX_UNDER_WAY + 2, MAX_UNDER_WAY + 3]);
});

test("after a resume what the server lacks is sent again with the same numbers", () => {
  const queue = new InputQueue(2);
  queue.push("aabbccdd");
  const sent = drain(queue);
  queue.resume(2, 2);
  queue.push("ee");
  assert.deepEqual(drain(queue), [...sent.slice(2), { seq: 5, text: "ee", isBinary: false }]);
});

test("an acknowledgement of a message that waits to be sent again counts", () => {
  const queue = new InputQueue(2);
  queue.push("aabb");
  drain(queue);
  queue.resume(0, 2);
  queue.next();
  queue.acknowledge(1);
  assert.deepEqual(drain(queue).map((message) => message.seq), [2]);
});

test("a new start drops what is kept and goes on behind the server's number", () => {
  const queue = new InputQueue(2);
  queue.push("aabbc");
  queue.next();
  assert.equal(queue.restart(0, 100), 3);
  assert.equal(queue.unitsLeft, 0);
  queue.push("new");
  assert.deepEqual(drain(queue), [{ seq: 1, text: "new", isBinary: false }]);
});

test("more than the limit is refused whole", () => {
  const queue = new InputQueue(16_384);
  assert.equal(queue.push("x".repeat(MAX_KEPT)), true);
  assert.equal(queue.push("y"), false);
  assert.equal(queue.unitsLeft, MAX_KEPT);
});

test("any losses and resumes deliver every unit once and in order", () => {
  const next = random(11);
  for (let round = 0; round < 300; round += 1) {
    const queue = new InputQueue(5);
    let typed = "";
    let received = "";
    let accepted = 0;
    let wire = [];
    for (let step = 0; step < 200 || queue.unitsLeft > 0; step += 1) {
      const what = next();
      if (step < 200 && what < 0.3) {
        const text = ["a", "😀", "xyz", "line\n"][Math.floor(next() * 4)];
        typed += text;
        queue.push(text);
      }
      wire.push(...drain(queue));
      if (what < 0.6) {
        const message = wire.shift();
        if (message && message.seq === accepted + 1) {
          accepted = message.seq;
          received += message.text;
        }
        if (what < 0.5) queue.acknowledge(accepted);
      } else if (what > 0.95) {
        wire = [];
        queue.resume(accepted, 5);
      }
    }
    assert.equal(received, typed);
  }
});

test("what waits is dropped when typing is over, and numbers go on without a hole", () => {
  const queue = new InputQueue(2);
  queue.push("abcd");
  assert.equal(queue.next().text, "ab");
  queue.dropWaiting();
  assert.equal(queue.unitsLeft, 2);
  assert.equal(queue.next(), undefined);
  queue.push("x");
  assert.deepEqual(queue.next(), { seq: 2, text: "x", isBinary: false });
});
