/**
 * The page's protocol, version 1, message by message (docs/protocol.md).
 *
 * Nothing from the server is believed as it comes: each `parse…` function checks types and
 * ranges and answers `undefined` for what does not fit.
 */

import { isCount, isKey, isRecord, oneOf, plainText } from "./checks.ts";

export const PROTOCOL_VERSION = 1;

export const MIN_COLS = 2;
export const MIN_ROWS = 1;
/** Largest number of columns or rows that the server accepts. */
export const MAX_CELLS = 1000;

/** UTF-16 code units of one `in` message until `joined` tells the server's own limit. */
export const DEFAULT_MAX_INPUT = 16_384;
/** Upper bound for a `maxInput` from the server: six JSON bytes a unit stay below its 1 MB message limit. */
const LARGEST_MAX_INPUT = 131_072;

/** Longest name of a person, in characters, as the server keeps it. */
export const MAX_NAME = 40;

export interface WindowSize {
  readonly cols: number;
  readonly rows: number;
}

export const ROLES = ["owner", "editor", "viewer"] as const;
export type Role = (typeof ROLES)[number];

const MODES = ["tmux", "exclusive", "container", "direct"] as const;
export type Mode = (typeof MODES)[number];

/** Whose window is shown: the one that fits this page, or the session's, scaled; `auto` leaves it to the server. */
export const DISPLAYS = ["auto", "own", "session"] as const;
export type Display = (typeof DISPLAYS)[number];

const END_REASONS = ["exited", "detached", "taken-over", "server-exited", "killed", "closing", "removed"] as const;
export type EndReason = (typeof END_REASONS)[number];

const RESET_REASONS = ["behind", "lost", "replay"] as const;
export type ResetReason = (typeof RESET_REASONS)[number];

const REFUSALS = ["full", "no-session", "bad-request", "unavailable", "locked", "refused", "removed"] as const;
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
  readonly display: Display;
  /** What to call the person; the name of a link goes before it. */
  readonly name: string;
  readonly client: "page";
  readonly resume?: Resume;
}

/** The recording that is under way. */
export interface Recording {
  /** When it began, in seconds since 1970. */
  readonly since: number;
  readonly name: string;
  /** What is typed is in it, too. */
  readonly input: boolean;
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
  /** What everybody calls this person; empty when nobody has said. */
  readonly name: string;
  readonly display: Display;
  /** The session's window is shown, scaled. */
  readonly follows: boolean;
  readonly recording: Recording | null;
}

/** The role is another one now. */
export interface RoleChange {
  readonly role: Role;
  /** Who changed it; empty when it is not known. */
  readonly by: string;
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
    name: plainText(value["name"], MAX_NAME),
    display: oneOf(DISPLAYS, value["display"]) ?? "own",
    follows: value["follows"] === true,
    recording: parseRecording(value["recording"]),
  };
}

/** Reads what tells of a recording; `null`: there is none. */
export function parseRecording(value: unknown): Recording | null {
  if (!isRecord(value)) return null;
  const since = typeof value["since"] === "number" && Number.isFinite(value["since"]) ? value["since"] : 0;
  return { since, name: plainText(value["name"], 200), input: value["input"] === true };
}

export function parseRole(value: unknown): RoleChange | undefined {
  if (!isRecord(value)) return undefined;
  const role = oneOf(ROLES, value["role"]);
  return role && { role, by: plainText(value["by"], MAX_NAME) };
}

export function parseFollows(value: unknown): boolean | undefined {
  if (!isRecord(value) || typeof value["follows"] !== "boolean") return undefined;
  return value["follows"];
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

/** Reads the `data` of a Socket.IO `connect_error`, or the argument of `refused`. */
export function parseRefusal(value: unknown): Refusal | undefined {
  if (!isRecord(value)) return undefined;
  const code = oneOf(REFUSALS, value["code"]);
  return code && { code, hint: plainText(value["hint"]) };
}
