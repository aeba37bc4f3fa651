/** What every check of a message is made of. Pure. */

/** Longest text of the server that is shown, in UTF-16 code units; the rest is cut off. */
const MAX_TEXT = 600;

/** Returns text without control and bidirectional formatting characters, on one line, cut at `limit` units. */
export function plainText(value: unknown, limit = MAX_TEXT): string {
  if (typeof value !== "string") return "";
  const line = value
    .slice(0, limit * 2)
    .replace(/[\s\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+/g, " ")
    .trim();
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Returns a finite number that is not negative; else `undefined`. */
export function amount(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** Tells whether a value is an id or a key: short text, not empty. */
export function isKey(value: unknown): value is string {
  return typeof value === "string" && value.length > 0 && value.length <= 256;
}

export function oneOf<T extends string>(words: readonly T[], value: unknown): T | undefined {
  return words.find((word) => word === value);
}

/** Reads each element that `read` understands, `limit` at most; no list is an empty one. */
export function listOf<T>(value: unknown, read: (element: unknown) => T | undefined, limit: number): T[] {
  if (!Array.isArray(value)) return [];
  return value.slice(0, limit).flatMap((element) => {
    const good = read(element);
    return good === undefined ? [] : [good];
  });
}
