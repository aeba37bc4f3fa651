/** Drawing a screen again from its cells. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { attributesOf, drawingOf } from "../src/lastscreen.ts";

const OFF = ["Bold", "Dim", "Italic", "Underline", "Inverse", "Invisible", "Strikethrough", "Overline", "FgRGB", "BgRGB",
  "FgPalette", "BgPalette"];

/** A cell as xterm.js gives it; `is`: what holds for it. */
function cell(chars, { is = [], fg = 0, bg = 0, width = 1 } = {}) {
  const flags = Object.fromEntries(OFF.map((name) => [`is${name}`, () => (is.includes(name) ? 1 : 0)]));
  return { ...flags, getChars: () => chars, getWidth: () => width, getFgColor: () => fg, getBgColor: () => bg };
}

const buffer = (...rows) => ({ baseY: 0, getLine: (y) => ({ getCell: (x) => rows[y][x] }) });

test("attributes and colours of a cell are told in one sequence", () => {
  assert.equal(attributesOf(cell("a")), "\x1b[0m");
  assert.equal(attributesOf(cell("a", { is: ["Bold", "Inverse"] })), "\x1b[0;1;7m");
  assert.equal(attributesOf(cell("a", { is: ["FgPalette"], fg: 12 })), "\x1b[0;38;5;12m");
  assert.equal(attributesOf(cell("a", { is: ["FgRGB", "BgPalette"], fg: 0xff7800, bg: 4 })), "\x1b[0;38;2;255;120;0;48;5;4m");
});

test("a screen is drawn row by row, attributes only where they change", () => {
  const bold = { is: ["Bold"] };
  const drawing = drawingOf(buffer([cell("a"), cell("b"), cell("c", bold)], [cell(""), cell("x"), cell("")]), 2, 3);
  assert.equal(drawing, "\x1b[1;1H\x1b[0mab\x1b[0;1mc\x1b[2;1H\x1b[0m x ");
});

test("the second half of a wide character is not drawn", () => {
  const drawing = drawingOf(buffer([cell("漢", { width: 2 }), cell("", { width: 0 }), cell("!")]), 1, 3);
  assert.equal(drawing, "\x1b[1;1H\x1b[0m漢!");
});
