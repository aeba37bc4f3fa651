/** The page that plays a recording: gets it from the bridge, checks it, hands it to asciinema's player. */

import { create, type Player } from "asciinema-player";
import { BadRecording, parseRecording, type Recording, type RecordingEvent } from "./asciicast.ts";
import { byId } from "./dom.ts";

/** Largest recording that is played here, in bytes: the player keeps all of it in memory, several times. */
const MAX_BYTES = 256 * 1024 * 1024;

/** `ttybridge play --serve` writes the name into the page. */
const name = document.documentElement.dataset["recording"] || (new URLSearchParams(location.search).get("name") ?? "");
const address = new URL(`recordings/${encodeURIComponent(name)}`, document.baseURI);
const download = byId<HTMLAnchorElement>("download");
download.download = name;
show(name);

function show(title: string): void {
  byId("title").textContent = title;
  document.title = `${title} – ttybridge`;
}

function complain(text: string): void {
  byId("problem").textContent = text;
  byId("problem").hidden = false;
  byId("player").hidden = true;
}

async function load(): Promise<Recording> {
  // The header says that no other website asks: over plain http, browsers say nothing themselves.
  const answer = await fetch(address, { headers: { "X-TTYBridge-Client": "page", "ngrok-skip-browser-warning": "1" } });
  if (answer.status === 401) throw new Error("You are signed out. Open the link that the bridge printed.");
  if (!answer.ok) throw new Error(oneSentence(await answer.text(), answer.status));
  const data = await answer.blob();
  download.href = URL.createObjectURL(data);
  download.hidden = false;
  if (data.size > MAX_BYTES) throw new Error("This recording is too large for the page. Download it, and play it with: ttybridge play FILE");
  return parseRecording(await data.text());
}

function oneSentence(text: string, status: number): string {
  return text.trim().slice(0, 200) || `The bridge answered with ${status}.`;
}

async function play(): Promise<Player | null> {
  let recording: Recording;
  try {
    recording = await load();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    complain(error instanceof BadRecording ? `${name} cannot be played. ${text}` : text);
    return null;
  }
  show(recording.title || name);
  byId("file").textContent = recording.title ? name : "";
  const { cols, rows, idleTimeLimit } = recording;
  // What its own parsers return has milliseconds, which its types do not say (3.18).
  const events = recording.events.map(([time, code, data]): RecordingEvent => [time * 1000, code, data]);
  const limit = idleTimeLimit === undefined ? {} : { idleTimeLimit };
  return create({ data: () => "", parser: () => ({ cols, rows, events, ...limit }) }, byId("player"), {
    autoPlay: true,
    preload: true,
    fit: "both",
    controls: true,
    terminalFontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
  });
}

/** For tests and for users' scripts. */
Object.defineProperty(window, "ttybridge", { value: Object.freeze({ player: play() }) });
