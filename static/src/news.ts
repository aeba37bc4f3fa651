/** Tells of what happens among the people, one line at a time: who comes and goes, who asks, who waits. */

import { addChanges, type Changes, changesOf, changeWords, headcount, isSame, nameOf, type People, type Person } from "./peopledata.ts";
import type { Role } from "./protocol.ts";
import { mayAdmit, mayGive } from "./rights.ts";
import { dropToasts, toast } from "./toast.ts";

/** How long comings are gathered before they are told, in milliseconds. */
const GATHER_MS = 1_200;

/** How long it takes until who left counts as gone, in milliseconds: a page that is loaded again is back sooner. */
const GONE_AFTER_MS = 3_000;

/** With more people than this, those who only watch are told nothing. */
const LARGE_AUDIENCE = 20;

const NOTHING: Changes = { came: [], left: [] };

export interface NewsHandlers {
  give(who: string): void;
  admit(who: string): void;
  /** Opens the list. */
  list(): void;
}

export class News {
  #before: People | undefined;
  #untold = NOTHING;
  /** When those who left were missed first, by id. */
  readonly #missedAt = new Map<string, number>();
  #timer: number | undefined;
  #askedBefore = "";
  #waitedBefore = "";

  constructor(private readonly handlers: NewsHandlers) {}

  /** Begins anew: the next state is where changes are counted from. */
  restart(): void {
    this.#before = undefined;
    this.#untold = NOTHING;
    this.#missedAt.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#askedBefore = this.#waitedBefore = "";
    for (const group of ["hands", "waiting"]) dropToasts(group);
  }

  show(people: People, ownId: string, role: Role): void {
    if (this.#before) this.#gather(changesOf(this.#before, people, ownId), people, role);
    this.#before = people;
    this.#showHands(people, ownId, role);
    this.#showWaiting(people, role);
  }

  #gather(changes: Changes, people: People, role: Role): void {
    if (role === "viewer" && headcount(people) > LARGE_AUDIENCE) return;
    this.#untold = addChanges(this.#untold, changes);
    for (const { id } of changes.left) this.#missedAt.set(id, performance.now());
    this.#tellSoon();
  }

  #tellSoon(): void {
    if (this.#timer !== undefined || changeWords(this.#untold) === "") return;
    this.#timer = window.setTimeout(() => {
      this.#timer = undefined;
      this.#tell();
      this.#tellSoon();
    }, GATHER_MS);
  }

  #tell(): void {
    const { came, left } = this.#untold;
    const now = performance.now();
    const isGone = ({ id }: Person): boolean => now - (this.#missedAt.get(id) ?? 0) >= GONE_AFTER_MS;
    const present = this.#before?.here ?? [];
    const isBack = (one: Person): boolean => one.name !== "" && present.some((other) => isSame(one, other));
    const words = changeWords({ came, left: left.filter((one) => isGone(one) && !isBack(one)) });
    this.#untold = { came: [], left: left.filter((one) => !isGone(one)) };
    const missed = new Set(this.#untold.left.map(({ id }) => id));
    for (const id of this.#missedAt.keys()) if (!missed.has(id)) this.#missedAt.delete(id);
    if (words !== "") toast(words, { group: "people", isQuiet: true });
  }

  #showHands(people: People, ownId: string, role: Role): void {
    const asking = mayGive(role) ? people.here.filter((person) => person.hand && person.id !== ownId) : [];
    const [first] = asking;
    const ids = asking.map(({ id }) => id).join(" ");
    if (ids === this.#askedBefore) return;
    this.#askedBefore = ids;
    dropToasts("hands");
    if (!first) return;
    const { give, list } = this.handlers;
    if (asking.length === 1) {
      const action = { label: "Give the keyboard", run: () => give(first.id) };
      toast(`${nameOf(first)} asks for the keyboard`, { group: "hands", action });
    } else {
      toast(`${asking.length} people ask for the keyboard`, { group: "hands", action: { label: "Show", run: list } });
    }
  }

  #showWaiting(people: People, role: Role): void {
    const waiting = mayAdmit(role) ? people.here.filter((person) => person.state === "waiting") : [];
    const [first] = waiting;
    const ids = waiting.map(({ id }) => id).join(" ");
    if (ids === this.#waitedBefore) return;
    this.#waitedBefore = ids;
    dropToasts("waiting");
    if (!first) return;
    const { admit, list } = this.handlers;
    if (waiting.length === 1) {
      const action = { label: "Let in", run: () => admit(first.id) };
      toast(`${nameOf(first)} waits to be let in`, { group: "waiting", action });
    } else {
      toast(`${waiting.length} people wait to be let in`, { group: "waiting", action: { label: "Show", run: list } });
    }
  }
}
