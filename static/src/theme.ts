/** Light and dark: follows the system until the user chooses; page and terminal change together. */

import type { ITheme } from "@xterm/xterm";
import { remember, remembered } from "./storage.ts";

export type ThemeChoice = "auto" | "light" | "dark";
export type ThemeName = "light" | "dark";

const NAME = "theme";

const DARK: ITheme = {
  background: "#10141a",
  foreground: "#dbe1e8",
  cursor: "#5fd0bd",
  cursorAccent: "#10141a",
  selectionBackground: "#2f5d78",
  selectionInactiveBackground: "#375a72",
  scrollbarSliderBackground: "#ffffff2e",
  scrollbarSliderHoverBackground: "#ffffff52",
  scrollbarSliderActiveBackground: "#ffffff70",
  black: "#1d242d",
  red: "#ff7b7b",
  green: "#7fd28a",
  yellow: "#e6c06a",
  blue: "#7ab4ff",
  magenta: "#d59bf0",
  cyan: "#62cfd6",
  white: "#c9d1da",
  brightBlack: "#8592a1",
  brightRed: "#ff9d9d",
  brightGreen: "#a0e6a8",
  brightYellow: "#f4d78f",
  brightBlue: "#a3ccff",
  brightMagenta: "#e6bcf8",
  brightCyan: "#92e3e8",
  brightWhite: "#ffffff",
};

const LIGHT: ITheme = {
  background: "#fdfdfc",
  foreground: "#20262d",
  cursor: "#0a6f64",
  cursorAccent: "#fdfdfc",
  selectionBackground: "#b6dcf3",
  selectionInactiveBackground: "#b9d2e6",
  scrollbarSliderBackground: "#00000029",
  scrollbarSliderHoverBackground: "#0000004a",
  scrollbarSliderActiveBackground: "#00000066",
  black: "#20262d",
  red: "#b3261e",
  green: "#1c6b34",
  yellow: "#7d5600",
  blue: "#1a56b4",
  magenta: "#8a2f9e",
  cyan: "#0b6570",
  white: "#5c6670",
  brightBlack: "#59636e",
  brightRed: "#c4342b",
  brightGreen: "#237a3e",
  brightYellow: "#8a6100",
  brightBlue: "#2a68c9",
  brightMagenta: "#9b40af",
  brightCyan: "#10737f",
  brightWhite: "#3a424b",
};

/** Returns the terminal's colours for a theme. */
export function palette(name: ThemeName): ITheme {
  return name === "dark" ? DARK : LIGHT;
}

/** Returns the theme that a choice means on a system that prefers `system`. */
export function resolveTheme(choice: ThemeChoice, system: ThemeName): ThemeName {
  return choice === "auto" ? system : choice;
}

export function parseThemeChoice(text: string | null): ThemeChoice {
  return text === "light" || text === "dark" ? text : "auto";
}

/** Keeps `data-theme` on the root and tells `changed` which theme holds. */
export class Theme {
  readonly #system = matchMedia("(prefers-color-scheme: dark)");
  #choice: ThemeChoice = parseThemeChoice(remembered(NAME));

  constructor(private readonly changed: (name: ThemeName) => void) {
    this.#system.addEventListener("change", () => this.apply());
  }

  get choice(): ThemeChoice {
    return this.#choice;
  }

  get name(): ThemeName {
    return resolveTheme(this.#choice, this.#system.matches ? "dark" : "light");
  }

  /** Takes a new choice and remembers it. */
  choose(choice: ThemeChoice): void {
    this.#choice = choice;
    remember(NAME, choice === "auto" ? null : choice);
    this.apply();
  }

  /** Puts the present choice into effect. */
  apply(): void {
    document.documentElement.dataset["theme"] = this.name;
    const colour = getComputedStyle(document.body).backgroundColor;
    document.querySelector("meta[name=theme-color]")?.setAttribute("content", colour);
    this.changed(this.name);
  }
}
