/** Who is here: what is believed, counted, told, and offered. */

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  addChanges,
  changesOf,
  changeWords,
  headcount,
  initials,
  inOrder,
  nameOf,
  parsePeople,
  parsePerson,
  signOf,
} from "../src/peopledata.ts";
import { detailsOf } from "../src/personrow.ts";
import { deedsFor, mayAdmit, mayGive, mayRecord, shareable } from "../src/rights.ts";

const ROW = {
  id: "c7", name: "Ada", role: "editor", given: "viewer", via: "page", since: 1000, idleS: 3.2,
  cols: 120, rows: 32, follows: false, rttMs: 12.3, hand: false, state: "here", link: "l1", address: "1.2.3.4",
};
const row = (id, more = {}) => parsePerson({ ...ROW, id, name: id.toUpperCase(), ...more });
const all = (...here) => ({ here, watching: here.filter((one) => one.role === "viewer").length, locked: false, approve: false, recording: null });

test("a good row is read", () => {
  const { given: _given, ...rest } = ROW;
  assert.deepEqual(parsePerson(ROW), rest);
});

test("a row needs an id and a known role, and nonsense in the rest is left out", () => {
  for (const fault of [{ id: 7 }, { id: "" }, { role: "root" }]) assert.equal(parsePerson({ ...ROW, ...fault }), undefined);
  const odd = parsePerson({
    ...ROW, name: "A\u202eda\u001b[31m", via: "pigeon", since: -1, idleS: "x", cols: 1.5, rttMs: null, hand: 1, state: "dead", address: {},
  });
  assert.equal(odd.name, "A da [31m");
  assert.deepEqual(
    [odd.via, odd.since, odd.idleS, odd.cols, odd.rttMs, odd.hand, odd.state, odd.address],
    [undefined, 0, 0, 0, undefined, false, "here", ""],
  );
});

test("the people are a list, of which bad rows are dropped", () => {
  assert.equal(parsePeople({ here: "x" }), undefined);
  assert.equal(parsePeople(null), undefined);
  const people = parsePeople({ here: [ROW, 5, { id: "c8" }], watching: -1, locked: 1, approve: true, recording: {} });
  assert.deepEqual([people.here.length, people.watching, people.locked, people.approve], [1, 0, false, true]);
  assert.notEqual(people.recording, null);
});

test("viewers count once, whether they are listed or not, and who waits does not count", () => {
  const people = { ...all(row("c1"), row("c2", { role: "viewer" }), row("c3", { state: "waiting" })), watching: 40 };
  assert.equal(headcount(people), 41);
  assert.equal(headcount({ ...people, watching: 0 }), 2);
});

test("who has no name is called and signed by the id", () => {
  assert.equal(nameOf({ id: "c12", name: "", role: "viewer" }), "Guest c12");
  assert.equal(nameOf({ id: "c1", name: "", role: "owner" }), "Owner c1");
  assert.deepEqual([signOf({ id: "c12", name: "" }), signOf({ id: "c1", name: "Ada" })], ["12", "A"]);
  assert.equal(initials("Grace Brewster Hopper"), "GH");
  assert.equal(initials("😀"), "😀");
});

test("who waits comes first, then who asks, then by role, oneself before others", () => {
  const people = all(
    row("c1", { role: "viewer" }), row("c2"), row("c3", { role: "owner", since: 5 }), row("c4", { role: "owner" }),
    row("c5", { role: "viewer", hand: true }), row("c6", { state: "waiting" }),
  );
  assert.deepEqual(inOrder(people, "c4").map(({ id }) => id), ["c6", "c5", "c4", "c3", "c2", "c1"]);
});

test("comings and goings are those of others who are in", () => {
  const before = all(row("c1"), row("c2"), row("c3", { state: "waiting" }));
  const after = all(row("c2", { state: "away" }), row("c3"), row("c4", { state: "waiting" }), row("me"));
  const { came, left } = changesOf(before, after, "me");
  assert.deepEqual([came.map(({ id }) => id), left.map(({ id }) => id)], [["c3"], ["c1"]]);
});

test("who came and went before it was told is not told", () => {
  const nothing = { came: [], left: [] };
  const came = { came: [row("c1"), row("c2")], left: [] };
  const left = { came: [], left: [row("c1")] };
  assert.equal(changeWords(addChanges(addChanges(nothing, came), left)), "C2 joined");
  assert.equal(changeWords(addChanges(addChanges(nothing, left), { came: [row("c1")], left: [] })), "");
});

test("who loads the page again is not told, and of two with one name the other is", () => {
  const nothing = { came: [], left: [] };
  const ada = (id, more) => row(id, { name: "Ada", ...more });
  const told = (...changes) => changeWords(changes.reduce(addChanges, nothing));
  const left = { came: [], left: [ada("c1")] };
  assert.equal(told(left, { came: [ada("c8", { role: "viewer" })], left: [] }), "");
  assert.equal(told({ came: [ada("c8")], left: [] }, left), "");
  assert.equal(told(left, { came: [ada("c8", { via: "ssh" })], left: [] }), "Ada joined, Ada left");
  assert.equal(told(left, { came: [ada("c8"), ada("c9")], left: [] }), "Ada joined");
  const guest = (id, more) => row(id, { name: "", ...more });
  assert.equal(told({ came: [], left: [guest("c1")] }, { came: [guest("c2")], left: [] }), "");
  assert.equal(told({ came: [], left: [guest("c1")] }, { came: [guest("c2", { address: "9" })], left: [] }), "Guest c2 joined, Guest c1 left");
});

test("to viewers, who gets or loses the keyboard has neither come nor gone", () => {
  const me = row("me", { role: "viewer" });
  const small = { ...all(me, row("c1")), watching: 3 };
  const large = { ...all(me, row("c1"), row("c2")), watching: 2 };
  const ids = ({ came, left }) => [came, left].map((list) => list.map(({ id }) => id).join());
  assert.deepEqual(ids(changesOf(small, large, "me")), ["", ""]);
  assert.deepEqual(ids(changesOf(large, small, "me")), ["", ""]);
  assert.deepEqual(ids(changesOf(small, { ...large, watching: 3 }, "me")), ["c2", ""]);
  assert.deepEqual(ids(changesOf({ ...large, watching: 3 }, small, "me")), ["", "c2"]);
  // Who is given the keyboard sees everybody at once.
  const all2 = all(row("me"), row("c1"), row("c5", { role: "viewer" }), row("c6", { role: "viewer" }));
  assert.deepEqual(ids(changesOf(small, all2, "me")), ["", ""]);
});

test("one line tells of any number of people", () => {
  const some = (count) => Array.from({ length: count }, (_, number) => row(`c${number}`));
  assert.equal(changeWords({ came: some(1), left: [] }), "C0 joined");
  assert.equal(changeWords({ came: some(2), left: [] }), "C0 and C1 joined");
  assert.equal(changeWords({ came: some(3), left: [row("c9")] }), "3 people joined, C9 left");
  assert.equal(changeWords({ came: [], left: [] }), "");
});

test("the small line tells how somebody is here", () => {
  const person = row("c1", { via: "ssh", idleS: 100, address: "" });
  assert.equal(detailsOf(person, 1600, 25), "SSH · 10 min · idle 2 min · 120×32 · 12 ms");
  assert.equal(detailsOf({ ...person, state: "away" }, 1600, 0), "SSH · connection lost · 10 min · 120×32");
});

test("each role is offered what the server would allow, and nothing else", () => {
  const here = (role) => ({ role, state: "here" });
  const table = {
    owner: { owner: "take remove", editor: "take make-owner remove", viewer: "give make-owner remove" },
    editor: { owner: "", editor: "take", viewer: "give remove" },
    viewer: { owner: "", editor: "", viewer: "" },
  };
  for (const [own, others] of Object.entries(table)) {
    for (const [other, deeds] of Object.entries(others)) {
      assert.equal(deedsFor(own, here(other)).join(" "), deeds, `${own} about ${other}`);
    }
    const atTheDoor = deedsFor(own, { role: "viewer", state: "waiting" }).join(" ");
    assert.equal(atTheDoor, own === "owner" ? "admit refuse" : "");
  }
  assert.deepEqual(["owner", "editor", "viewer"].map((role) => shareable(role).length), [3, 1, 0]);
  assert.deepEqual(["owner", "editor", "viewer"].map(mayAdmit), [true, false, false]);
  for (const may of [mayGive, mayRecord]) assert.deepEqual(["owner", "editor", "viewer"].map(may), [true, true, false]);
});
