/** Reads recordings (asciicast v2 and v3). Where they come from is not known: everything is checked. */

export type RecordingEvent = [time: number, code: "o" | "i" | "r" | "m", data: string];

export interface Recording {
  title: string;
  cols: number;
  rows: number;
  /** Longest time without output that is to be shown, in seconds. */
  idleTimeLimit: number | undefined;
  events: RecordingEvent[];
}

/** Largest window that is shown: the player keeps memory for each cell. */
const MAX_CELLS = 1000;
const MAX_TITLE = 200;
const SIZE = /^(\d{1,4})x(\d{1,4})$/;

/** Says what is wrong with a recording, and in which line. */
export class BadRecording extends Error {
  constructor(line: number, problem: string) {
    super(`Line ${line}: ${problem}.`);
  }
}

/** Returns a text in one line, without controls. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").slice(0, MAX_TITLE).trim();
}

/** Reads a recording; throws BadRecording. A last line that was not written to its end is left out. */
export function parseRecording(text: string): Recording {
  const lines = text.split("\n");
  const header = parse(lines[0] ?? "", 1);
  if (!isObject(header)) throw new BadRecording(1, "this is no header of a recording");
  const version = header["version"];
  if (version !== 2 && version !== 3) throw new BadRecording(1, "only asciicast v2 and v3 can be played");
  const term = version === 2 ? header : isObject(header["term"]) ? header["term"] : {};
  const [cols, rows] = version === 2 ? [term["width"], term["height"]] : [term["cols"], term["rows"]];
  const size = parseSize(`${String(cols)}x${String(rows)}`);
  if (!size) throw new BadRecording(1, `the window size is none from 1x1 to ${MAX_CELLS}x${MAX_CELLS}`);
  const title = header["title"];
  const idle = header["idle_time_limit"];
  return {
    title: typeof title === "string" ? oneLine(title) : "",
    cols: size[0],
    rows: size[1],
    idleTimeLimit: isTime(idle) && idle > 0 ? idle : undefined,
    events: parseEvents(lines, version),
  };
}

function parseEvents(lines: string[], version: 2 | 3): RecordingEvent[] {
  const events: RecordingEvent[] = [];
  let last = 0;
  for (let index = 1; index < lines.length; index += 1) {
    const line = lines[index] ?? "";
    if (line.trim() === "" || (version === 3 && line.startsWith("#"))) continue;
    let event: unknown;
    try {
      event = parse(line, index + 1);
    } catch (error) {
      if (index === lines.length - 1) break;
      throw error;
    }
    if (!Array.isArray(event) || event.length !== 3) throw new BadRecording(index + 1, "this is no event");
    const [time, code, data] = event as [unknown, unknown, unknown];
    if (!isTime(time) || typeof code !== "string" || typeof data !== "string") {
      throw new BadRecording(index + 1, "this is no event");
    }
    last = version === 3 ? last + time : Math.max(last, time);
    if (code === "r" && !parseSize(data)) throw new BadRecording(index + 1, "this is no window size that can be shown");
    if (code === "m") events.push([last, code, oneLine(data)]);
    else if (code === "o" || code === "i" || code === "r") events.push([last, code, data]);
  }
  return events;
}

function parse(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch {
    throw new BadRecording(number, "this is not JSON");
  }
}

function parseSize(text: string): [number, number] | null {
  const found = SIZE.exec(text);
  const [cols, rows] = [Number(found?.[1]), Number(found?.[2])];
  const fits = (count: number): boolean => count >= 1 && count <= MAX_CELLS;
  return fits(cols) && fits(rows) ? [cols, rows] : null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTime(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
