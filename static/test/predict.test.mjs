/** Single rules of the predictions, at a terminal of one's own. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { InputQueue } from "../src/input.ts";
import { Predictor } from "../src/predict.ts";
import { keysOf } from "../src/predictkeys.ts";
import { after, lineAt, textOf } from "../src/predictline.ts";
import { Prompts } from "../src/prompts.ts";
import { PredictionSwitch, RoundTrip } from "../src/roundtrip.ts";

/** A screen with some rows of text, a blank row behind them, and a cursor. */
function screenOf(rows, cursorRow, cursorCol, { cols = 20, isBracketed = false, faintFrom = cols } = {}) {
  const cells = (y) => [...(rows[y] ?? "").padEnd(cols)].map((char, x) => ({ char, isFaint: x >= faintFrom && char !== " " }));
  return { cols, cursorRow, cursorCol, isBracketed, cells };
}

const kinds = (text, isBinary) => keysOf(text, isBinary).map(({ kind, char }) => char ?? kind).join(" ");

test("keys are told apart by what they can do to a line", () => {
  assert.equal(kinds("a"), "a");
  assert.equal(kinds("é"), "é");
  assert.equal(kinds("ж"), "ж");
  assert.equal(kinds("word"), "w o r d");
  assert.equal(kinds("ls\r"), "l s enter");
  assert.equal(kinds("\x7f"), "backspace");
  assert.equal(kinds("\x1b[D"), "left");
  assert.equal(kinds("\x1bOC"), "right");
  for (const edit of ["\t", "\x15", "\x17", "\x1b[A", "\x1bOH", "\x1b[3~"]) assert.equal(kinds(edit), "edit");
  for (const other of ["\x1b", "\x02", "\x01", "漢", "😀", "\u0301", "\u00ad", "\x1bb", "\x1b[200~x\x1b[201~", "\x1b[<0;1;1M"]) {
    assert.equal(kinds(other).split(" ").every((kind) => kind === "other"), true, JSON.stringify(other));
  }
  assert.equal(kinds("pasted text of some length"), "other");
  assert.equal(kinds("a", true), "other");
});

test("what the terminal says by itself is no key", () => {
  for (const report of ["\x1b[I", "\x1b[O", "\x1b[?1;2c", "\x1b[>0;276;0c", "\x1b[12;40R", "\x1b[0n", "\x1b]10;rgb:0/0/0\x07"]) {
    assert.equal(kinds(report), "", JSON.stringify(report));
  }
});

function typedOn(screen, text, home) {
  let line = lineAt(screen, home);
  for (const key of keysOf(text)) line = line && after(line, key);
  return line;
}

const shownBy = (line) => line && [textOf(line.cells, 0, 20).trimEnd(), line.col];

test("a line takes characters, at its end and in the middle", () => {
  assert.deepEqual(shownBy(typedOn(screenOf(["$ "], 0, 2), "ab")), ["$ ab", 4]);
  assert.deepEqual(shownBy(typedOn(screenOf(["$ one two"], 0, 6), "x", 2)), ["$ one xtwo", 7]);
  assert.deepEqual(shownBy(typedOn(screenOf(["$ ab"], 0, 4), "\x7f", 2)), ["$ a", 3]);
});

test("nothing is guessed for the last columns, over borders and wide characters, or before the line", () => {
  assert.equal(typedOn(screenOf(["$ ".padEnd(19, "x")], 0, 19), "a"), undefined);
  assert.equal(typedOn(screenOf(["$ a │ other"], 0, 3), "b"), undefined);
  assert.equal(typedOn(screenOf(["$ a│ other"], 0, 2), "b"), undefined);
  assert.equal(typedOn(screenOf(["$ "], 0, 2), "\x7f", 2), undefined);
  assert.equal(typedOn(screenOf(["$ ab"], 0, 4), "\x1b[C", 2), undefined);
  const wide = screenOf(["$ "], 0, 2);
  const cells = wide.cells(0);
  cells[2] = { char: "漢字", isFaint: false };
  assert.equal(typedOn({ ...wide, cells: () => cells }, "b"), undefined);
});

test("a suggestion behind the cursor is overwritten, not moved", () => {
  const line = typedOn(screenOf(["$ git status"], 0, 3, { faintFrom: 3 }), "i", 2);
  assert.equal(line.cells.map(({ char }) => char).join("").trimEnd(), "$ git status");
});

const SHELL = { isBracketed: true };

/** A predictor that has seen `a` appear at a prompt, on a line of 100 ms; the time is 1000. */
function taught(options) {
  const predictor = new Predictor();
  predictor.measured(100);
  predictor.typed("a", false, 1, 900, screenOf(["$ "], 0, 2, options));
  assert.equal(predictor.shown(screenOf(["$ "], 0, 2, options)), undefined, "nothing before a proof");
  predictor.parsed(1000, screenOf(["$ a"], 0, 3, options));
  return predictor;
}

test("after a proof, keys are shown at once, and marked until they come", () => {
  const predictor = taught();
  predictor.typed("bc", false, 3, 1010, screenOf(["$ a"], 0, 3));
  assert.deepEqual(predictor.shown(screenOf(["$ a"], 0, 3)), {
    row: 0,
    col: 5,
    cells: [
      { col: 3, char: "b", isMarked: true },
      { col: 4, char: "c", isMarked: true },
    ],
  });
  predictor.parsed(1110, screenOf(["$ ab"], 0, 4));
  assert.deepEqual(predictor.shown(screenOf(["$ ab"], 0, 4)).cells, [{ col: 4, char: "c", isMarked: true }]);
  predictor.parsed(1111, screenOf(["$ abc"], 0, 5));
  assert.equal(predictor.shown(screenOf(["$ abc"], 0, 5)), undefined);
});

test("a character that was there before, or an asterisk, proves nothing", () => {
  const predictor = new Predictor();
  predictor.typed("b", false, 1, 0, screenOf(["$ b"], 0, 2));
  predictor.parsed(10, screenOf(["$ b"], 0, 3));
  predictor.typed("*", false, 2, 20, screenOf(["$ b"], 0, 3));
  predictor.parsed(30, screenOf(["$ b*"], 0, 4));
  predictor.typed("x", false, 3, 40, screenOf(["$ b*"], 0, 4));
  assert.equal(predictor.shown(screenOf(["$ b*"], 0, 4)), undefined);
});

test("another character than the typed one takes all guesses away at once", () => {
  const predictor = taught();
  predictor.typed("b", false, 2, 1010, screenOf(["$ a"], 0, 3));
  predictor.parsed(1110, screenOf(["$ aX"], 0, 4));
  assert.equal(predictor.shown(screenOf(["$ aX"], 0, 4)), undefined);
  predictor.typed("c", false, 3, 1120, screenOf(["$ aX"], 0, 4));
  assert.equal(predictor.shown(screenOf(["$ aX"], 0, 4)), undefined, "trust is gone");
});

test("no answer takes the guesses away when the server has had the key for a while", () => {
  const predictor = taught();
  const screen = screenOf(["$ a"], 0, 3);
  predictor.typed("b", false, 2, 1010, screen);
  predictor.delivered(2, 1110, screen);
  assert.ok(predictor.shown(screen));
  assert.ok(predictor.deadline > 1110 && predictor.deadline <= 1400);
  predictor.tick(predictor.deadline, screen);
  assert.equal(predictor.shown(screen), undefined);
  assert.equal(predictor.deadline, undefined);
});

test("another text before the line, or another place, has to be believed anew", () => {
  for (const screen of [screenOf(["Password: "], 0, 10), screenOf(["# a"], 0, 3), screenOf(["$ a", "$ a"], 1, 3)]) {
    const predictor = taught();
    predictor.typed("s", false, 2, 1500, screen);
    assert.equal(predictor.shown(screen), undefined);
  }
});

test("Enter ends the trust, and only the same prompt brings it back", () => {
  const enter = (prompt, options) => {
    const predictor = taught(SHELL);
    predictor.typed("\r", false, 2, 1010, screenOf(["$ a"], 0, 3, SHELL));
    predictor.typed("b", false, 3, 1020, screenOf(["$ a"], 0, 3, SHELL));
    assert.equal(predictor.shown(screenOf(["$ a"], 0, 3, SHELL)), undefined, "it belongs to the next line");
    const next = screenOf(["$ a", prompt], 1, prompt.length, options);
    predictor.parsed(1111, next);
    return predictor.shown(next)?.cells.map(({ char }) => char).join("");
  };
  assert.equal(enter("$ ", SHELL), "b");
  assert.equal(enter("> ", SHELL), undefined);
  assert.equal(enter("$ ", { isBracketed: false }), undefined);
});

test("a known prompt counts after Enter alone: after other keys, what follows may be a command", () => {
  const predictor = taught(SHELL);
  predictor.typed("\x02", false, 2, 1010, screenOf(["$ a"], 0, 3, SHELL));
  const prompt = screenOf(["$ a", "$ "], 1, 2, SHELL);
  predictor.parsed(1111, prompt);
  predictor.typed("c", false, 3, 1200, prompt);
  assert.equal(predictor.shown(prompt), undefined);
});

test("a prompt at which nothing appears is not believed a second time", () => {
  const predictor = taught(SHELL);
  let end = 1;
  const shownAfterEnter = (row, at) => {
    const rows = Array(row).fill("$ ");
    predictor.typed("\r", false, (end += 1), at, screenOf(rows, row - 1, 2, SHELL));
    const screen = screenOf([...rows, "$ "], row, 2, SHELL);
    predictor.parsed(at + 101, screen);
    predictor.typed("s", false, (end += 1), at + 200, screen);
    const shown = predictor.shown(screen);
    predictor.delivered(end, at + 300, screen);
    while (predictor.deadline !== undefined) predictor.tick(predictor.deadline, screen);
    return shown !== undefined;
  };
  assert.equal(shownAfterEnter(1, 2000), true);
  assert.equal(shownAfterEnter(2, 4000), false);
});

test("where guesses were wrong, one proof is not enough any more", () => {
  const predictor = taught();
  predictor.typed("b", false, 2, 1010, screenOf(["$ a"], 0, 3));
  predictor.parsed(1110, screenOf(["$ aX"], 0, 4));
  let text = "$ aX";
  const isShownAfter = (char, at) => {
    predictor.typed(char, false, 3, at, screenOf([text], 0, text.length));
    text += char;
    predictor.parsed(at + 100, screenOf([text], 0, text.length));
    const screen = screenOf([text], 0, text.length);
    predictor.typed("z", false, 4, at + 101, screen);
    const isShown = predictor.shown(screen) !== undefined;
    text += "z";
    predictor.parsed(at + 201, screenOf([text], 0, text.length));
    return isShown;
  };
  assert.equal(isShownAfter("c", 2000), false);
  assert.equal(isShownAfter("d", 3000), true);
});

test("prompts are told by their end, and secrets by their name", () => {
  const prompts = new Prompts();
  const at = (text) => lineAt(screenOf([text], 0, text.length));
  for (const text of ["Name: ", "Password> ", "PIN # ", "$", ""]) {
    prompts.learn(at(text), true);
    assert.equal(prompts.knows(at(text), true), false, text);
  }
  prompts.learn(at("│a@b:~$ "), true);
  assert.equal(prompts.knows(at("x│a@b:~$ "), true), true, "what stands beside it does not count");
  assert.equal(prompts.knows(at("a@b:~$ "), false), false);
  prompts.forget(at("a@b:~$ "));
  assert.equal(prompts.knows(at("a@b:~$ "), true), false);
});

test("a round trip is smoothed; the switch wants more than one slow moment and forgets no slow line", () => {
  const roundTrip = new RoundTrip();
  assert.deepEqual([roundTrip.mean, roundTrip.least, roundTrip.most], [undefined, 0, 0]);
  for (let count = 0; count < 50; count += 1) roundTrip.add(100);
  assert.ok(Math.abs(roundTrip.mean - 100) < 1e-6 && roundTrip.least > 99 && roundTrip.most < 101);
  const auto = new PredictionSwitch("auto");
  const after = (...samples) => {
    for (const ms of samples) auto.measured(ms);
    return auto.isOn;
  };
  assert.equal(after(), false);
  assert.equal(after(60), false, "one sample may be a busy moment");
  assert.equal(after(61), true);
  assert.equal(after(25, 25, 25), true, "between the limits, it stays");
  assert.equal(after(19), false);
  assert.equal(after(25, 25, 25), false);
  assert.equal(after(31, 31, 31), true);
  const far = new PredictionSwitch("auto");
  far.measured(200);
  assert.equal(far.isOn, true, "nobody waits for a second sample at that distance");
  far.choice = "off";
  assert.equal(far.isOn, false);
  assert.equal(new PredictionSwitch("on").isOn, true);
});

test("the queue of input says where text ends and how far the pty has it", () => {
  const queue = new InputQueue(4);
  queue.push("abcdef");
  assert.deepEqual([queue.end, queue.delivered], [6, 0]);
  queue.next();
  queue.next();
  queue.acknowledge(1);
  assert.deepEqual([queue.end, queue.delivered], [6, 4]);
  queue.push("g");
  assert.equal(queue.end, 7);
  queue.dropWaiting();
  assert.equal(queue.end, 6);
  queue.restart(9, 4);
  assert.deepEqual([queue.end, queue.delivered], [0, 0]);
});
