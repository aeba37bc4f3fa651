/** What of the server's messages is believed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { plainText } from "../src/checks.ts";
import {
  clampSize,
  parseExit,
  parseFollows,
  parseInack,
  parseJoined,
  parseNotice,
  parseOut,
  parseRecording,
  parseRefusal,
  parseReset,
  parseRole,
  parseSize,
} from "../src/protocol.ts";

const JOINED = {
  id: "c7", key: "secret", resumed: false, offset: 0, input: 0, role: "owner", mode: "tmux",
  session: "0", title: "0 on host", version: "0.1.0", window: 524288, resumeSeconds: 60, maxInput: 16384,
  name: "Ada", display: "auto", follows: true, recording: { since: 5, name: "a.cast", input: false },
};

test("a good joined message is read", () => {
  const { window: _window, resumeSeconds: _seconds, ...rest } = JOINED;
  assert.deepEqual(parseJoined(JOINED), rest);
});

test("a joined message with a wrong field is refused", () => {
  const faults = [
    { id: 7 }, { id: "" }, { key: null }, { offset: -1 }, { offset: 1.5 }, { offset: "0" }, { input: NaN },
    { role: "root" }, { mode: "toString" }, { offset: 2 ** 60 },
  ];
  for (const fault of faults) assert.equal(parseJoined({ ...JOINED, ...fault }), undefined, JSON.stringify(fault));
  for (const value of [undefined, null, 1, "x", [], [JOINED]]) assert.equal(parseJoined(value), undefined);
});

test("what a bridge does not say is what it always was", () => {
  const { name: _name, display: _display, follows: _follows, recording: _recording, ...old } = JOINED;
  const { name, display, follows, recording } = parseJoined(old);
  assert.deepEqual({ name, display, follows, recording }, { name: "", display: "own", follows: false, recording: null });
});

test("a change of role needs a known role", () => {
  assert.deepEqual(parseRole({ role: "editor", by: "Ada\n" }), { role: "editor", by: "Ada" });
  assert.deepEqual(parseRole({ role: "viewer" }), { role: "viewer", by: "" });
  for (const value of [{ role: "root" }, {}, null, "editor", []]) assert.equal(parseRole(value), undefined);
});

test("whether the session's window is shown is yes or no", () => {
  assert.equal(parseFollows({ follows: true }), true);
  assert.equal(parseFollows({ follows: false }), false);
  for (const value of [{ follows: 1 }, {}, undefined, true]) assert.equal(parseFollows(value), undefined);
});

test("anything that tells of a recording means that there is one", () => {
  assert.deepEqual(parseRecording({ since: "x", input: "yes" }), { since: 0, name: "", input: false });
  assert.equal(parseRecording({ input: true }).input, true);
  for (const value of [null, undefined, false, "on"]) assert.equal(parseRecording(value), null);
});

test("a message size that makes no sense is replaced or bounded", () => {
  assert.equal(parseJoined({ ...JOINED, maxInput: 0 }).maxInput, 16384);
  assert.equal(parseJoined({ ...JOINED, maxInput: "x" }).maxInput, 16384);
  assert.equal(parseJoined({ ...JOINED, maxInput: 1e9 }).maxInput, 131072);
});

test("output is bytes at an offset and nothing else", () => {
  assert.deepEqual([...parseOut(5, Uint8Array.of(1, 2).buffer).data], [1, 2]);
  assert.equal(parseOut(-1, new ArrayBuffer(1)), undefined);
  assert.equal(parseOut(0, "text"), undefined);
  assert.equal(parseOut(0, [1, 2]), undefined);
});

test("a reset with an unknown reason is still a reset", () => {
  assert.deepEqual(parseReset({ offset: 3, reason: "?" }), { offset: 3, reason: "lost", hard: true });
  assert.equal(parseReset({ offset: -3, reason: "behind" }), undefined);
});

test("a reset clears the terminal unless it says that it need not", () => {
  const reset = { offset: 3, reason: "behind" };
  assert.deepEqual(parseReset({ ...reset, hard: false }), { ...reset, hard: false });
  assert.equal(parseReset({ ...reset, hard: true }).hard, true);
  assert.equal(parseReset(reset).hard, true);
});

test("numbers of input messages are counts", () => {
  assert.equal(parseInack(4), 4);
  assert.equal(parseInack("4"), undefined);
  assert.equal(parseInack(Infinity), undefined);
});

test("window sizes are clamped to what the server allows", () => {
  assert.deepEqual(parseSize({ cols: 0, rows: 9999 }), { cols: 2, rows: 1000 });
  assert.equal(parseSize({ cols: "80", rows: 24 }), undefined);
  assert.deepEqual(clampSize({ cols: NaN, rows: 24.7 }), { cols: 2, rows: 24 });
});

test("an exit is an exit whatever it carries", () => {
  assert.deepEqual(parseExit(undefined), { exitCode: 0, signal: 0, reason: "exited", message: "", restart: false });
  assert.equal(parseExit({ reason: "taken-over", restart: true }).reason, "taken-over");
  assert.equal(parseExit({ restart: "yes" }).restart, false);
});

test("texts of the server are one plain line of bounded length", () => {
  assert.equal(plainText("a\u001b[31m\nb\u202ec"), "a [31m b c");
  assert.equal(plainText("x".repeat(5000)).length, 600);
  assert.equal(plainText({}), "");
  assert.equal(parseNotice({ level: "error", text: "hello" }).level, "info");
  assert.equal(parseNotice({ text: "\u0007" }), undefined);
});

test("a refusal needs a known code", () => {
  assert.deepEqual(parseRefusal({ code: "full", hint: "later" }), { code: "full", hint: "later" });
  for (const code of ["locked", "refused", "removed"]) assert.equal(parseRefusal({ code }).code, code);
  assert.equal(parseRefusal({ code: "other" }), undefined);
  assert.equal(parseRefusal("full"), undefined);
});
