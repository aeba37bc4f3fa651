/** One person in the list: who it is, how they are here, and what can be done about them. */

import { make, makeButton, setText } from "./dom.ts";
import { duration } from "./format.ts";
import { nameOf, type Person, signOf, type Way } from "./peopledata.ts";
import type { Role } from "./protocol.ts";
import { type Deed, deedsFor } from "./rights.ts";

const WAY_WORDS: Record<Way, string> = { page: "Browser", connect: "Terminal", colab: "Colab", ssh: "SSH" };

const ROLE_WORDS: Record<Role, string> = { owner: "Owner", editor: "Types", viewer: "Watches" };

const DEED_WORDS: Record<Deed, string> = {
  admit: "Let in",
  refuse: "Turn away",
  give: "Give keyboard",
  take: "Take keyboard back",
  "make-owner": "Make owner",
  remove: "Remove",
};

/** What cannot be undone by the button that takes its place asks again. */
const ASKS_AGAIN: Partial<Record<Deed, string>> = { remove: "Really remove?", "make-owner": "Really make owner?" };

/** How many colours the round signs have; see people.css. */
const COLOURS = 6;

/** Returns the small line below a name. `laterS`: seconds since the server told it. */
export function detailsOf(person: Person, now: number, laterS: number): string {
  const parts = [person.via ? WAY_WORDS[person.via] : "Elsewhere"];
  if (person.state === "away") parts.push("connection lost");
  if (person.since > 0) parts.push(duration(Math.max(0, now - person.since)));
  const idleS = person.idleS + laterS;
  if (person.state === "here" && person.role !== "viewer" && idleS >= 60) parts.push(`idle ${duration(idleS)}`);
  if (person.cols > 0 && person.rows > 0) parts.push(`${person.cols}×${person.rows}`);
  if (person.rttMs !== undefined && person.state === "here") parts.push(`${Math.round(person.rttMs)} ms`);
  if (person.address !== "") parts.push(person.address);
  return parts.join(" · ");
}

/** Returns the number of a colour that stays the same for a name. */
export function colourOf(name: string): number {
  let sum = 0;
  for (const unit of name) sum = (sum * 31 + (unit.codePointAt(0) ?? 0)) % 9973;
  return sum % COLOURS;
}

export class PersonRow {
  readonly element = make("li", "person");
  readonly #sign = make("span", "sign");
  readonly #name = make("span", "person-name");
  readonly #you = make("span", "soft", "you");
  readonly #hand = make("span", "hand-up", "Asks for the keyboard");
  readonly #role = make("span", "badge");
  readonly #details = make("span", "soft details");
  readonly #deeds = make("div", "deeds");
  #shownDeeds = "";

  constructor(private readonly act: (deed: Deed) => Promise<void>) {
    this.#sign.setAttribute("aria-hidden", "true");
    const line = make("span", "person-line");
    line.append(this.#name, this.#you, this.#role);
    const words = make("div", "person-words");
    words.append(line, this.#hand, this.#details);
    this.element.append(this.#sign, words, this.#deeds);
  }

  /** Shows the person as they are now; `ownId` and `ownRole` are this tab's. */
  show(person: Person, ownId: string, ownRole: Role, now: number, laterS: number): void {
    const name = nameOf(person);
    const isOwn = person.id === ownId;
    setText(this.#sign, signOf(person));
    this.#sign.dataset["colour"] = String(colourOf(name));
    setText(this.#name, name);
    this.#you.hidden = !isOwn;
    this.#hand.hidden = !person.hand;
    setText(this.#role, person.state === "waiting" ? "Waits" : ROLE_WORDS[person.role]);
    this.#role.dataset["role"] = person.state === "waiting" ? "waiting" : person.role;
    setText(this.#details, detailsOf(person, now, laterS));
    this.element.dataset["state"] = person.state;
    this.element.dataset["id"] = person.id;
    const asks = person.hand || person.state === "waiting";
    this.element.classList.toggle("asks", asks);
    this.#showDeeds(isOwn ? [] : deedsFor(ownRole, person), name, asks);
  }

  #showDeeds(deeds: readonly Deed[], name: string, isAsked: boolean): void {
    const key = [name, isAsked, ...deeds].join("\n");
    if (key === this.#shownDeeds) return;
    this.#shownDeeds = key;
    const hadFocus = this.#deeds.contains(document.activeElement);
    this.#deeds.replaceChildren(...deeds.map((deed, place) => this.#button(deed, name, isAsked && place === 0)));
    this.#deeds.hidden = deeds.length === 0;
    if (hadFocus) this.#deeds.querySelector("button")?.focus();
  }

  #button(deed: Deed, name: string, isPrimary: boolean): HTMLButtonElement {
    let isSure = false;
    const again = ASKS_AGAIN[deed];
    const label = (words: string): void => {
      button.textContent = words;
      button.setAttribute("aria-label", `${words.replace(/\?$/, "")}: ${name}`);
    };
    const button = makeButton("", `small ${isPrimary ? "primary" : ""} deed-${deed}`, () => {
      if (button.getAttribute("aria-disabled") === "true") return;
      if (again !== undefined && !isSure) {
        isSure = true;
        button.classList.add("sure");
        return label(again);
      }
      button.setAttribute("aria-disabled", "true");
      void this.act(deed).finally(() => button.removeAttribute("aria-disabled"));
    });
    button.addEventListener("blur", () => {
      isSure = false;
      button.classList.remove("sure");
      label(DEED_WORDS[deed]);
    });
    label(DEED_WORDS[deed]);
    return button;
  }
}
