/** Who is here: the button with their number, the list with what can be done, the door, the own hand. */

import { type Api, ApiError } from "./api.ts";
import { byId, onPress, setText, wireDialog } from "./dom.ts";
import { counted } from "./format.ts";
import { News } from "./news.ts";
import { headcount, inOrder, nameOf, type People } from "./peopledata.ts";
import { PersonRow } from "./personrow.ts";
import type { Role } from "./protocol.ts";
import { type Deed, mayAdmit, mayGive, mayRecord, shareable } from "./rights.ts";
import { toast } from "./toast.ts";

/** How often times are brought up to date while the list is open, in milliseconds. */
const REFRESH_MS = 5_000;

export interface PeopleHandlers {
  share(): void;
  recordings(): void;
  raiseHand(isUp: boolean): void;
  closed(): void;
}

/** What each deed asks the server for: the path and what goes with it. */
const REQUESTS: Record<Deed, readonly [string, Record<string, string>]> = {
  admit: ["admit", {}],
  refuse: ["refuse", {}],
  give: ["grant", { role: "editor" }],
  take: ["grant", { role: "viewer" }],
  "make-owner": ["grant", { role: "owner" }],
  remove: ["kick", {}],
};

export class PeopleView {
  readonly #dialog: HTMLDialogElement;
  readonly #hand = byId<HTMLButtonElement>("hand");
  readonly #approve = byId<HTMLInputElement>("door-approve");
  readonly #locked = byId<HTMLInputElement>("door-locked");
  readonly #rows = new Map<string, PersonRow>();
  readonly #news: News;
  #ownId = "";
  #role: Role = "viewer";
  #people: People | undefined;
  #shownAt = 0;
  #timer: number | undefined;

  constructor(
    private readonly api: Api,
    handlers: PeopleHandlers,
  ) {
    this.#dialog = wireDialog("people", () => {
      clearInterval(this.#timer);
      handlers.closed();
    });
    this.#news = new News({
      give: (who) => void this.#act(who, "give"),
      admit: (who) => void this.#act(who, "admit"),
      list: () => this.open(),
    });
    for (const id of ["people-open", "locked"]) onPress(id, () => this.open());
    onPress("people-share", () => handlers.share());
    onPress("people-recordings", () => handlers.recordings());
    this.#hand.addEventListener("click", () => {
      const isUp = this.#hand.getAttribute("aria-pressed") !== "true";
      this.#showHand(isUp);
      handlers.raiseHand(isUp);
    });
    for (const [field, name] of [[this.#approve, "approve"], [this.#locked, "lock"]] as const) {
      field.addEventListener("change", () => void this.#setDoor(field, name));
    }
  }

  /** Takes what this tab is, after joining; what was known of the others is void. */
  restart(ownId: string, role: Role): void {
    this.#ownId = ownId;
    this.#news.restart();
    this.#showHand(false);
    this.setRole(role);
  }

  setRole(role: Role): void {
    this.#role = role;
    const mayShare = shareable(role).length > 0;
    byId("hand").hidden = role !== "viewer";
    byId("share-open").hidden = byId("people-share").hidden = !mayShare;
    byId("recordings-open").hidden = byId("people-recordings").hidden = !mayRecord(role);
    byId("people-tools").hidden = !mayShare && !mayRecord(role);
    byId("door").hidden = !mayAdmit(role);
    if (role !== "viewer") this.#showHand(false);
    if (this.#people) this.#render(this.#people);
  }

  show(people: People): void {
    this.#people = people;
    this.#shownAt = Date.now();
    const own = people.here.find((person) => person.id === this.#ownId);
    if (own) this.#showHand(own.hand);
    this.#render(people);
    this.#news.show(people, this.#ownId, this.#role);
  }

  open(): void {
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    this.#refresh();
    clearInterval(this.#timer);
    this.#timer = window.setInterval(() => this.#refresh(), REFRESH_MS);
  }

  close(): void {
    this.#dialog.close();
  }

  /** The session is over: nothing can be done about anybody any more. */
  ended(): void {
    this.close();
    this.#news.restart();
  }

  #refresh(): void {
    if (this.#people) this.#renderList(this.#people);
  }

  #render(people: People): void {
    this.#showButton(people);
    this.#approve.checked = people.approve;
    this.#locked.checked = people.locked;
    byId("locked").hidden = !people.locked || !mayAdmit(this.#role);
    if (this.#dialog.open) this.#renderList(people);
  }

  #showButton(people: People): void {
    const count = headcount(people);
    const asking = mayGive(this.#role) ? people.here.filter((person) => person.hand) : [];
    const waiting = mayAdmit(this.#role) ? people.here.filter((person) => person.state === "waiting") : [];
    setText(byId("people-number"), count > 1 ? String(count) : "");
    setText(byId("people-count"), String(count));
    byId("people-dot").hidden = asking.length + waiting.length === 0;
    const words = [`${count} here`];
    if (waiting.length > 0) words.push(`${waiting.length} waiting to be let in`);
    if (asking.length > 0) words.push(`${asking.map(nameOf).slice(0, 3).join(", ")} asking for the keyboard`);
    const label = `People: ${words.join(", ")}`;
    byId("people-open").setAttribute("aria-label", label);
    byId("people-open").title = label;
  }

  #renderList(people: People): void {
    const list = byId("people-list");
    const now = Date.now() / 1000;
    const laterS = (Date.now() - this.#shownAt) / 1000;
    const ids = new Set(people.here.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      const hadFocus = row.element.contains(document.activeElement);
      row.element.remove();
      this.#rows.delete(id);
      if (hadFocus) list.focus();
    }
    let place: Element | null = list.firstElementChild;
    for (const person of inOrder(people, this.#ownId)) {
      let row = this.#rows.get(person.id);
      if (!row) {
        row = new PersonRow((deed) => this.#act(person.id, deed));
        this.#rows.set(person.id, row);
      }
      row.show(person, this.#ownId, this.#role, now, laterS);
      // What stands where it belongs is not moved: a move would take the focus away.
      if (place === row.element) place = place.nextElementSibling;
      else list.insertBefore(row.element, place);
    }
    const listed = people.here.filter((person) => person.role === "viewer" && person.state !== "waiting").length;
    const more = Math.max(0, people.watching - listed);
    setText(byId("people-more"), more > 0 ? `and ${counted(more, "more viewer")}` : "");
  }

  #showHand(isUp: boolean): void {
    this.#hand.setAttribute("aria-pressed", String(isUp));
    setText(byId("hand-words"), isUp ? "Hand is up" : "Raise hand");
    this.#hand.title = isUp ? "You ask for the keyboard; press to take it back" : "Ask for the keyboard";
  }

  async #act(who: string, deed: Deed): Promise<void> {
    const [path, more] = REQUESTS[deed];
    await say(this.api.post(path, { who, ...more }));
  }

  async #setDoor(field: HTMLInputElement, name: "approve" | "lock"): Promise<void> {
    const isOn = field.checked;
    if (!(await say(this.api.post(name, { on: isOn })))) field.checked = !isOn;
  }
}

/** Waits for a request and shows its failure; resolves to whether it was done. */
export async function say(request: Promise<unknown>): Promise<boolean> {
  try {
    await request;
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.message, { isWarning: true, group: "api" });
    return false;
  }
}
