/**
 * This tab's place in the session: joins, takes in output, sends input, comes back after a loss.
 *
 * Holds the protocol's state and knows neither the terminal nor the document: both are handlers.
 */

import { type AckRule, ackRule } from "./acks.ts";
import { Connection, type LinkState } from "./connection.ts";
import type { EarlySocket } from "./early.ts";
import { InputQueue, MAX_KEPT } from "./input.ts";
import { parsePeople, type People } from "./peopledata.ts";
import {
  clampSize,
  DEFAULT_MAX_INPUT,
  type Display,
  type Exit,
  type Hello,
  type Joined,
  type Notice,
  parseExit,
  parseFollows,
  parseInack,
  parseJoined,
  parseNotice,
  parseOut,
  parseRefusal,
  parseReset,
  parseRole,
  parseSize,
  PROTOCOL_VERSION,
  type Role,
  type RoleChange,
  type WindowSize,
} from "./protocol.ts";
import { OutputStream } from "./stream.ts";

export interface SessionHandlers {
  /** Hands output to the terminal; `parsed` is to be called when the terminal has worked through it. */
  write(data: Uint8Array, parsed: () => void): void;
  /** Clears the terminal, behind all output written before; not `hard`: only ends a sequence that was cut. */
  reset(hard: boolean): void;
  joined(joined: Joined): void;
  /** Somebody has to let us in first. */
  waiting(): void;
  role(change: RoleChange): void;
  /** Whether the session's window is shown instead of one of our own size, from here on in the output. */
  follows(follows: boolean): void;
  people(people: People): void;
  /** The pty has this window size from here on in the output, whatever this page's own is. */
  ptySize(size: WindowSize): void;
  ended(exit: Exit): void;
  notice(notice: Notice): void;
  link(state: LinkState): void;
  /** Code units of input that are still to be delivered. */
  inputLeft(units: number): void;
  /** Typed text is on its way; `end` is where it ends in the input, counted in code units. */
  typed(text: string, isBinary: boolean, end: number): void;
  /** The pty has the input up to `end`; `ms` is the time from sending to this, where it is known. */
  delivered(end: number, ms: number | undefined): void;
}

/** What a person may say of themselves. */
export interface Identity {
  readonly name: string;
  readonly display: Display;
}

export class Session {
  readonly #output = new OutputStream();
  readonly #input = new InputQueue(DEFAULT_MAX_INPUT);
  readonly #connection: Connection;
  /** When input messages were sent that the pty does not have yet, by number. */
  readonly #sentAt = new Map<number, number>();
  readonly #wishes = new Map<"hand" | "name" | "display", unknown>();
  #joined: Joined | undefined;
  #role: Role = "viewer";
  #identity: Identity;
  #isLive = false;
  #hasEnded = false;
  #needsReset = false;
  #ownSize: WindowSize;
  #sentSize: WindowSize | undefined;
  #ackTimer: number | undefined;
  /** Parsed output has waited long enough: acknowledge it however little it is. */
  #ackIsLate = false;
  #flushIsQueued = false;

  constructor(
    page: URL,
    size: WindowSize,
    { name, display }: Identity,
    private readonly handlers: SessionHandlers,
    credential = "",
    early?: EarlySocket,
  ) {
    this.#sentSize = early?.hello;
    this.#identity = { name, display };
    this.#ownSize = clampSize(size);
    this.#connection = new Connection(
      page,
      {
        hello: () => this.#hello(),
        event: (name, args) => this.#onEvent(name, args),
        drained: () => this.#flush(),
        state: (state) => this.#onLink(state),
      },
      credential,
      early,
    );
  }

  /** Output bytes taken in: the position in the stream. */
  get offset(): number {
    return this.#output.taken;
  }

  /** True between `joined` and the loss of the connection or the end. */
  get isLive(): boolean {
    return this.#isLive;
  }

  get mayType(): boolean {
    return !this.#hasEnded && (this.#joined === undefined || this.#role !== "viewer");
  }

  /** This tab's id in the session; empty before the first `joined`. */
  get id(): string {
    return this.#joined?.id ?? "";
  }

  /** Connects, or tries again at once. */
  open(): void {
    this.#connection.open();
  }

  /** Joins anew after the end of a pty. */
  restart(): void {
    this.#joined = undefined;
    this.#hasEnded = false;
    this.#connection.open();
  }

  /** Sends typed or pasted text; what is typed while the connection is lost waits for its return. */
  type(text: string, isBinary = false): void {
    if (!this.mayType) return;
    if (!this.#input.push(text, isBinary)) {
      const limit = `${MAX_KEPT / 1024 / 1024} MiB`;
      this.handlers.notice({ level: "warning", text: `Not sent: more than ${limit} of input would be waiting.` });
    } else if (this.#isLive) {
      this.handlers.typed(text, isBinary, this.#input.end);
    }
    this.handlers.inputLeft(this.#input.unitsLeft);
    if (this.#connection.isPolling) this.#ackIsLate = true; // it goes with the keys
    this.#flushSoon();
  }

  /** Tells the server this page's window size. */
  resize(size: WindowSize): void {
    this.#ownSize = clampSize(size);
    this.#flushSoon();
  }

  /** Asks for the keyboard, or no longer. */
  raiseHand(isUp: boolean): void {
    this.#wish("hand", isUp);
  }

  /** Tells the others what to call this person. */
  rename(name: string): void {
    this.#identity = { ...this.#identity, name };
    this.#wish("name", name);
  }

  /** Chooses whose window is shown. */
  show(display: Display): void {
    this.#identity = { ...this.#identity, display };
    this.#wish("display", display);
  }

  #wish(event: "hand" | "name" | "display", value: unknown): void {
    // The next `hello` carries name and choice.
    if (!this.#isLive) return;
    this.#wishes.set(event, value);
    this.#flushSoon();
  }

  #hello(): Hello {
    this.#sentSize = this.#ownSize;
    const hello = { protocol: PROTOCOL_VERSION, ...this.#ownSize, ...this.#identity, client: "page" } as const;
    if (!this.#joined) return hello;
    const { id, key } = this.#joined;
    return { ...hello, resume: { id, key, offset: this.#output.taken, reset: this.#needsReset } };
  }

  #onLink(state: LinkState): void {
    if (state.kind !== "joined") {
      this.#isLive = false;
      this.#sentAt.clear();
      this.#wishes.clear();
    }
    if (!this.#hasEnded) this.handlers.link(state);
  }

  #onEvent(name: string, args: readonly unknown[]): void {
    if (name === "joined") this.#onJoined(args[0]);
    else if (name === "waiting") this.#onWaiting();
    else if (name === "refused") this.#onRefused(args[0]);
    else if (!this.#isLive) return;
    else if (name === "out") this.#onOut(args[0], args[1]);
    else if (name === "reset") this.#onReset(args[0]);
    else if (name === "inack") this.#onInack(args[0]);
    else if (name === "exit") this.#onExit(args[0]);
    else if (name === "role") this.#onRole(args[0]);
    else if (name === "ping") this.#onPing(args[0]);
    else this.#onNews(name, args[0]);
  }

  /** Events that only pass through here. */
  #onNews(name: string, value: unknown): void {
    if (name === "size") {
      const size = parseSize(value);
      if (size) this.handlers.ptySize(size);
    } else if (name === "follows") {
      const follows = parseFollows(value);
      if (follows !== undefined) this.handlers.follows(follows);
    } else if (name === "people") {
      const people = parsePeople(value);
      if (people) this.handlers.people(people);
    } else if (name === "notice") {
      const notice = parseNotice(value);
      if (notice) this.handlers.notice(notice);
    }
  }

  #onWaiting(): void {
    if (this.#isLive || this.#hasEnded) return;
    this.#connection.waits();
    this.handlers.waiting();
  }

  #onRefused(value: unknown): void {
    this.#joined = undefined;
    this.#connection.refused(parseRefusal(value) ?? { code: "refused", hint: "" });
  }

  #onRole(value: unknown): void {
    const change = parseRole(value);
    if (!change) return;
    this.#role = change.role;
    if (change.role === "viewer") {
      this.#input.dropWaiting();
      this.handlers.inputLeft(this.#input.unitsLeft);
    }
    this.handlers.role(change);
  }

  /** The server measures the round trip; where nothing can be sent at once, its number would be wrong. */
  #onPing(value: unknown): void {
    if (this.#connection.isReady) this.#connection.send("pong", value);
  }

  #onJoined(value: unknown): void {
    const joined = parseJoined(value);
    if (!joined) return this.#connection.reopen();
    const hadPlace = this.#joined !== undefined;
    this.#joined = joined;
    this.#role = joined.role;
    this.#isLive = true;
    if (hadPlace && joined.resumed) {
      this.#output.resume();
      this.#input.resume(joined.input, joined.maxInput);
    } else {
      this.#startAnew(joined, hadPlace);
    }
    this.#needsReset = false;
    this.#connection.joined();
    if (joined.resumed && joined.display !== this.#identity.display) this.#wish("display", this.#identity.display);
    this.handlers.joined(joined);
    this.handlers.inputLeft(this.#input.unitsLeft);
    this.#flush();
  }

  #startAnew(joined: Joined, hadPlace: boolean): void {
    if (this.#output.taken > 0) this.handlers.reset(true);
    this.#output.restart(joined.offset);
    const dropped = this.#input.restart(joined.input, joined.maxInput);
    if (hadPlace && dropped > 0) {
      this.handlers.notice({
        level: "warning",
        text: "Away for too long: what was typed in the meantime was not sent.",
      });
    }
  }

  #onOut(offset: unknown, data: unknown): void {
    const out = parseOut(offset, data);
    if (!out) return;
    const accepted = this.#output.accept(out.offset, out.data);
    if (accepted.kind === "gap") {
      this.#needsReset = true;
      this.#connection.reopen();
    } else if (accepted.kind === "new") {
      this.handlers.write(accepted.data, () => {
        this.#output.parsed(accepted.mark);
        this.#acknowledge();
      });
    }
  }

  get #ackRule(): AckRule {
    return ackRule(this.#role, this.#connection.isPolling, this.#output.length);
  }

  #acknowledge(): void {
    const { bytes, wait } = this.#ackRule;
    if (this.#output.ackIsDue(bytes)) this.#flush();
    else this.#ackTimer ??= window.setTimeout(() => this.#acknowledgeLate(), wait);
  }

  #acknowledgeLate(): void {
    this.#ackTimer = undefined;
    this.#ackIsLate = true;
    this.#flush();
  }

  #onReset(value: unknown): void {
    const reset = parseReset(value);
    if (!reset) return;
    this.handlers.reset(reset.hard);
    this.#output.restart(reset.offset);
  }

  #onInack(value: unknown): void {
    const seq = parseInack(value);
    if (seq === undefined) return;
    this.#input.acknowledge(seq);
    const sentAt = this.#sentAt.get(seq);
    for (const each of this.#sentAt.keys()) if (each <= seq) this.#sentAt.delete(each);
    this.handlers.delivered(this.#input.delivered, sentAt && performance.now() - sentAt);
    this.handlers.inputLeft(this.#input.unitsLeft);
    this.#flush();
  }

  #onExit(value: unknown): void {
    this.#hasEnded = true;
    this.#isLive = false;
    this.#joined = undefined;
    this.#input.restart(0, DEFAULT_MAX_INPUT);
    this.handlers.inputLeft(0);
    this.#connection.close();
    this.handlers.ended(parseExit(value));
  }

  /** Sends at the end of the present task, so that keys of one task travel together. */
  #flushSoon(): void {
    if (this.#flushIsQueued) return;
    this.#flushIsQueued = true;
    queueMicrotask(() => {
      this.#flushIsQueued = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (!this.#isLive) return;
    const connection = this.#connection;
    if (connection.isReady && (this.#output.ackIsDue(this.#ackRule.bytes) || (this.#ackIsLate && this.#output.ackIsWaiting))) {
      this.#ackIsLate = false;
      connection.send("ack", this.#output.takeAck());
    }
    const { cols, rows } = this.#ownSize;
    const sizeIsNew = cols !== this.#sentSize?.cols || rows !== this.#sentSize.rows;
    if (connection.isReady && sizeIsNew) {
      this.#sentSize = this.#ownSize;
      connection.send("size", cols, rows);
    }
    for (const [event, value] of this.#wishes) {
      if (!connection.isReady) break;
      this.#wishes.delete(event);
      connection.send(event, value);
    }
    while (connection.isReady) {
      const message = this.#input.next();
      if (!message) break;
      this.#sentAt.set(message.seq, performance.now());
      if (message.isBinary) connection.send("in", message.seq, message.text, true);
      else connection.send("in", message.seq, message.text);
    }
  }
}
