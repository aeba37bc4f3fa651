/** Who is here, as the server tells it: checked, counted, compared. Pure. */

import { amount, isCount, isKey, isRecord, listOf, oneOf, plainText } from "./checks.ts";
import { MAX_NAME, parseRecording, type Recording, type Role, ROLES } from "./protocol.ts";

const WAYS = ["page", "connect", "colab", "ssh"] as const;
export type Way = (typeof WAYS)[number];

const STATES = ["here", "away", "waiting"] as const;
export type PersonState = (typeof STATES)[number];

/** Most people that are listed. */
const MAX_ROWS = 2000;

export interface Person {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly via: Way | undefined;
  /** When the person came, in seconds since 1970. */
  readonly since: number;
  readonly idleS: number;
  readonly cols: number;
  readonly rows: number;
  readonly follows: boolean;
  readonly rttMs: number | undefined;
  readonly hand: boolean;
  readonly state: PersonState;
  readonly link: string;
  readonly address: string;
}

export interface People {
  /** Everybody; for viewers owners, editors and themselves. */
  readonly here: readonly Person[];
  /** How many viewers there are in all. */
  readonly watching: number;
  readonly locked: boolean;
  readonly approve: boolean;
  readonly recording: Recording | null;
}

export function parsePerson(value: unknown): Person | undefined {
  if (!isRecord(value)) return undefined;
  const role = oneOf(ROLES, value["role"]);
  const { id } = value;
  if (!isKey(id) || role === undefined) return undefined;
  return {
    id,
    role,
    name: plainText(value["name"], MAX_NAME),
    via: oneOf(WAYS, value["via"]),
    since: amount(value["since"]) ?? 0,
    idleS: amount(value["idleS"]) ?? 0,
    cols: isCount(value["cols"]) ? value["cols"] : 0,
    rows: isCount(value["rows"]) ? value["rows"] : 0,
    follows: value["follows"] === true,
    rttMs: amount(value["rttMs"]),
    hand: value["hand"] === true,
    state: oneOf(STATES, value["state"]) ?? "here",
    link: plainText(value["link"], 40),
    address: plainText(value["address"], 60),
  };
}

export function parsePeople(value: unknown): People | undefined {
  if (!isRecord(value) || !Array.isArray(value["here"])) return undefined;
  return {
    here: listOf(value["here"], parsePerson, MAX_ROWS),
    watching: isCount(value["watching"]) ? value["watching"] : 0,
    locked: value["locked"] === true,
    approve: value["approve"] === true,
    recording: parseRecording(value["recording"]),
  };
}

/** Returns how many people take part; who waits at the door does not. */
export function headcount(people: People): number {
  const typing = people.here.filter((person) => person.role !== "viewer" && person.state !== "waiting");
  const watching = people.here.filter((person) => person.role === "viewer" && person.state !== "waiting");
  return typing.length + Math.max(people.watching, watching.length);
}

/** Returns what to call a person; who has no name is told apart by the id, as on the command line. */
export function nameOf(person: Pick<Person, "id" | "name" | "role">): string {
  if (person.name !== "") return person.name;
  return `${person.role === "owner" ? "Owner" : "Guest"} ${person.id}`;
}

/** Returns what stands for a person on the round sign: up to two letters of the name, else the number of the id. */
export function signOf({ id, name }: Pick<Person, "id" | "name">): string {
  return name === "" ? id.replace(/^\D+/, "").slice(-3) || "?" : initials(name);
}

/** Returns up to two letters that stand for a name. */
export function initials(name: string): string {
  const words = name.split(" ").filter((word) => word !== "");
  const first = [...(words[0] ?? "")][0] ?? "?";
  const last = words.length > 1 ? ([...(words.at(-1) ?? "")][0] ?? "") : "";
  return (first + last).toUpperCase();
}

const RANK: Record<Role, number> = { owner: 0, editor: 1, viewer: 2 };

/** Returns the rows in the order of the list: who waits, then who asks, then by role, then as they came. */
export function inOrder(people: People, ownId: string): readonly Person[] {
  const place = (person: Person): number => {
    if (person.state === "waiting") return -2;
    if (person.hand) return -1;
    return RANK[person.role] * 2 + (person.id === ownId ? 0 : 1);
  };
  return [...people.here].sort((a, b) => place(a) - place(b) || a.since - b.since || (a.id < b.id ? -1 : 1));
}

export interface Changes {
  readonly came: readonly Person[];
  readonly left: readonly Person[];
}

/**
 * Returns who came and who left between two states; this tab's own person does neither.
 *
 * Viewers see only those who type: to them, somebody who is a viewer now seems to be gone, and the other way round.
 */
export function changesOf(before: People, after: People, ownId: string): Changes {
  const isViewer = (people: People): boolean => people.here.find(({ id }) => id === ownId)?.role === "viewer";
  if (isViewer(before) !== isViewer(after)) return { came: [], left: [] };
  const present = (people: People): Map<string, Person> =>
    new Map(
      people.here.filter((one) => one.state !== "waiting" && one.id !== ownId).map((one) => [one.id, one] as const),
    );
  const old = present(before);
  const now = present(after);
  const came = [...now.values()].filter((one) => !old.has(one.id));
  const left = [...old.values()].filter((one) => !now.has(one.id));
  if (!isViewer(after)) return { came, left };
  const more = after.watching - before.watching;
  return { came: more < 0 ? [] : came, left: more > 0 ? [] : left };
}

/** Tells whether two rows are one person who loaded the page again, as far as can be seen. */
export function isSame(one: Person, other: Person): boolean {
  if (one.name !== other.name || one.via !== other.via) return false;
  return one.name !== "" || (one.role === other.role && one.address === other.address);
}

/** Adds changes to those that were not told yet; who came and left again, or left and came, is not told at all. */
export function addChanges(untold: Changes, more: Changes): Changes {
  const came = [...untold.came, ...more.came];
  const left: Person[] = [];
  for (const one of [...untold.left, ...more.left]) {
    const sameId = came.findIndex(({ id }) => id === one.id);
    const place = sameId >= 0 ? sameId : came.findIndex((other) => isSame(one, other));
    if (place >= 0) came.splice(place, 1);
    else left.push(one);
  }
  return { came, left };
}

/** Returns the line that tells of changes; empty when there is nothing to tell. */
export function changeWords({ came, left }: Changes): string {
  const part = (list: readonly Person[], verb: string): string => {
    const [first, second] = list;
    if (!first) return "";
    if (!second) return `${nameOf(first)} ${verb}`;
    if (list.length === 2) return `${nameOf(first)} and ${nameOf(second)} ${verb}`;
    return `${list.length} people ${verb}`;
  };
  return [part(came, "joined"), part(left, "left")].filter((words) => words !== "").join(", ");
}
