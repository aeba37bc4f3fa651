// Terminals without a page: each line on stdin is a command, each query is answered by a line.
// tests/screens.py is the other side and says what a state holds.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

console.warn = () => {}; // xterm.js warns of writeSync, which is only unreliable with handlers that wait
const require = createRequire(import.meta.url);
const { Terminal } = require("@xterm/headless");
const { UnicodeGraphemesAddon } = require("@xterm/addon-unicode-graphemes");

const terminals = new Map();
const titles = new Map();

const FLAGS = {
  bold: (cell) => cell.isBold(),
  dim: (cell) => cell.isDim(),
  italic: (cell) => cell.isItalic(),
  underline: (cell) => cell.isUnderline(),
  blink: (cell) => cell.isBlink(),
  inverse: (cell) => cell.isInverse(),
  invisible: (cell) => cell.isInvisible(),
  strike: (cell) => cell.isStrikethrough(),
  overline: (cell) => cell.isOverline(),
};

const hex = (value) => `#${value.toString(16).padStart(6, "0")}`;

function foreground(cell) {
  if (cell.isFgDefault()) return "";
  return cell.isFgRGB() ? hex(cell.getFgColor()) : String(cell.getFgColor());
}

function background(cell) {
  if (cell.isBgDefault()) return "";
  return cell.isBgRGB() ? hex(cell.getBgColor()) : String(cell.getBgColor());
}

function underline(cell) {
  if (!cell.isUnderline()) return "";
  const extended = cell.extended;
  return `${extended.underlineStyle} ${extended.underlineColor}`;
}

function link(terminal, cell) {
  const id = cell.extended.urlId;
  return id ? (terminal._core._oscLinkService.getLinkData(id)?.uri ?? "") : "";
}

function describe(terminal, cell) {
  // Most cells have no attribute at all.
  const plain = cell.isAttributeDefault() && !cell.hasExtendedAttrs();
  const look = plain
    ? ["", "", "", "", ""]
    : [
        foreground(cell),
        background(cell),
        Object.keys(FLAGS).filter((name) => FLAGS[name](cell)).join(" "),
        cell.hasExtendedAttrs() ? underline(cell) : "",
        cell.hasExtendedAttrs() ? link(terminal, cell) : "",
      ];
  return [cell.getChars(), cell.getWidth(), ...look];
}

// A row: whether it goes on from the row above, and its cells, equal neighbours counted.
function row(terminal, line) {
  const runs = [];
  let last = "";
  for (let x = 0; x < terminal.cols; x++) {
    const cell = describe(terminal, line.getCell(x));
    const key = JSON.stringify(cell);
    if (key === last) runs[runs.length - 1][0]++;
    else runs.push([1, ...cell]);
    last = key;
  }
  return [line.isWrapped, runs];
}

function modes(terminal) {
  const core = terminal._core;
  const { cursorStyle, cursorBlink } = core.coreService.decPrivateModes;
  return {
    ...terminal.modes,
    mouseEncoding: core.coreMouseService.activeEncoding,
    cursorVisible: !core.coreService.isCursorHidden,
    cursorStyle: cursorStyle ?? "",
    cursorBlink: cursorBlink ?? false,
  };
}

// What is not seen, and decides what the next bytes do.
function hidden(terminal) {
  const core = terminal._core;
  const buffer = core._bufferService.buffer;
  const look = core._inputHandler._curAttrData;
  return {
    scrollTop: buffer.scrollTop,
    scrollBottom: buffer.scrollBottom,
    foreground: look.fg,
    background: look.bg,
    savedCursor: [buffer.savedX, buffer.savedY],
    tabs: Object.keys(buffer.tabs).join(" "),
    charset: core._charsetService.glevel ?? 0,
    insideSequence: core._inputHandler._parser.currentState !== 0,
  };
}

function state(name, withScrollback) {
  const terminal = terminals.get(name);
  const buffer = terminal.buffer.active;
  const rows = [];
  const first = withScrollback ? 0 : buffer.baseY;
  for (let y = first; y < buffer.baseY + terminal.rows; y++)
    rows.push(row(terminal, buffer.getLine(y)));
  return {
    cols: terminal.cols,
    rows: terminal.rows,
    buffer: buffer.type,
    cursor: [buffer.cursorX, buffer.cursorY],
    title: titles.get(name),
    modes: modes(terminal),
    hidden: hidden(terminal),
    lines: rows,
  };
}

const COMMANDS = {
  open({ name, cols, rows, scrollback }) {
    COMMANDS.close({ name });
    const terminal = new Terminal({ cols, rows, scrollback, allowProposedApi: true });
    terminal.loadAddon(new UnicodeGraphemesAddon()); // as the page
    titles.set(name, "");
    terminal.onTitleChange((title) => titles.set(name, title));
    terminals.set(name, terminal);
  },
  close({ name }) {
    terminals.get(name)?.dispose();
    terminals.delete(name);
  },
  feed({ name, data }) {
    terminals.get(name)._core.writeSync(Buffer.from(data, "base64"));
  },
  resize({ name, cols, rows }) {
    terminals.get(name).resize(cols, rows);
  },
  state: ({ name, scrollback }) => state(name, scrollback),
};

for await (const line of createInterface({ input: process.stdin, terminal: false })) {
  const request = JSON.parse(line);
  const answer = COMMANDS[request.do](request);
  if (answer !== undefined) process.stdout.write(`${JSON.stringify(answer)}\n`);
}
