/** What can be told before the terminal draws: sizes, and what may be written already. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { roundedCell } from "../src/cell.ts";
import { boundClusters, GraphemeWriter, isAscii } from "../src/graphemes.ts";

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
    unicode: {
      register: () => {},
      set activeVersion(version) {
        assert.equal(version, "15-graphemes-bounded");
        addons += 1;
        written.push("<addon>");
      },
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

test("a cell takes thirty marks, and what takes no room takes none", () => {
  // Marks join, as in the addon; the state before them is lost.
  const inner = {
    version: "x",
    wcwidth: () => 1,
    charProperties: (code, before) => {
      assert.ok(before < 1 << 16);
      return code >= 0x300 && code < 0x370 && before !== 0 ? 3 : 2;
    },
  };
  const bounded = boundClusters(inner);
  const joins = (text) => {
    let before = 0;
    return Array.from(text, (char) => (before = bounded.charProperties(char.codePointAt(0), before)) & 1).join("");
  };
  assert.equal(joins(`Z${"\u0301".repeat(62)}`), `0${"1".repeat(30)}0${"1".repeat(30)}0`);
  assert.equal(joins("a\u202e\u2066b\u200b\u{e0001}"), "011011");
  assert.equal((bounded.charProperties(0x202e, 4) >> 1) & 3, 2); // as wide as what it stands behind
  assert.deepEqual([bounded.wcwidth(0x202e), bounded.wcwidth(0x41)], [0, 1]);
});
