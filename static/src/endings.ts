/** The words for every way in which a session can end or not begin, and for a role that changes. Pure. */

import type { Exit, Refusal, Role, RoleChange } from "./protocol.ts";

export interface Ending {
  readonly title: string;
  readonly text: string;
  /** Label of the button, or `undefined` when there is nothing to press. */
  readonly action?: string;
}

function signalWords(exit: Exit): string {
  return exit.signal === 0 ? "" : `It was ended by signal ${exit.signal}.`;
}

function exitWords(exit: Exit): string {
  if (exit.signal !== 0) return signalWords(exit);
  return exit.exitCode === 0 ? "It ended without an error." : `Its exit code is ${exit.exitCode}.`;
}

function ending(title: string, text: string, action: string | undefined): Ending {
  return action === undefined ? { title, text } : { title, text, action };
}

/** Returns what to say about the end of the pty to somebody with a role. */
export function endingOf(exit: Exit, role: Role): Ending {
  const again = exit.restart ? "Start a new session" : undefined;
  const text = exit.message;
  switch (exit.reason) {
    case "exited":
      return ending("Session ended", text || exitWords(exit), again);
    case "detached":
      return ending("Detached", text || "The session goes on without this tab.", exit.restart ? "Attach again" : undefined);
    case "taken-over":
      return ending(
        "Taken over",
        text || "Another connection has taken the session over.",
        exit.restart ? (role === "viewer" ? "Watch again" : "Take it back") : undefined,
      );
    case "server-exited":
      return ending("tmux has ended", text || "The tmux server is gone, and its sessions with it.", again);
    case "killed":
      return ending("Terminal closed", text || `This tab's terminal was ended from outside. ${signalWords(exit)}`.trim(), again);
    case "removed":
      // Who has signed out may sign in again; who was removed has nothing to do that with.
      return ending("Access ended", text || "You were removed from this session.", exit.restart ? "Sign in" : undefined);
    case "closing":
      return ending("The bridge has stopped", "This page comes back by itself when the bridge runs again.", "Reconnect now");
  }
}

/** Returns what to say about a connection that the server does not want. */
export function endingOfRefusal(refusal: Refusal): Ending {
  const action = "Try again";
  switch (refusal.code) {
    case "full":
      return { title: "No room", text: refusal.hint || "Too many tabs are connected. Close one of them.", action };
    case "locked":
      return { title: "Closed to newcomers", text: refusal.hint || "Nobody new is let in at the moment.", action };
    case "refused":
      return { title: "Not let in", text: refusal.hint || "The owner of the session did not let you in.", action };
    case "removed":
      return { title: "Removed", text: refusal.hint || "You were removed from this session." };
    case "no-session":
      return { title: "No session", text: refusal.hint || "The session does not exist any more.", action };
    case "bad-request":
      return { title: "Not understood", text: refusal.hint || "Reload the page to get its current version.", action };
    case "unavailable":
      return { title: "Not available", text: refusal.hint || "The bridge cannot open a terminal now.", action };
  }
}

/** What to say while somebody has to let us in. */
export const AT_THE_DOOR: Ending = {
  title: "Waiting to be let in",
  text: "The owner of this session has been asked. Keep this page open: it goes on by itself.",
};

export const SIGNED_OUT: Ending = {
  title: "Signed out",
  text: "Open the link that the bridge printed, or sign in with its token.",
  action: "Sign in",
};

export const FORBIDDEN: Ending = {
  title: "Address refused",
  text: "The bridge does not answer under this address. Open the link that it printed.",
  action: "Try again",
};

/** Returns what to say when the role is another one now. */
export function roleWords(change: RoleChange): string {
  const { role } = change;
  // "an owner", "the owner": words, and not a name, which stays as it is.
  const by = change.by.replace(/^(an? |the )/, (article) => article.charAt(0).toUpperCase() + article.slice(1));
  switch (role) {
    case "owner":
      return by === "" ? "You are an owner now." : `${by} made you an owner.`;
    case "editor":
      return by === "" ? "You have the keyboard now." : `${by} gave you the keyboard.`;
    case "viewer":
      return by === "" ? "The keyboard was taken back." : `${by} took the keyboard back.`;
  }
}
