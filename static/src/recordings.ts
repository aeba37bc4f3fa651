/** Recordings as the server tells of them, checked; their words. Pure. */

import { amount, isCount, isRecord, listOf, plainText } from "./checks.ts";
import { byteCount, clock } from "./format.ts";

export interface RecordingFile {
  /** Name of the file, without a folder. */
  readonly name: string;
  readonly bytes: number;
  readonly seconds: number | undefined;
  /** In seconds since 1970; 0 when it is not known. */
  readonly startedAt: number;
  /** It is being written now. */
  readonly isOpen: boolean;
}

/** Reads the answer to `api/recordings`; the newest first. */
export function parseRecordings(value: unknown): RecordingFile[] {
  const files = listOf(isRecord(value) ? value["recordings"] : undefined, parseFile, 1000);
  return files.sort((a, b) => b.startedAt - a.startedAt || (a.name < b.name ? 1 : -1));
}

function parseFile(value: unknown): RecordingFile | undefined {
  if (!isRecord(value)) return undefined;
  const { name } = value;
  // The name goes into addresses: a plain file name, or nothing.
  if (typeof name !== "string" || !/^[^/\\\u0000-\u001f]{1,255}$/.test(name) || name === "." || name === "..") return undefined;
  return {
    name,
    bytes: isCount(value["bytes"]) ? value["bytes"] : 0,
    seconds: amount(value["seconds"]),
    startedAt: amount(value["startedAt"]) ?? 0,
    isOpen: value["isOpen"] === true,
  };
}

/** Returns the line below the name of a recording; `when` is its start in words. */
export function recordingWords(file: RecordingFile, when: string): string {
  const long = file.seconds === undefined ? "" : clock(file.seconds);
  return [when, long, byteCount(file.bytes), file.isOpen ? "being written" : ""].filter((part) => part !== "").join(" · ");
}

/** Returns the address of a recording's file, relative to the page. */
export function fileAddress(name: string): string {
  return `recordings/${encodeURIComponent(name)}`;
}

/** Returns the address of the page that plays a recording, relative to this page. */
export function playerAddress(name: string): string {
  return `replay?name=${encodeURIComponent(name)}`;
}

/** Returns a name for showing. */
export function shownName(file: RecordingFile): string {
  return plainText(file.name, 120);
}
