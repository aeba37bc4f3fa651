/** Puts the page together: terminal, session, status, settings, keys. */

import { takeCredential } from "./credential.ts";
import { byId, onPress } from "./dom.ts";
import { type Ending, endingOf, endingOfRefusal, FORBIDDEN, SIGNED_OUT } from "./endings.ts";
import {
  defaultFontSize,
  type FontStep,
  fontStepOf,
  rememberedFontSize,
  rememberFontSize,
  steppedFontSize,
} from "./fontsize.ts";
import { copyText } from "./osc52.ts";
import { Panel } from "./panel.ts";
import { PasteProgress } from "./progress.ts";
import type { Joined } from "./protocol.ts";
import type { Search } from "./search.ts";
import { Session } from "./session.ts";
import { askForPaste, Settings } from "./settings.ts";
import { StatusView, statusOf } from "./status.ts";
import { TerminalView } from "./terminal.ts";
import { palette, Theme, type ThemeChoice } from "./theme.ts";
import { documentTitle } from "./titles.ts";
import { toast } from "./toast.ts";
import { TouchBar } from "./touchbar.ts";
import { scrollByTouch } from "./touchscroll.ts";
import { followVisualViewport } from "./viewport.ts";
import { whenBack } from "./whenback.ts";

const status = new StatusView();
const panel = new Panel();
const progress = new PasteProgress();
const fallbackFontSize = defaultFontSize(innerWidth);
let fontSize = rememberedFontSize() ?? fallbackFontSize;
let isLeaving = false;
let search: Promise<Search> | undefined;

const settings = new Settings({
  theme: (choice) => chooseTheme(choice),
  font: (step) => stepFont(step),
  screenReader: (isOn) => view.setScreenReader(isOn),
  leaving: () => {
    isLeaving = true;
  },
  closed: () => view.terminal.focus(),
});
const theme = new Theme((name) => {
  view?.setTheme(palette(name));
  byId("theme-switch").setAttribute("aria-pressed", String(name === "dark"));
});

const credential = takeCredential();
byId("sign-out").hidden = credential !== "";
followVisualViewport();
document.documentElement.dataset["theme"] = theme.name;

const view: TerminalView = new TerminalView(
  byId("terminal"),
  {
    typed: (text, isBinary) => typed(isBinary ? text : touchBar.apply(text), isBinary),
    title: (title) => {
      document.title = documentTitle(title);
    },
    copy: (text) => void copyOrOffer(text),
    linkHint: (address) => {
      byId("link-hint").textContent = address;
      byId("link-hint").hidden = address === "";
    },
    fits: (size) => session?.resize(size),
  },
  { fontSize, theme: palette(theme.name), screenReader: settings.screenReader },
);
const touchBar = new TouchBar({
  send: (text) => typed(text, false),
  paste: () => void paste(),
  isApplicationCursor: () => view.terminal.modes.applicationCursorKeysMode,
  focus: () => view.terminal.focus(),
});
// Measured before it connects: the first screen is drawn for the right size.
const session: Session = new Session(new URL(document.baseURI), view.ownSize, {
  write: (data, parsed) => view.write(data, parsed),
  reset: (hard) => view.reset(hard),
  joined: (joined) => showJoined(joined),
  ptySize: (size) => view.setPtySize(size),
  ended: (exit) => {
    view.showLastScreen();
    end("ended", "Ended", endingOf(exit), () => session.restart());
    if (exit.reason === "closing") whenBack(new URL(document.baseURI), () => panel.isOpen, () => session.restart());
  },
  notice: (notice) => toast(notice.text, { isWarning: notice.level === "warning" }),
  inputLeft: (units) => progress.show(units),
  link: (link) => {
    const next = statusOf(link, navigator.onLine, status.status);
    if (next) status.show(next);
    if (link.kind === "refused") end("refused", "Refused", endingOfRefusal(link.refusal), () => session.open());
    else if (link.kind === "forbidden") end("refused", "Refused", FORBIDDEN, () => session.open());
    else if (link.kind === "signed-out") end("signed-out", "Signed out", SIGNED_OUT, () => location.reload());
    else panel.hide();
  },
}, credential);

function end(state: "ended" | "refused" | "signed-out", words: string, ending: Ending, again: () => void): void {
  status.show({ state, words });
  panel.show(ending, () => {
    again();
    view.terminal.focus();
  });
}

function showJoined(joined: Joined): void {
  const mayType = joined.role !== "viewer";
  view.setMode(joined.mode);
  view.terminal.options.disableStdin = !mayType;
  byId("role").textContent = mayType ? joined.role : "View only";
  byId("role").hidden = joined.role === "owner";
  byId("title").textContent = joined.title || joined.session || "Terminal";
  if (document.title === documentTitle("")) document.title = documentTitle(joined.title);
  settings.showVersion(joined.version);
}

function typed(text: string, isBinary: boolean): void {
  if (panel.isOpen) {
    if (text === "\r") panel.enter();
  } else {
    session.type(text, isBinary);
  }
}

async function copyOrOffer(text: string): Promise<void> {
  if (await copyText(text, false)) return;
  const action = { label: "Copy", run: () => void copyText(text, true).then(() => view.terminal.focus()) };
  toast("A program wants to copy text to the clipboard.", { group: "copy", action });
}

async function paste(): Promise<void> {
  let text: string;
  try {
    text = await navigator.clipboard.readText();
  } catch {
    text = await askForPaste();
  }
  if (text !== "") view.terminal.paste(text);
  view.terminal.focus();
}

function stepFont(step: FontStep): void {
  fontSize = steppedFontSize(fontSize, step, fallbackFontSize);
  rememberFontSize(fontSize, fallbackFontSize);
  view.setFontSize(fontSize);
  settings.showFontSize(fontSize);
}

function chooseTheme(choice: ThemeChoice): void {
  theme.choose(choice);
  settings.showTheme(choice);
}

async function openSearch(): Promise<void> {
  search ??= import("./search.ts").then(
    (module) =>
      new module.Search(view.terminal, {
        bar: byId<HTMLFormElement>("search"),
        field: byId<HTMLInputElement>("search-field"),
        count: byId("search-count"),
        previous: byId("search-previous"),
        next: byId("search-next"),
        close: byId("search-close"),
      }),
  );
  try {
    (await search).open();
  } catch {
    search = undefined;
    toast("The search could not be loaded.", { isWarning: true });
  }
}

/** Keys of the page itself; returns true when the key is used up. */
function pageKey(event: KeyboardEvent): boolean {
  const step = fontStepOf(event);
  if (step) stepFont(step);
  else if (!event.ctrlKey) return false;
  else if (event.key === "F6" || (event.shiftKey && event.key === "Escape")) byId("settings-open").focus();
  else if (event.shiftKey && event.code === "KeyF") void openSearch();
  else if (event.shiftKey && event.code === "KeyC" && view.terminal.hasSelection()) {
    void copyText(view.terminal.getSelection(), true);
  } else return false;
  return true;
}

addEventListener(
  "keydown",
  (event) => {
    if (!pageKey(event)) return;
    event.preventDefault();
    event.stopPropagation();
  },
  { capture: true },
);
byId("bar").addEventListener("keydown", (event) => {
  if (event.key === "Escape") view.terminal.focus();
});
byId("bar").addEventListener("click", (event) => {
  // Who uses a pointer types on; who uses the keyboard stays at the button.
  const isButton = event.target instanceof Element && event.target.closest("#font-smaller, #font-larger, #theme-switch");
  if (isButton && event.detail > 0) view.terminal.focus();
});
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  view.terminal.focus();
});
addEventListener("beforeunload", (event) => {
  if (session.isLive && session.mayType && settings.askClose && !isLeaving) event.preventDefault();
});

onPress("reconnect", () => {
  session.open();
  view.terminal.focus();
});
onPress("font-smaller", () => stepFont("smaller"));
onPress("font-larger", () => stepFont("larger"));
onPress("search-open", () => void openSearch());
onPress("theme-switch", () => chooseTheme(theme.name === "dark" ? "light" : "dark"));
scrollByTouch(byId("terminal"), view.terminal);
settings.showFontSize(fontSize);
settings.showTheme(theme.choice);
theme.apply();

/** For tests and for users' scripts. */
Object.defineProperty(window, "ttybridge", {
  value: Object.freeze({
    terminal: view.terminal,
    state: () => status.status.state,
    offset: () => session.offset,
  }),
});

void view.settled.then(() => session.open());
view.terminal.focus();
