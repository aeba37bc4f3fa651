/** What has to do with the others: who is here, links, the recording. Loaded once the terminal shows something. */

import dialogs from "../company.html";
import peopleStyle from "../style/people.css";
import shareStyle from "../style/share.css";
import { Api } from "./api.ts";
import { make } from "./dom.ts";
import { PeopleView } from "./people.ts";
import { nameOf, type People } from "./peopledata.ts";
import type { Recording, Role } from "./protocol.ts";
import { RecordingView } from "./recordingmenu.ts";
import { ShareView } from "./share.ts";

export interface CompanyHandlers {
  raiseHand(isUp: boolean): void;
  /** A dialog has closed. */
  closed(): void;
}

export class Company {
  #present: People | undefined;
  readonly #recordings: RecordingView;
  readonly #share: ShareView;
  readonly #people: PeopleView;

  constructor(page: URL, credential: string, handlers: CompanyHandlers) {
    document.head.append(make("style", "", peopleStyle + shareStyle));
    document.body.insertAdjacentHTML("beforeend", dialogs);
    const api = new Api(page, credential);
    const { closed, raiseHand } = handlers;
    this.#recordings = new RecordingView(api, closed);
    const namesOf = (ids: readonly string[]): readonly string[] =>
      (this.#present?.here ?? []).filter(({ id }) => ids.includes(id)).map(nameOf);
    this.#share = new ShareView(api, { namesOf, closed }, page);
    this.#people = new PeopleView(api, {
      share: () => {
        this.#people.close();
        this.#share.open();
      },
      recordings: () => {
        this.#people.close();
        this.#recordings.open();
      },
      raiseHand,
      closed,
    });
  }

  /** Takes what this tab is, after joining. */
  joined(id: string, role: Role, recording: Recording | null): void {
    this.#people.restart(id, role);
    this.#recordings.show(recording);
  }

  setRole(role: Role): void {
    this.#people.setRole(role);
    this.#share.setRole(role);
    this.#recordings.setRole(role);
  }

  show(people: People): void {
    this.#present = people;
    this.#people.show(people);
    this.#share.peopleChanged();
    this.#recordings.show(people.recording);
  }

  /** The session cannot be used any more, or not yet. */
  ended(): void {
    this.#people.ended();
    for (const dialog of [this.#share, this.#recordings]) dialog.close();
  }
}
