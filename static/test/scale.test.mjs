/** How large a window is drawn. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fitFont, LARGEST_FIT_PX, SMALLEST_FIT_PX, unscaled } from "../src/scale.ts";
import { random } from "./random.mjs";

/** Draws as the renderers do: cells are whole device pixels, rounded down across and up along. */
function renderer(cols, rows, ratio = 1) {
  const calls = [];
  const cell = (px) => ({
    width: Math.max(1, Math.floor(px * 0.602 * ratio)) / ratio,
    height: Math.ceil(px * 1.164 * ratio) / ratio,
  });
  const sizeOf = (px) => ({ width: cell(px).width * cols, height: cell(px).height * rows });
  const measure = (px) => {
    calls.push(px);
    return sizeOf(px);
  };
  return { measure, sizeOf, calls };
}

const fits = (box, size) => size.width <= box.width && size.height <= box.height;

test("the whole window is seen, and no larger font would do, whatever the sizes", () => {
  const next = random(7);
  for (let round = 0; round < 3000; round += 1) {
    const box = { width: 200 + next() * 2000, height: 100 + next() * 1400 };
    const cols = 2 + Math.floor(next() * 300);
    const rows = 1 + Math.floor(next() * 100);
    const drawn = renderer(cols, rows, 1 + Math.floor(next() * 3));
    const { px, scale } = fitFont(box, 4 + next() * 60, drawn.measure);
    const size = drawn.sizeOf(px);
    const what = JSON.stringify({ box, cols, rows, px, scale, size });
    assert.ok(fits(box, { width: size.width * scale * 0.999999, height: size.height * scale * 0.999999 }), what);
    assert.equal(drawn.calls.at(-1), px, "the last font drawn is the chosen one");
    if (scale < 1) assert.equal(px, SMALLEST_FIT_PX, what);
    else if (px < LARGEST_FIT_PX) assert.ok(!fits(box, drawn.sizeOf(px + 0.5)), what);
    assert.ok(drawn.calls.length <= 11, `${drawn.calls.length} tries: ${what}`);
  }
});

test("a phone shows two hundred columns as a scaled picture of the smallest font", () => {
  const drawn = renderer(200, 50, 3);
  const { px, scale } = fitFont({ width: 384, height: 600 }, 13, drawn.measure);
  assert.equal(px, SMALLEST_FIT_PX);
  assert.ok(scale > 0.5 && scale < 0.6, String(scale));
});

test("what has no size is not scaled to nothing", () => {
  assert.deepEqual(fitFont({ width: 100, height: 100 }, NaN, () => ({ width: 0, height: 0 })).scale, 1);
  assert.equal(fitFont({ width: 0, height: 0 }, 12, renderer(80, 24).measure).scale, 1);
});

test("a point of the picture is found in the drawing", () => {
  assert.equal(unscaled(150, 100, 0.5), 200);
  assert.equal(unscaled(150, 100, 1), 150);
});
