/** The small pure parts: clipboard requests, keys, sizes, titles, waits, words. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { retryDelay } from "../src/backoff.ts";
import { endingOf, endingOfRefusal, roleWords } from "../src/endings.ts";
import { defaultFontSize, fontStepOf, LARGEST_PX, parseFontSize, steppedFontSize } from "../src/fontsize.ts";
import { arrowKey, withModifiers } from "../src/keys.ts";
import { copyRequest } from "../src/osc52.ts";
import { plainPaste } from "../src/pasted.ts";
import { statusOf } from "../src/status.ts";
import { palette, parseThemeChoice, resolveTheme } from "../src/theme.ts";
import { documentTitle } from "../src/titles.ts";
import { webAddress } from "../src/webaddress.ts";

const base64 = (text) => Buffer.from(text, "utf8").toString("base64");

test("an empty selection, c and p all mean the clipboard", () => {
  for (const selection of ["", "c", "p", "cs", "pc"]) {
    assert.equal(copyRequest(`${selection};${base64("héllo 😀")}`), "héllo 😀");
  }
});

test("a query for the clipboard, another selection and broken base64 ask for nothing", () => {
  for (const payload of ["c;?", ";?", `q;${base64("x")}`, "c;***", "c;", "c", ""]) {
    assert.equal(copyRequest(payload), undefined, payload);
  }
});

test("a copy beyond the limit is refused", () => {
  assert.equal(copyRequest(`c;${"QUFB".repeat(2 * 1024 * 1024)}`), undefined);
});

test("the text of a bracketed paste cannot end the paste", () => {
  assert.equal(plainPaste("\x1b[200~a\x1b[201~b\x9b201~\x1b[201~"), "\x1b[200~a␛[201~b␛201~\x1b[201~");
  assert.equal(plainPaste("\x1b[200~\x1b[201~"), "\x1b[200~\x1b[201~");
  for (const key of ["\x1b", "\x1b[A", "x", "\x1b[200~"]) assert.equal(plainPaste(key), key);
});

test("only addresses of web pages are opened, as the browser reads them", () => {
  assert.equal(webAddress("HTTPS://b\u00fccher.example/\u202e"), "https://xn--bcher-kva.example/%E2%80%AE");
  for (const bad of ["javascript:1", " jAva\tscript:1", "data:,x", "file:///x", "//x", "x", "https://"]) {
    assert.equal(webAddress(bad), undefined, bad);
  }
  assert.equal(webAddress(`https://a.example/${"a".repeat(9000)}`), undefined);
});

test("arrows follow the mode of the program and the held keys", () => {
  const none = new Set();
  assert.equal(arrowKey("up", none, false), "\x1b[A");
  assert.equal(arrowKey("up", none, true), "\x1bOA");
  assert.equal(arrowKey("left", new Set(["ctrl"]), true), "\x1b[1;5D");
  assert.equal(arrowKey("right", new Set(["ctrl", "alt"]), false), "\x1b[1;7C");
});

test("held Ctrl and Alt change one key and leave longer text alone", () => {
  assert.equal(withModifiers("c", new Set(["ctrl"])), "\x03");
  assert.equal(withModifiers("[", new Set(["ctrl"])), "\x1b");
  assert.equal(withModifiers(" ", new Set(["ctrl"])), "\0");
  assert.equal(withModifiers("x", new Set(["alt"])), "\x1bx");
  assert.equal(withModifiers("é", new Set(["ctrl"])), "é");
  assert.equal(withModifiers("paste", new Set(["ctrl"])), "paste");
});

test("font keys are Ctrl or Cmd with plus, minus, 0 and nothing else", () => {
  const key = (name, more) => fontStepOf({ key: name, ctrlKey: true, metaKey: false, altKey: false, ...more });
  assert.equal(key("+"), "larger");
  assert.equal(key("="), "larger");
  assert.equal(key("-"), "smaller");
  assert.equal(key("0"), "default");
  assert.equal(key("_"), undefined);
  assert.equal(key("+", { altKey: true }), undefined);
  assert.equal(key("+", { ctrlKey: false }), undefined);
  assert.equal(key("+", { ctrlKey: false, metaKey: true }), "larger");
});

test("font sizes stay within the limits and nonsense is not remembered", () => {
  assert.equal(steppedFontSize(LARGEST_PX, "larger", 15), LARGEST_PX);
  assert.equal(steppedFontSize(20, "default", 15), 15);
  assert.equal(defaultFontSize(390) < defaultFontSize(1280), true);
  for (const text of [null, "", "abc", "0", "900", "12.5"]) assert.equal(parseFontSize(text), undefined, String(text));
  assert.equal(parseFontSize("18"), 18);
});

test("titles are plain text with the name of the program", () => {
  assert.equal(documentTitle("vim\u0007 a.txt"), "vim a.txt – ttybridge");
  assert.equal(documentTitle(" \u0000 "), "ttybridge");
  assert.ok(documentTitle("x".repeat(1000)).length < 150);
});

test("waits double from half a second to fifteen, with up to half taken off", () => {
  assert.deepEqual([0, 1, 2, 5, 60].map((attempt) => retryDelay(attempt, 0)), [500, 1000, 2000, 15000, 15000]);
  assert.equal(retryDelay(2, 1), 1000);
});

test("every end has words, and a button where one can go on", () => {
  const exit = { exitCode: 3, signal: 0, message: "", restart: true };
  const actions = { exited: "Start a new session", detached: "Attach again", "taken-over": "Take it back",
    "server-exited": "Start a new session", killed: "Start a new session", closing: "Reconnect now", removed: "Sign in" };
  for (const [reason, action] of Object.entries(actions)) {
    const ending = endingOf({ ...exit, reason }, "owner");
    assert.ok(ending.title && ending.text, reason);
    assert.equal(ending.action, action);
  }
  const exited = (more) => endingOf({ ...exit, reason: "exited", ...more }, "owner");
  assert.match(exited({}).text, /3/);
  assert.match(exited({ signal: 9 }).text, /signal 9/);
  assert.equal(exited({ restart: false }).action, undefined);
  assert.equal(endingOf({ ...exit, reason: "removed", restart: false }, "owner").action, undefined);
  assert.equal(exited({ message: "Bye." }).text, "Bye.");
  assert.equal(endingOf({ ...exit, reason: "taken-over" }, "viewer").action, "Watch again");
  for (const code of ["full", "no-session", "bad-request", "unavailable", "locked", "refused", "removed"]) {
    assert.ok(endingOfRefusal({ code, hint: "" }).text, code);
  }
});

test("who is refused may try again, and who was removed may not", () => {
  for (const code of ["locked", "refused"]) assert.equal(endingOfRefusal({ code, hint: "" }).action, "Try again");
  assert.equal(endingOfRefusal({ code: "removed", hint: "" }).action, undefined);
});

test("a change of role says who made it, where that is known", () => {
  assert.equal(roleWords({ role: "editor", by: "Ada" }), "Ada gave you the keyboard.");
  assert.equal(roleWords({ role: "editor", by: "an owner" }), "An owner gave you the keyboard.");
  assert.equal(roleWords({ role: "viewer", by: "the owner" }), "The owner took the keyboard back.");
  assert.equal(roleWords({ role: "viewer", by: "anna" }), "anna took the keyboard back.");
  assert.equal(roleWords({ role: "viewer", by: "" }), "The keyboard was taken back.");
});

test("the words stay while one try follows another", () => {
  const start = { state: "connecting", words: "" };
  const first = statusOf({ kind: "opening", isFirst: true }, true, start);
  assert.equal(first.state, "connecting");
  const waiting = statusOf({ kind: "waiting", until: 5, isFirst: false, hint: "" }, true, first);
  assert.deepEqual(waiting, { state: "reconnecting", words: "Connection lost", retryAt: 5 });
  const again = statusOf({ kind: "opening", isFirst: false }, true, waiting);
  assert.deepEqual(again, { ...waiting, retryAt: "now" });
  assert.equal(statusOf({ kind: "waiting", until: 5, isFirst: false, hint: "" }, false, first).state, "offline");
  assert.equal(statusOf({ kind: "at-the-door" }, true, again).state, "waiting");
  assert.deepEqual(statusOf({ kind: "joined", transport: "polling" }, true, again), { state: "connected", words: "Connected" });
});

/** Contrast of two colours as WCAG 2 defines it. */
function contrast(one, other) {
  const luminance = (colour) => {
    const parts = [1, 3, 5].map((start) => Number.parseInt(colour.slice(start, start + 2), 16) / 255);
    const [red, green, blue] = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

test("every colour of the terminal is readable on its background, light and dark", () => {
  for (const name of ["light", "dark"]) {
    const { background, ...colours } = palette(name);
    for (const [colour, value] of Object.entries(colours)) {
      if (/^(selection|scrollbar|cursorAccent)/.test(colour) || (name === "dark" && colour === "black")) continue;
      assert.ok(contrast(value, background) >= 4.5, `${name} ${colour} ${contrast(value, background).toFixed(2)}`);
    }
  }
});

test("an unknown theme is the system's", () => {
  assert.equal(parseThemeChoice("purple"), "auto");
  assert.equal(resolveTheme("auto", "dark"), "dark");
  assert.equal(resolveTheme("light", "dark"), "light");
});
