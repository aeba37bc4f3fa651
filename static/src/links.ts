/** Links as the server tells of them, checked; their words. Pure. */

import { amount, isCount, isKey, isRecord, listOf, oneOf, plainText } from "./checks.ts";
import { counted, moment, timeLeft } from "./format.ts";
import { MAX_NAME, type Role, ROLES } from "./protocol.ts";

/** Longest link that is shown; a QR code holds about 2300 bytes. */
const MAX_LINK = 2000;

export interface SharedLink {
  readonly id: string;
  readonly role: Role;
  readonly name: string;
  /** In seconds since 1970. */
  readonly endsAt: number;
  /** How often it can be opened still; `null` for any number. */
  readonly uses: number | null;
  readonly opened: number;
  /** Ids of the clients that came by it and are here. */
  readonly people: readonly string[];
}

export interface NewLink {
  readonly address: string;
  readonly role: Role;
  readonly name: string;
  readonly endsAt: number;
  readonly uses: number | null;
}

/** Reads the answer to `api/links`, which has the oldest first; returns the newest first. */
export function parseLinks(value: unknown): SharedLink[] {
  return listOf(isRecord(value) ? value["links"] : undefined, parseLink, 1000).reverse();
}

/** Tells whether a link opens nothing any more, and nobody is here by it. */
export function isSpent(link: SharedLink, now: number): boolean {
  return (link.uses === 0 || link.endsAt <= now) && link.people.length === 0;
}

function parseLink(value: unknown): SharedLink | undefined {
  if (!isRecord(value) || !isKey(value["id"])) return undefined;
  const role = oneOf(ROLES, value["role"]);
  if (role === undefined) return undefined;
  return {
    id: value["id"],
    role,
    name: plainText(value["name"], MAX_NAME),
    endsAt: amount(value["endsAt"]) ?? 0,
    uses: isCount(value["uses"]) ? value["uses"] : null,
    opened: isCount(value["opened"]) ? value["opened"] : 0,
    people: listOf(value["people"], (id) => (isKey(id) ? id : undefined), 2000),
  };
}

/** Reads the answer to `api/share`; `page` is the address that this page was reached by. */
export function parseNewLink(value: unknown, page: URL): NewLink | undefined {
  if (!isRecord(value) || !isKey(value["id"])) return undefined;
  const role = oneOf(ROLES, value["role"]);
  const address = shareAddress(value["url"], value["query"], page);
  if (role === undefined || address === undefined) return undefined;
  const uses = isCount(value["uses"]) ? value["uses"] : null;
  return { address, role, name: plainText(value["name"], MAX_NAME), endsAt: amount(value["endsAt"]) ?? 0, uses };
}

/**
 * Returns the address to hand out: the bridge's own, unless only this machine can reach that and the page was
 * reached by another one, through a proxy that the bridge does not know of.
 */
export function shareAddress(url: unknown, query: unknown, page: URL): string | undefined {
  const own = addressOf(url);
  const here = typeof query === "string" && query.startsWith("?") ? addressOf(new URL(query, page).href) : undefined;
  if (!own) return here?.href;
  return here && isLoopback(own) && !isLoopback(here) ? here.href : own.href;
}

function addressOf(text: unknown): URL | undefined {
  if (typeof text !== "string" || text.length > MAX_LINK) return undefined;
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url : undefined;
  } catch {
    return undefined;
  }
}

/** Tells whether an address leads to the machine that opens it. */
export function isLoopback(url: URL): boolean {
  return url.hostname === "localhost" || url.hostname === "[::1]" || url.hostname.startsWith("127.");
}

const ROLE_DEEDS: Record<Role, string> = { viewer: "watch", editor: "type", owner: "own the session" };
const ROLE_NOUNS: Record<Role, string> = { viewer: "To watch", editor: "To type", owner: "To own" };

/** Returns the sentence about a link that was just made. */
export function newLinkWords(link: Pick<NewLink, "role" | "name" | "endsAt" | "uses">, now: number): string {
  const who = link.name !== "" ? link.name : link.uses === 1 ? "Whoever opens it first" : "Whoever opens it";
  const how = link.uses === 1 ? "in one browser" : link.uses === null ? "in any number of browsers" : `in ${link.uses} browsers`;
  return `${who} may ${ROLE_DEEDS[link.role]}, ${how}, until ${moment(link.endsAt, now)}.`;
}

/** Returns the two lines about a link in the list. */
export function linkWords(link: SharedLink, names: readonly string[], now: number): readonly [string, string] {
  const title = link.name === "" ? ROLE_NOUNS[link.role] : `${ROLE_NOUNS[link.role]}, for ${link.name}`;
  const isUsedUp = link.uses === 0;
  const left = isUsedUp ? "used up" : timeLeft(link.endsAt, now);
  const uses = link.uses === null || isUsedUp ? "" : counted(link.uses, "use");
  const opened = link.opened === 0 ? "not opened yet" : `opened ${link.opened === 1 ? "once" : `${link.opened} times`}`;
  const here = names.length === 0 ? "" : `here: ${names.slice(0, 4).join(", ")}${names.length > 4 ? " …" : ""}`;
  return [title, [left, uses, opened, here].filter((part) => part !== "").join(" · ")];
}
