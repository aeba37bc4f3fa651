/** Links, recordings, answers of the server, and the words for them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { sentenceOf } from "../src/api.ts";
import { byteCount, clock, duration, moment, timeLeft } from "../src/format.ts";
import { isSpent, linkWords, newLinkWords, parseLinks, parseNewLink, shareAddress } from "../src/links.ts";
import { modulesOf, pathOf } from "../src/qr.ts";
import { fileAddress, parseRecordings, playerAddress, recordingWords } from "../src/recordings.ts";

const PAGE = new URL("https://8080-colab.example/base/");

test("the address to hand out is the bridge's own, unless only this machine can reach it", () => {
  assert.equal(shareAddress("https://b.example/?link=a", "?link=a", PAGE), "https://b.example/?link=a");
  assert.equal(shareAddress("http://127.0.0.1:8080/?link=a", "?link=a", PAGE), `${PAGE}?link=a`);
  assert.equal(shareAddress("http://127.0.0.1:8080/?link=a", "?link=a", new URL("http://localhost:8080/")), "http://127.0.0.1:8080/?link=a");
  assert.equal(shareAddress(undefined, "?link=a", PAGE), `${PAGE}?link=a`);
  for (const bad of ["javascript:alert(1)", "x", 7, undefined]) assert.equal(shareAddress(bad, "//evil.example/", PAGE), undefined);
});

test("a new link needs an id, a role and an address", () => {
  const answer = { id: "l1", url: "https://b.example/?link=a", query: "?link=a", role: "viewer", name: "", endsAt: 90000, uses: 1 };
  assert.equal(parseNewLink(answer, PAGE).address, "https://b.example/?link=a");
  for (const fault of [{ id: 1 }, { role: "x" }, { url: 5, query: 5 }]) assert.equal(parseNewLink({ ...answer, ...fault }, PAGE), undefined);
  assert.equal(newLinkWords(parseNewLink(answer, PAGE), 90000 - 8 * 3600), `Whoever opens it first may watch, in one browser, until ${moment(90000, 90000 - 8 * 3600)}.`);
  assert.equal(newLinkWords({ role: "editor", name: "Ada", uses: null, endsAt: 86400 * 7 }, 1), `Ada may type, in any number of browsers, until ${moment(86400 * 7, 1)}.`);
});

test("links are listed with what is left of them", () => {
  const links = parseLinks({ links: [
    { id: "l1", role: "viewer", name: "", endsAt: 4000, uses: null, opened: 0, people: [] },
    { id: "l2", role: "editor", name: "Ada", endsAt: 4000, uses: 0, opened: 1, people: ["c1", 7] },
    { id: "l3", role: "viewer", name: "", endsAt: 5, uses: 3, opened: 2, people: [] },
    { id: "l4", role: "root" }, 5,
  ] });
  assert.deepEqual(links.map((link) => linkWords(link, link.people, 400)), [
    ["To watch", "expired · 3 uses · opened 2 times"],
    ["To type, for Ada", "used up · opened once · here: c1"],
    ["To watch", "1 h left · not opened yet"],
  ]);
  assert.deepEqual(links.map((link) => isSpent(link, 400)), [true, false, false]);
  assert.deepEqual(parseLinks({}), []);
});

test("names of recordings are file names, newest first, and addresses keep them whole", () => {
  const file = { name: "a.cast", bytes: 182345, seconds: 312.4, startedAt: 5, isOpen: true };
  const names = parseRecordings({ recordings: [
    file, { ...file, name: "b ä?&.cast", startedAt: 9 }, { ...file, name: "../x" }, { ...file, name: ".." }, { ...file, name: 7 }, { ...file, name: "" },
  ] }).map(({ name }) => name);
  assert.deepEqual(names, ["b ä?&.cast", "a.cast"]);
  assert.equal(fileAddress("b ä?&.cast"), "recordings/b%20%C3%A4%3F%26.cast");
  assert.equal(playerAddress("a&b"), "replay?name=a%26b");
  assert.equal(recordingWords(file, "today"), "today · 5:12 · 182 KB · being written");
});

test("a refusal is shown as the server's sentence and what to do", () => {
  assert.equal(sentenceOf({ error: "No.", hint: "Ask Ada." }, 409), "No. Ask Ada.");
  assert.equal(sentenceOf({ error: "No. Ask Ada.", hint: "Ask Ada." }, 409), "No. Ask Ada.");
  assert.equal(sentenceOf("<html>", 502), "The bridge refused this (status 502).");
});

test("times and sizes are short", () => {
  assert.deepEqual([0, 59.9, 60, 3600, 86400, 172800].map(duration), ["0 s", "59 s", "1 min", "1 h", "1 day", "2 days"]);
  assert.deepEqual([0.4, 61, 86399.2, 86400, 7 * 86400 - 1, 0].map((left) => timeLeft(left, 0)),
    ["1 s left", "2 min left", "1 day left", "1 day left", "7 days left", "expired"]);
  const at = (...parts) => new Date(...parts).getTime() / 1000;
  const now = at(2026, 10, 30, 19, 26);
  assert.deepEqual([at(2026, 10, 30, 23, 5), at(2026, 11, 1, 19, 26), at(2026, 11, 7, 0, 7)].map((time) => moment(time, now)),
    ["today 23:05", "tomorrow 19:26", "7 December 00:07"]);
  assert.deepEqual([0, 61, 3723, -4].map(clock), ["0:00", "1:01", "1:02:03", "0:00"]);
  assert.deepEqual([0, 999, 1000, 9_960, 999_600, 12e9].map(byteCount), ["0 B", "999 B", "1.0 KB", "10 KB", "1.0 MB", "12 GB"]);
});

test("the drawing of a code covers its dark modules and nothing else", () => {
  const modules = modulesOf("https://b.example/?link=l1.viewer.abc");
  const drawn = modules.map((row) => row.map(() => false));
  for (const [, x, y, width] of pathOf(modules).matchAll(/M(\d+) (\d+)h(\d+)v1h-\3z/g)) {
    for (let at = Number(x); at < Number(x) + Number(width); at += 1) drawn[Number(y)][at] = true;
  }
  assert.deepEqual(drawn, modules);
  assert.ok(modules.length >= 25);
});
