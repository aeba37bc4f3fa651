/**
 * The page's protocol, version 1, message by message (docs/protocol.md).
 *
 * Nothing from the server is believed as it comes: each `parse…` function checks types and
 * ranges and answers `undefined` for what does not fit.
 */

export const PROTOCOL_VERSION = 1;

export const MIN_COLS = 2;
export const MIN_ROWS = 1;
/** Largest number of columns or rows that the server accepts. */
export const MAX_CELLS = 1000;

/** UTF-16 code units of one `in` message until `joined` tells the server's own limit. */
export const DEFAULT_MAX_INPUT = 16_384;
/** Upper bound for a `maxInput` from the server: six JSON bytes a unit stay below its 1 MB message limit. */
const LARGEST_MAX_INPUT = 131_072;

/** Longest text of the server that is shown, in UTF-16 code units; the rest is cut off. */
const MAX_TEXT = 600;

export interface WindowSize {
  readonly cols: number;
  readonly rows: number;
}

const ROLES = ["owner", "editor", "viewer"] as const;
export type Role = (typeof ROLES)[number];

const MODES = ["tmux", "exclusive", "container", "direct"] as const;
export type Mode = (typeof MODES)[number];

const END_REASONS = ["exited", "detached", "taken-over", "server-exited", "killed", "closing"] as const;
export type EndReason = (typeof END_REASONS)[number];

const RESET_REASONS = ["behind", "lost", "replay"] as const;
export type ResetReason = (typeof RESET_REASONS)[number];

const REFUSALS = ["full", "no-session", "bad-request", "unavailable"] as const;
export type RefusalCode = (typeof REFUSALS)[number];

/** What to present to come back to the same place in the stream. */
export interface Resume {
  readonly id: string;
  /** Secret of this tab. */
  readonly key: string;
  /** Output bytes taken in so far. */
  readonly offset: number;
  /** Asks for a repaint instead of the missed bytes. */
  readonly reset: boolean;
}

/** The `auth` argument of the Socket.IO connection. */
export interface Hello {
  readonly protocol: typeof PROTOCOL_VERSION;
  readonly cols: number;
  readonly rows: number;
  readonly resume?: Resume;
}

export interface Joined {
  readonly id: string;
  readonly key: string;
  readonly resumed: boolean;
  /** Position of the next output byte. */
  readonly offset: number;
  /** Number of the last input message that the server accepted. */
  readonly input: number;
  readonly role: Role;
  readonly mode: Mode;
  readonly session: string;
  readonly title: string;
  readonly version: string;
  readonly maxInput: number;
}

export interface Out {
  readonly offset: number;
  readonly data: Uint8Array;
}

export interface Reset {
  readonly offset: number;
  readonly reason: ResetReason;
  /** The terminal is to be cleared; otherwise what follows repaints all of it. */
  readonly hard: boolean;
}

export interface Exit {
  readonly exitCode: number;
  /** 0 when no signal ended the pty. */
  readonly signal: number;
  readonly reason: EndReason;
  readonly message: string;
  readonly restart: boolean;
}

export interface Notice {
  readonly level: "info" | "warning";
  readonly text: string;
}

/** A connection that the server does not want. */
export interface Refusal {
  readonly code: RefusalCode;
  readonly hint: string;
}

/** Returns text without control and bidirectional formatting characters, on one line, cut at `limit` units. */
export function plainText(value: unknown, limit = MAX_TEXT): string {
  if (typeof value !== "string") return "";
  const line = value
    .slice(0, limit * 2)
    .replace(/[\s\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/g, " ")
    .trim();
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isKey(value: unknown): value is string {
  return typeof value === "string" && value.length > 0 && value.length <= 256;
}

function oneOf<T extends string>(words: readonly T[], value: unknown): T | undefined {
  return words.find((word) => word === value);
}

/** Returns the nearest window size that the server accepts. */
export function clampSize(size: WindowSize): WindowSize {
  const clamp = (n: number, low: number): number =>
    Number.isFinite(n) ? Math.min(Math.max(Math.trunc(n), low), MAX_CELLS) : low;
  return { cols: clamp(size.cols, MIN_COLS), rows: clamp(size.rows, MIN_ROWS) };
}

export function parseJoined(value: unknown): Joined | undefined {
  if (!isRecord(value)) return undefined;
  const role = oneOf(ROLES, value["role"]);
  const mode = oneOf(MODES, value["mode"]);
  const { id, key, offset, input, maxInput } = value;
  if (!isKey(id) || !isKey(key) || !isCount(offset) || !isCount(input)) return undefined;
  if (role === undefined || mode === undefined) return undefined;
  const unitsAreSane = isCount(maxInput) && maxInput >= 2;
  return {
    id,
    key,
    offset,
    input,
    role,
    mode,
    resumed: value["resumed"] === true,
    session: plainText(value["session"]),
    title: plainText(value["title"]),
    version: plainText(value["version"], 40),
    maxInput: unitsAreSane ? Math.min(maxInput, LARGEST_MAX_INPUT) : DEFAULT_MAX_INPUT,
  };
}

export function parseOut(offset: unknown, data: unknown): Out | undefined {
  if (!isCount(offset)) return undefined;
  if (data instanceof ArrayBuffer) return { offset, data: new Uint8Array(data) };
  if (data instanceof Uint8Array) return { offset, data };
  return undefined;
}

export function parseReset(value: unknown): Reset | undefined {
  if (!isRecord(value) || !isCount(value["offset"])) return undefined;
  const reason = oneOf(RESET_REASONS, value["reason"]) ?? "lost";
  return { offset: value["offset"], reason, hard: value["hard"] !== false };
}

export function parseInack(seq: unknown): number | undefined {
  return isCount(seq) ? seq : undefined;
}

export function parseSize(value: unknown): WindowSize | undefined {
  if (!isRecord(value) || !isCount(value["cols"]) || !isCount(value["rows"])) return undefined;
  return clampSize({ cols: value["cols"], rows: value["rows"] });
}

/** Never fails: whatever an `exit` carries, the pty has ended. */
export function parseExit(value: unknown): Exit {
  const exit = isRecord(value) ? value : {};
  const number = (n: unknown): number => (Number.isSafeInteger(n) ? (n as number) : 0);
  return {
    exitCode: number(exit["exitCode"]),
    signal: number(exit["signal"]),
    reason: oneOf(END_REASONS, exit["reason"]) ?? "exited",
    message: plainText(exit["message"]),
    restart: exit["restart"] === true,
  };
}

export function parseNotice(value: unknown): Notice | undefined {
  if (!isRecord(value)) return undefined;
  const text = plainText(value["text"]);
  return text === "" ? undefined : { level: value["level"] === "warning" ? "warning" : "info", text };
}

/** Reads the `data` of a Socket.IO `connect_error`. */
export function parseRefusal(value: unknown): Refusal | undefined {
  if (!isRecord(value)) return undefined;
  const code = oneOf(REFUSALS, value["code"]);
  return code && { code, hint: plainText(value["hint"]) };
}
