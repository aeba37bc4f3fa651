/** The dialog with settings and help, and the dialog to paste where the clipboard cannot be read. */

import { byId, onPress } from "./dom.ts";
import type { FontStep } from "./fontsize.ts";
import { DISPLAYS, type Display, type Joined, MAX_NAME, type Role } from "./protocol.ts";
import { oneOf, plainText } from "./checks.ts";
import { type PredictionChoice, PREDICTIONS } from "./roundtrip.ts";
import { remember, remembered } from "./storage.ts";
import { parseThemeChoice, type ThemeChoice } from "./theme.ts";

export interface SettingsHandlers {
  theme(choice: ThemeChoice): void;
  font(step: FontStep): void;
  screenReader(isOn: boolean): void;
  display(display: Display): void;
  prediction(choice: PredictionChoice): void;
  name(name: string): void;
  /** The user leaves on purpose: no question when the page goes. */
  leaving(): void;
  /** The dialog has closed. */
  closed(): void;
}

const DISPLAY_HELP: Record<Display, string> = {
  auto: "The session's while others shape it, else this screen's.",
  own: "Shapes the session's window; who is on Automatic sees it scaled.",
  session: "All of it is shown, as large as fits.",
};

export class Settings {
  readonly #dialog = byId<HTMLDialogElement>("settings");
  readonly #theme = byId<HTMLSelectElement>("theme-choice");
  readonly #screenReader = byId<HTMLInputElement>("screen-reader");
  readonly #askClose = byId<HTMLInputElement>("ask-close");

  readonly #display = byId<HTMLSelectElement>("display-choice");
  readonly #prediction = byId<HTMLSelectElement>("prediction-choice");
  readonly #name = byId<HTMLInputElement>("own-name");
  /** What was told to the server last. */
  #toldName: string;

  constructor(handlers: SettingsHandlers) {
    this.#display.value = oneOf(DISPLAYS, remembered("display")) ?? "auto";
    this.#name.value = this.#toldName = plainText(remembered("name"), MAX_NAME);
    this.#showDisplayHelp();
    this.#display.addEventListener("change", () => {
      remember("display", this.display === "auto" ? null : this.display);
      this.#showDisplayHelp();
      handlers.display(this.display);
    });
    this.#name.addEventListener("change", () => {
      const name = plainText(this.#name.value, MAX_NAME);
      this.#name.value = this.#toldName = name;
      remember("name", name === "" ? null : name);
      handlers.name(name);
    });
    this.#prediction.value = oneOf(PREDICTIONS, remembered("prediction")) ?? "auto";
    this.#prediction.addEventListener("change", () => {
      remember("prediction", this.prediction === "auto" ? null : this.prediction);
      handlers.prediction(this.prediction);
    });
    this.#screenReader.checked = remembered("screenReader") === "on";
    this.#askClose.checked = remembered("askClose") !== "off";
    onPress("settings-open", () => this.#dialog.showModal());
    onPress("settings-close", () => this.#dialog.close());
    onPress("font-smaller-2", () => handlers.font("smaller"));
    onPress("font-larger-2", () => handlers.font("larger"));
    onPress("font-default", () => handlers.font("default"));
    this.#dialog.addEventListener("close", () => handlers.closed());
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.#dialog.close();
    });
    this.#theme.addEventListener("change", () => handlers.theme(parseThemeChoice(this.#theme.value)));
    this.#screenReader.addEventListener("change", () => {
      remember("screenReader", this.#screenReader.checked ? "on" : null);
      handlers.screenReader(this.#screenReader.checked);
    });
    this.#askClose.addEventListener("change", () => remember("askClose", this.#askClose.checked ? null : "off"));
    byId("sign-out").closest("form")?.addEventListener("submit", () => handlers.leaving());
  }

  get screenReader(): boolean {
    return this.#screenReader.checked;
  }

  get askClose(): boolean {
    return this.#askClose.checked;
  }

  get display(): Display {
    return oneOf(DISPLAYS, this.#display.value) ?? "auto";
  }

  get prediction(): PredictionChoice {
    return oneOf(PREDICTIONS, this.#prediction.value) ?? "auto";
  }

  /** What the person wants to be called; empty when they have not said. */
  get name(): string {
    return this.#toldName;
  }

  /** Takes what the server says after joining: a name that a link gave cannot be changed here. */
  showJoined(joined: Joined): void {
    const isGiven = joined.name !== "" && joined.name !== this.#toldName;
    this.#name.disabled = isGiven;
    this.#name.value = isGiven ? joined.name : this.#toldName;
    byId("own-name-help").textContent = isGiven ? "Your link says so." : "What the others see.";
    byId("about").textContent = joined.version === "" ? "ttybridge" : `ttybridge ${joined.version}`;
  }

  /** Who only watches always sees the session's window, and types nothing. */
  showRole(role: Role): void {
    for (const id of ["display-row", "prediction-row"]) byId(id).hidden = role === "viewer";
  }

  #showDisplayHelp(): void {
    byId("display-help").textContent = DISPLAY_HELP[this.display];
  }

  showTheme(choice: ThemeChoice): void {
    this.#theme.value = choice;
  }

  showFontSize(px: number): void {
    byId("font-size").textContent = String(px);
  }
}

/** Asks for text to paste; resolves to "" when the user cancels. */
export function askForPaste(): Promise<string> {
  const dialog = byId<HTMLDialogElement>("paste");
  const field = byId<HTMLTextAreaElement>("paste-text");
  field.value = "";
  dialog.returnValue = "cancel";
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "send" ? field.value : ""), { once: true });
  });
}
