/** The dialog with settings and help, and the dialog to paste where the clipboard cannot be read. */

import { byId, onPress } from "./dom.ts";
import type { FontStep } from "./fontsize.ts";
import { remember, remembered } from "./storage.ts";
import { parseThemeChoice, type ThemeChoice } from "./theme.ts";

export interface SettingsHandlers {
  theme(choice: ThemeChoice): void;
  font(step: FontStep): void;
  screenReader(isOn: boolean): void;
  /** The user leaves on purpose: no question when the page goes. */
  leaving(): void;
  /** The dialog has closed. */
  closed(): void;
}

export class Settings {
  readonly #dialog = byId<HTMLDialogElement>("settings");
  readonly #theme = byId<HTMLSelectElement>("theme-choice");
  readonly #screenReader = byId<HTMLInputElement>("screen-reader");
  readonly #askClose = byId<HTMLInputElement>("ask-close");

  constructor(handlers: SettingsHandlers) {
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

  showTheme(choice: ThemeChoice): void {
    this.#theme.value = choice;
  }

  showFontSize(px: number): void {
    byId("font-size").textContent = String(px);
  }

  showVersion(version: string): void {
    byId("about").textContent = version === "" ? "ttybridge" : `ttybridge ${version}`;
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
