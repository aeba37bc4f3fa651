/** The recording: the red sign that everybody sees, and the dialog of those who may start and stop it. */

import { type Api, ApiError } from "./api.ts";
import { byId, make, makeButton, onPress, setText, wireDialog } from "./dom.ts";
import { clock } from "./format.ts";
import { say } from "./people.ts";
import type { Recording, Role } from "./protocol.ts";
import { fileAddress, parseRecordings, playerAddress, type RecordingFile, recordingWords, shownName } from "./recordings.ts";
import { mayRecord } from "./rights.ts";
import { toast } from "./toast.ts";

const WHEN = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class RecordingView {
  readonly #dialog: HTMLDialogElement;
  readonly #switch = byId<HTMLButtonElement>("record-switch");
  readonly #label = byId<HTMLInputElement>("marker-label");
  #recording: Recording | null = null;
  /** Nothing is told before the first state is known. */
  #isKnown = false;
  #timer: number | undefined;
  #isAsking = false;

  constructor(
    private readonly api: Api,
    closed: () => void,
  ) {
    this.#dialog = wireDialog("recordings", closed);
    onPress("recordings-open", () => this.open());
    onPress("record-switch", () => void this.#toggle());
    byId<HTMLFormElement>("marker-form").addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#mark();
    });
  }

  setRole(role: Role): void {
    if (!mayRecord(role) && this.#dialog.open) this.#dialog.close();
  }

  /** Shows whether the session is recorded; everybody is told of a change. */
  show(recording: Recording | null): void {
    const before = this.#recording;
    const isNew = this.#isKnown && (recording === null) !== (before === null);
    this.#recording = recording;
    this.#isKnown = true;
    if (recording?.since !== before?.since || recording?.input !== before?.input) this.#showSign();
    if (!isNew) return;
    const more = recording?.input ? ", and what is typed, too" : "";
    toast(recording ? `The session is being recorded now${more}.` : "The recording has stopped.", { group: "recording" });
    if (this.#dialog.open) void this.#refresh();
  }

  open(): void {
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    this.#showState();
    void this.#refresh();
  }

  close(): void {
    this.#dialog.close();
  }

  #showSign(): void {
    const recording = this.#recording;
    byId("recording").hidden = recording === null;
    clearInterval(this.#timer);
    setText(byId("recording-words"), recording?.input ? "REC + keys" : "REC");
    const words = recording?.input ? "This session is being recorded, and what is typed, too" : "This session is being recorded";
    byId("recording").title = words;
    byId("recording").setAttribute("aria-label", words);
    if (recording) this.#timer = window.setInterval(() => this.#tick(), 1_000);
    this.#tick();
    this.#showState();
  }

  #tick(): void {
    const since = this.#recording?.since ?? 0;
    const seconds = since > 0 ? Date.now() / 1000 - since : 0;
    setText(byId("recording-time"), since > 0 ? clock(seconds) : "");
    if (this.#dialog.open) this.#showState();
  }

  #showState(): void {
    const recording = this.#recording;
    const time = byId("recording-time").textContent ?? "";
    const what = recording?.input ? "Recording, and what is typed, too" : "Recording";
    setText(byId("record-state"), recording ? `${what}: ${time}` : "Nothing is being recorded.");
    setText(this.#switch, recording ? "Stop recording" : "Start recording");
    this.#switch.classList.toggle("primary", !recording);
    this.#switch.classList.toggle("danger", recording !== null);
    byId("marker-form").hidden = recording === null;
  }

  async #toggle(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    await say(this.api.post("record", { on: this.#recording === null }));
    this.#isAsking = false;
    await this.#refresh();
  }

  async #mark(): Promise<void> {
    const label = this.#label.value.trim();
    if (!(await say(this.api.post("marker", { label })))) return;
    this.#label.value = "";
    toast(label === "" ? "Marker set." : `Marker set: ${label}`, { isQuiet: true, group: "marker" });
  }

  async #refresh(): Promise<void> {
    let files: RecordingFile[];
    try {
      files = parseRecordings(await this.api.get("recordings"));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(error.message, { isWarning: true, group: "api" });
      return;
    }
    byId("recordings-list").replaceChildren(...files.map((file) => this.#row(file)));
    byId("recordings-none").hidden = files.length > 0;
  }

  #row(file: RecordingFile): HTMLLIElement {
    const row = make("li", "plain-row");
    const words = make("div", "plain-words");
    const when = file.startedAt > 0 ? WHEN.format(new Date(file.startedAt * 1000)) : "";
    const name = shownName(file);
    words.append(make("span", "plain-title", name), make("span", "soft", recordingWords(file, when)));
    row.append(words, ...this.#buttons(file, name));
    return row;
  }

  #buttons(file: RecordingFile, name: string): HTMLElement[] {
    // In a frame without cookies the browser itself could not open either address.
    if (this.api.isFramed) return [makeButton("Download", "small", () => void say(this.#download(file)))];
    const play = make("a", "button small", "Play");
    play.href = playerAddress(file.name);
    play.target = "_blank";
    play.rel = "noopener";
    play.setAttribute("aria-label", `Play: ${name}`);
    const download = make("a", "button small", "Download");
    download.href = fileAddress(file.name);
    download.download = file.name;
    download.setAttribute("aria-label", `Download: ${name}`);
    return [play, download];
  }

  async #download(file: RecordingFile): Promise<void> {
    const address = URL.createObjectURL(await this.api.file(fileAddress(file.name)));
    const link = make("a");
    link.href = address;
    link.download = file.name;
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }
}
