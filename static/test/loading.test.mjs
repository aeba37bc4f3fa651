/** What can be told before the terminal draws: sizes, and what may be written already. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { roundedCell } from "../src/cell.ts";
import { GraphemeWriter, isAscii } from "../src/graphemes.ts";

const W = { width: 9.03, height: 17.4 };

test("a cell has whole device pixels; its width only with WebGL", () => {
  assert.deepEqual(roundedCell(W, 1, true), { width: 9, height: 18 });
  assert.deepEqual(roundedCell(W, 1, false), { width: 9.03, height: 18 });
  assert.deepEqual(roundedCell(W, 2, true), { width: 9, height: 17.5 });
  assert.deepEqual(roundedCell(W, 1.5, true), { width: 13 / 1.5, height: 27 / 1.5 });
});

test("what is ASCII is told from what is not", () => {
  assert.ok(isAscii("") && isAscii("prompt$ \x1b[0m") && isAscii(new Uint8Array([0, 27, 127])));
  assert.ok(!isAscii("❯") && !isAscii("é") && !isAscii(new Uint8Array([65, 0xc3])));
});

test("ASCII is written at once; from the first other character on, everything waits, in order", async () => {
  const written = [];
  let addons = 0;
  const terminal = {
    write: (data, parsed) => {
      written.push(data);
      parsed?.();
    },
    loadAddon: () => {
      addons += 1;
      written.push("<addon>");
    },
  };
  const writer = new GraphemeWriter(terminal);
  const parsed = [];
  writer.write("$ ", () => parsed.push(1));
  writer.write("❯", () => parsed.push(2));
  writer.write("ls", () => parsed.push(3));
  writer.write("");
  assert.deepEqual([written, parsed], [["$ "], [1]]);
  for (let i = 0; i < 100 && addons === 0; i += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual(written, ["$ ", "<addon>", "❯", "ls", ""]);
  assert.deepEqual(parsed, [1, 2, 3]);
  writer.write("é");
  assert.equal(written.at(-1), "é");
});
