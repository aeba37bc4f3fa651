/** Puts the page together: terminal, session, status, settings, people. */

import { copyOrOffer, paste } from "./clipboard.ts";
import { takeCredential } from "./credential.ts";
import { byId, onPress } from "./dom.ts";
import { takeEarly } from "./early.ts";
import { AT_THE_DOOR, type Ending, endingOf, endingOfRefusal, FORBIDDEN, roleWords, SIGNED_OUT } from "./endings.ts";
import {
  defaultFontSize,
  type FontStep,
  rememberedFontSize,
  rememberFontSize,
  steppedFontSize,
} from "./fontsize.ts";
import { LateCompany } from "./latecompany.ts";
import { wirePageKeys } from "./pagekeys.ts";
import { Panel } from "./panel.ts";
import { Prediction } from "./prediction.ts";
import { PasteProgress } from "./progress.ts";
import type { Joined, Role } from "./protocol.ts";
import { Session } from "./session.ts";
import { Settings } from "./settings.ts";
import { StatusView, statusOf } from "./status.ts";
import { TerminalView } from "./terminal.ts";
import { palette, Theme, type ThemeChoice } from "./theme.ts";
import { documentTitle } from "./titles.ts";
import { toast } from "./toast.ts";
import { TouchBar } from "./touchbar.ts";
import { scrollByTouch } from "./touchscroll.ts";
import { keepForNextTime } from "./kept.ts";
import { followVisualViewport } from "./viewport.ts";
import { whenBack } from "./whenback.ts";

/** When the rest is loaded at the latest, in milliseconds. */
const REST_AFTER_MS = 1_500;

const page = new URL(document.baseURI);
const status = new StatusView();
const panel = new Panel();
const progress = new PasteProgress();
const fallbackFontSize = defaultFontSize(innerWidth);
let fontSize = rememberedFontSize() ?? fallbackFontSize;
let isLeaving = false;
let ownRole: Role = "viewer";

const settings = new Settings({
  theme: (choice) => chooseTheme(choice),
  font: (step) => stepFont(step),
  screenReader: (isOn) => view.setScreenReader(isOn),
  display: (display) => session.show(display),
  prediction: (choice) => prediction.choose(choice),
  name: (name) => session.rename(name),
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
    copy: (text) => void copyOrOffer(text, view.terminal, session.mayType),
    linkHint: (address) => {
      byId("link-hint").textContent = address;
      byId("link-hint").hidden = address === "";
    },
    fits: (size) => session?.resize(size),
  },
  { fontSize, theme: palette(theme.name), screenReader: settings.screenReader },
);
const prediction = new Prediction(view.terminal, byId("terminal"), settings.prediction);
const touchBar = new TouchBar({
  send: (text) => typed(text, false),
  paste: () => void paste(view.terminal),
  isApplicationCursor: () => view.terminal.modes.applicationCursorKeysMode,
  focus: () => view.terminal.focus(),
});

const company = new LateCompany(page, credential, {
  raiseHand: (isUp) => session.raiseHand(isUp),
  closed: () => view.terminal.focus(),
});

// Measured before it connects: the first screen is drawn for the right size.
const session: Session = new Session(page, view.ownSize, settings, {
  write: (data, parsed) =>
    view.write(data, () => {
      parsed();
      prediction.parsed();
      loadTheRest();
    }),
  reset: (hard) => {
    view.reset(hard);
    prediction.drop();
  },
  joined: (joined) => showJoined(joined),
  waiting: () => {
    company.ended();
    panel.show(AT_THE_DOOR, () => {});
  },
  role: (change) => {
    showRole(change.role);
    toast(roleWords(change), { group: "role" });
  },
  follows: (follows) => view.setFollows(follows),
  people: (now) => {
    prediction.serverMeasured(now.here.find(({ id }) => id === session.id)?.rttMs);
    company.show(now);
  },
  ptySize: (size) => view.setPtySize(size),
  ended: (exit) => {
    prediction.setMayType(false);
    view.showLastScreen();
    document.documentElement.dataset["ending"] = exit.reason;
    const again = (): void => (exit.reason === "removed" ? location.reload() : session.restart());
    end("ended", "Ended", endingOf(exit, ownRole), again);
    if (exit.reason === "closing") whenBack(page, () => panel.isOpen, () => session.restart());
  },
  notice: (notice) => toast(notice.text, { isWarning: notice.level === "warning" }),
  inputLeft: (units) => progress.show(units),
  typed: (text, isBinary, end) => prediction.typed(text, isBinary, end),
  delivered: (end, ms) => {
    if (ms !== undefined) prediction.measured(ms);
    prediction.delivered(end);
  },
  link: (link) => {
    const next = statusOf(link, navigator.onLine, status.status);
    if (next) status.show(next);
    prediction.setMayType(session?.isLive && session.mayType);
    if (link.kind === "refused") end("refused", "Refused", endingOfRefusal(link.refusal), () => session.open());
    else if (link.kind === "forbidden") end("refused", "Refused", FORBIDDEN, () => session.open());
    else if (link.kind === "signed-out") end("signed-out", "Signed out", SIGNED_OUT, () => location.reload());
    else panel.hide();
  },
}, credential, takeEarly());

/** What the first screen can do without. */
function loadTheRest(): void {
  void view.chooseRenderer();
  prediction.load();
  void company.load();
  keepForNextTime();
}

function end(state: "ended" | "refused" | "signed-out", words: string, ending: Ending, again: () => void): void {
  status.show({ state, words });
  company.ended();
  panel.show(ending, () => {
    again();
    view.terminal.focus();
  });
}

function showJoined(joined: Joined): void {
  delete document.documentElement.dataset["ending"];
  view.setMode(joined.mode);
  view.setFollows(joined.follows);
  byId("title").textContent = joined.title || joined.session || "Terminal";
  if (document.title === documentTitle("")) document.title = documentTitle(joined.title);
  settings.showJoined(joined);
  company.joined(joined);
  showRole(joined.role);
}

/** Puts what a role may do into effect, at once. */
function showRole(role: Role): void {
  ownRole = role;
  view.terminal.options.disableStdin = role === "viewer";
  document.documentElement.dataset["role"] = role;
  byId("role").textContent = role === "viewer" ? "View only" : role;
  byId("role").hidden = role === "owner";
  settings.showRole(role);
  prediction.setMayType(session.isLive && session.mayType);
  company.setRole(role);
}

function typed(text: string, isBinary: boolean): void {
  if (panel.isOpen) {
    if (text === "\r") panel.enter();
  } else {
    session.type(text, isBinary);
  }
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

addEventListener("beforeunload", (event) => {
  if (session.isLive && session.mayType && settings.askClose && !isLeaving) event.preventDefault();
});
onPress("reconnect", () => {
  session.open();
  view.terminal.focus();
});
onPress("theme-switch", () => chooseTheme(theme.name === "dark" ? "light" : "dark"));
wirePageKeys(view.terminal, stepFont);
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
    id: () => session.id,
    follows: () => view.follows,
  }),
});

session.open();
// Where nothing comes to be shown: somebody has to let us in first, or there is no connection.
setTimeout(loadTheRest, REST_AFTER_MS);
view.terminal.focus();
