/**
 * Polling: the server's packets in answers to GET requests, ours in the bodies of POST requests.
 *
 * While somebody types, several of both are under way, so that a key waits neither for the answer to the last one
 * nor for the next GET. Connections overtake each other: POSTs carry a number, by which the server puts
 * them in order, and so do its answers to GETs.
 */

import { joinPackets, splitPackets } from "./socketio.ts";
import type { Transport, TransportHandlers } from "./transport.ts";

/** Requests of each kind that may be under way: together they are the six that browsers allow for a host. */
const MAX_REQUESTS = 3;

/** How long several GETs are held after something was sent, in milliseconds. */
const LIVELY_MS = 500;

/** How long a GET that failed waits for others under way: they may bring the goodbye, in milliseconds. */
const GOODBYE_MS = 1_000;

/** Where the server numbers its answers to GETs, from 1; 0: it says nothing, and has no place in the order. */
const NUMBER_HEADER = "X-TTYBridge-Poll";

export class PollingTransport implements Transport {
  readonly name = "polling";
  readonly #leaving = new AbortController();
  #sid = "";
  #waiting: string[] = [];
  #flushIsQueued = false;
  #posts = 0;
  #postNumber = 0;
  #pollNumber = 0;
  /** The GETs under way. */
  readonly #polls = new Set<number>();
  #nextPoll = 1;
  readonly #early = new Map<number, string>();
  /** The GETs, under way when an answer came too early, one of which must bring the one before it. */
  #owing: Set<number> | undefined;
  /** Whether answers come with numbers, once there is one: something on the way may take them off. Else one GET at a time. */
  #isNumbered: boolean | undefined;
  #sentAt = -Infinity;
  #isClosed = false;

  constructor(
    private readonly address: URL,
    private readonly headers: Readonly<Record<string, string>>,
    private readonly handlers: TransportHandlers,
  ) {
    void this.#open();
  }

  get isFree(): boolean {
    return this.#sid !== "" && this.#posts < MAX_REQUESTS;
  }

  send(packet: string): void {
    this.#waiting.push(packet);
    if (this.#flushIsQueued) return;
    this.#flushIsQueued = true;
    queueMicrotask(() => {
      this.#flushIsQueued = false;
      this.#flush();
    });
  }

  close(last: readonly string[] = []): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#leaving.abort();
    if (last.length === 0 || this.#sid === "") return;
    const body = joinPackets([...this.#waiting, ...last, "1"]);
    this.#postNumber += 1;
    // The page may be going: the browser is to send it all the same.
    const options: RequestInit = { method: "POST", body, headers: this.headers, keepalive: true };
    void fetch(this.#url({ n: this.#postNumber }), options).catch(() => {});
  }

  #url(query: Record<string, string | number> = {}): URL {
    const url = new URL(this.address);
    if (this.#sid !== "") url.searchParams.set("sid", this.#sid);
    url.searchParams.set("t", Math.random().toString(36).slice(2, 10));
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
    return url;
  }

  async #ask(options: RequestInit = {}, query: Record<string, string | number> = {}): Promise<Response> {
    return fetch(this.#url(query), {
      ...options,
      headers: { ...this.headers, ...options.headers },
      cache: "no-store",
      signal: this.#leaving.signal,
    });
  }

  async #open(): Promise<void> {
    let status: number | undefined;
    try {
      const response = await this.#ask();
      status = response.status;
      const body = await response.text();
      const sid = response.ok ? sidOf(body) : "";
      if (sid !== "") {
        this.#sid = sid;
        this.#deliver(body);
        this.#pollOn();
        this.#flush();
        return;
      }
    } catch {
      // No answer, or no whole one.
    }
    this.#lost(status);
  }

  #flush(): void {
    if (this.#waiting.length === 0 || !this.isFree || this.#isClosed) return;
    const body = joinPackets(this.#waiting.splice(0));
    this.#postNumber += 1;
    this.#posts += 1;
    this.#sentAt = performance.now();
    void this.#post(body, this.#postNumber);
    this.#pollOn();
  }

  async #post(body: string, n: number): Promise<void> {
    let status: number | undefined;
    try {
      const headers = { "Content-Type": "text/plain;charset=UTF-8" };
      const response = await this.#ask({ method: "POST", body, headers }, { n });
      status = response.status;
      await response.text();
      if (!response.ok) return this.#lost(status);
    } catch {
      return this.#lost(status);
    }
    this.#posts -= 1;
    this.#flush();
    if (!this.#isClosed) this.handlers.drained();
  }

  /** Holds as many GETs as are of use. */
  #pollOn(): void {
    const isLively = performance.now() - this.#sentAt < LIVELY_MS && this.#isNumbered === true;
    while (!this.#isClosed && this.#polls.size < (isLively ? MAX_REQUESTS : 1)) void this.#poll();
  }

  async #poll(): Promise<void> {
    this.#pollNumber += 1;
    const poll = this.#pollNumber;
    this.#polls.add(poll);
    let status: number | undefined;
    try {
      const response = await this.#ask();
      status = response.status;
      const number = response.headers.get(NUMBER_HEADER);
      const body = await response.text();
      if (!response.ok) throw new Error("refused");
      this.#polls.delete(poll);
      this.#owing?.delete(poll);
      this.#take(number, body);
    } catch {
      this.#polls.delete(poll);
      if (this.#polls.size === 0) return this.#lost(status);
      setTimeout(() => this.#lost(status), GOODBYE_MS);
      return;
    }
    if (this.#owing?.size === 0) return this.#lost();
    this.#pollOn();
  }

  #take(number: string | null, body: string): void {
    if (number === null) {
      this.#isNumbered = false;
      // Nobody knows what comes first.
      return this.#polls.size > 0 || this.#early.size > 0 ? this.#lost() : this.#deliver(body);
    }
    this.#isNumbered ??= true;
    if (number === "0") return;
    this.#early.set(Number(number), body);
    for (let next = this.#early.get(this.#nextPoll); next !== undefined; next = this.#early.get(this.#nextPoll)) {
      this.#early.delete(this.#nextPoll);
      this.#nextPoll += 1;
      this.#owing = undefined;
      this.#deliver(next);
    }
    // Browsers ask again by themselves when a connection ends under a GET; its answer does not come again.
    if (this.#early.size > 0) this.#owing ??= new Set(this.#polls);
  }

  #deliver(body: string): void {
    for (const packet of splitPackets(body)) {
      if (!this.#isClosed) this.handlers.packet(packet);
    }
  }

  #lost(status?: number): void {
    if (this.#isClosed) return;
    this.close();
    this.handlers.lost(status);
  }
}

/** Returns the session id of the first answer; empty when it is none. */
function sidOf(body: string): string {
  const [, sid] = /^0\{.*?"sid":\s*"([\w-]+)"/.exec(body) ?? [];
  return sid ?? "";
}
