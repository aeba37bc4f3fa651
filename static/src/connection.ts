/**
 * The connection to the server: opens it, says why it is not there, opens it again.
 *
 * Every try is a new one, so nothing that was meant for an old connection is ever sent on a new one. WebSocket
 * goes first, polling follows where WebSocket cannot be opened.
 */

import { retryDelay } from "./backoff.ts";
import type { EarlySocket } from "./early.ts";
import { PollingTransport } from "./polling.ts";
import { type Hello, parseRefusal, type Refusal } from "./protocol.ts";
import { connectPacket, eventPacket, type Message, type Packet, PacketReader } from "./socketio.ts";
import { type Transport, WebSocketTransport } from "./transport.ts";

/** Time for a try to open a transport, in milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Time for a whole try, until `joined`; the server itself gives 10 s from the handshake. */
const JOIN_TIMEOUT_MS = 20_000;
/** A connection that held this long, in milliseconds, makes the next wait begin at the shortest delay again. */
const STEADY_AFTER_MS = 5_000;

export type LinkState =
  | { readonly kind: "opening"; readonly isFirst: boolean }
  | { readonly kind: "joined"; readonly transport: string }
  | { readonly kind: "at-the-door" }
  | { readonly kind: "waiting"; readonly until: number; readonly isFirst: boolean; readonly hint: string }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "forbidden" }
  | { readonly kind: "signed-out" }
  | { readonly kind: "closed" };

export interface ConnectionHandlers {
  /** Gives the `auth` argument of the next try. */
  hello(): Hello;
  /** Called with each event of the server, unchecked. */
  event(name: string, args: readonly unknown[]): void;
  /** Called when the transport can take more. */
  drained(): void;
  state(state: LinkState): void;
}

export class Connection {
  #transport: Transport | undefined;
  #isJoined = false;
  #wasJoined = false;
  #wanted = false;
  #attempt = 0;
  #joinedAt = 0;
  #retryTimer: number | undefined;
  #joinTimer: number | undefined;
  /** Until the transport is open, its time to open; then, the time until the next sign of life. */
  #lifeTimer: number | undefined;
  /** Set for one try when the last one got an open transport that carried nothing. */
  #pollingOnly = false;

  constructor(
    private readonly page: URL,
    private readonly handlers: ConnectionHandlers,
    /** Sent with each request where there are no cookies; else empty. */
    private readonly credential = "",
    /** Opened while the page was loading, its `hello` sent; for the first try. */
    private early?: EarlySocket,
  ) {
    if (location.hostname !== "localhost") {
      addEventListener("offline", () => {
        if (this.#transport) this.#wait("");
      });
    }
    addEventListener("online", this.#hurry);
    addEventListener("pageshow", this.#hurry);
    document.addEventListener("visibilitychange", this.#hurry);
    // Gone for good: the server need not keep our place.
    addEventListener("pagehide", (event) => {
      if (!event.persisted) this.#drop();
    });
  }

  /** True when events may be sent now. */
  get isReady(): boolean {
    return this.#isJoined && this.#transport?.isFree === true;
  }

  get isPolling(): boolean {
    return this.#transport?.name === "polling";
  }

  /** Opens the connection, at once, whatever it waits for. */
  open(): void {
    this.#wanted = true;
    this.#attempt = 0;
    this.#try();
  }

  /** Closes the connection and stays closed until `open`. */
  close(): void {
    this.#wanted = false;
    this.#drop();
    this.handlers.state({ kind: "closed" });
  }

  /** Gives the connection up and opens a new one; the server keeps our place, as after a loss. */
  reopen(): void {
    this.#drop(false);
    this.#wait("");
  }

  /** To be called when `joined` has arrived: the connection counts as working. */
  joined(): void {
    clearTimeout(this.#joinTimer);
    this.#isJoined = this.#wasJoined = true;
    this.#joinedAt = performance.now();
    this.handlers.state({ kind: "joined", transport: this.#transport?.name ?? "" });
  }

  /** To be called when somebody has to let us in: the try takes as long as that takes. */
  waits(): void {
    clearTimeout(this.#joinTimer);
    this.handlers.state({ kind: "at-the-door" });
  }

  /** To be called when the server has said that it does not want us. */
  refused(refusal: Refusal): void {
    this.#stop({ kind: "refused", refusal });
  }

  /** Sends an event; only to be called while `isReady`. */
  send(event: "in" | "size" | "ack" | "pong" | "hand" | "name" | "display", ...args: readonly unknown[]): void {
    this.#transport?.send(eventPacket(event, args));
  }

  readonly #hurry = (): void => {
    const isWaiting = this.#wanted && this.#retryTimer !== undefined;
    if (isWaiting && document.visibilityState === "visible") this.#try();
  };

  #try(): void {
    // Not a goodbye: a try that is given up may have brought us back already, unknown to us.
    this.#drop(false);
    this.handlers.state({ kind: "opening", isFirst: !this.#wasJoined });
    const { early } = this;
    this.early = undefined;
    const isPollingOnly = this.#pollingOnly;
    this.#pollingOnly = false;
    this.#joinTimer = window.setTimeout(() => this.#timedOut(), JOIN_TIMEOUT_MS);
    this.#lifeTimer = window.setTimeout(() => this.#timedOut(), CONNECT_TIMEOUT_MS);
    if (isPollingOnly) this.#openPolling();
    else this.#openWebSocket(early);
  }

  #openWebSocket(early: EarlySocket | undefined): void {
    const address = this.#address("websocket");
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    let isOpen = false;
    const reader = new PacketReader();
    const transport: Transport = new WebSocketTransport(
      address,
      {
        packet: (packet) => {
          isOpen = true;
          this.#take(transport, reader, packet, early !== undefined);
        },
        drained: () => {},
        lost: () => {
          if (this.#transport !== transport) return;
          if (isOpen) this.#wait("");
          else this.#openPolling();
        },
      },
      early,
    );
    this.#transport = transport;
  }

  #openPolling(): void {
    // Browsers send headers with polling alone. ngrok's free addresses answer with a page of their
    // own unless the second is there, or the cookie that the page's button has set.
    const headers = { "X-TTYBridge-Client": "page", "ngrok-skip-browser-warning": "1" };
    let isOpen = false;
    const reader = new PacketReader();
    const transport: Transport = new PollingTransport(this.#address("polling"), headers, {
      packet: (packet) => {
        isOpen = true;
        this.#take(transport, reader, packet, false);
      },
      drained: () => {
        if (this.#transport === transport && this.isReady) this.handlers.drained();
      },
      lost: (status) => {
        if (this.#transport !== transport) return;
        if (isOpen) this.#wait("");
        else this.#notOpened(status);
      },
    });
    this.#transport = transport;
  }

  #address(transport: Transport["name"]): URL {
    const address = new URL("tty/", this.page);
    address.search = String(new URLSearchParams({ EIO: "4", transport }));
    if (this.credential !== "") address.searchParams.set("token", this.credential);
    return address;
  }

  #take(transport: Transport, reader: PacketReader, packet: Packet, hasSaidHello: boolean): void {
    if (this.#transport !== transport) return;
    let message: Message | undefined;
    try {
      message = reader.read(packet);
    } catch {
      return this.#wait("");
    }
    if (message) this.#on(transport, message, hasSaidHello);
  }

  #on(transport: Transport, message: Message, hasSaidHello: boolean): void {
    switch (message.kind) {
      case "open":
        this.#patience = message.pingMs + message.patienceMs;
        this.#isAlive();
        if (!hasSaidHello) transport.send(connectPacket(this.handlers.hello()));
        break;
      case "ping":
        this.#isAlive();
        transport.send(message.answer);
        break;
      case "event":
        this.handlers.event(message.name, message.args);
        break;
      case "refused":
        this.#refusedAtOnce(message.data);
        break;
      case "closed":
        this.#wait("");
        break;
      case "connected":
        break; // `joined` says more.
    }
  }

  /** Time that the server may be silent, in milliseconds. */
  #patience = 0;

  #isAlive(): void {
    clearTimeout(this.#lifeTimer);
    this.#lifeTimer = window.setTimeout(() => this.#wait(""), this.#patience);
  }

  #timedOut(): void {
    this.#pollingOnly = true;
    this.#wait("");
  }

  /** No transport could be opened; `status`: of the HTTP answer, where there was one. */
  #notOpened(status: number | undefined): void {
    if (status === 401) this.#stop({ kind: "signed-out" });
    else if (status === 403 || status === 421) this.#stop({ kind: "forbidden" });
    else this.#wait("");
  }

  #refusedAtOnce(data: unknown): void {
    const refusal = parseRefusal(data);
    if (refusal && refusal.code !== "unavailable") this.#stop({ kind: "refused", refusal });
    else this.#wait(refusal?.hint ?? "");
  }

  #stop(state: LinkState): void {
    this.#wanted = false;
    this.#drop();
    this.handlers.state(state);
  }

  #wait(hint: string): void {
    const wasSteady = this.#isJoined && performance.now() - this.#joinedAt > STEADY_AFTER_MS;
    this.#drop(false);
    if (!this.#wanted) return;
    if (wasSteady) this.#attempt = 0;
    const delay = retryDelay(this.#attempt, Math.random());
    this.#attempt += 1;
    this.#retryTimer = window.setTimeout(() => this.#try(), delay);
    this.handlers.state({ kind: "waiting", until: Date.now() + delay, isFirst: !this.#wasJoined, hint });
  }

  /** Ends the present try, if any, without a word to the handlers. `leaves`: tells the server that we go for good. */
  #drop(leaves = true): void {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#joinTimer);
    clearTimeout(this.#lifeTimer);
    this.#retryTimer = this.#joinTimer = this.#lifeTimer = undefined;
    this.#isJoined = false;
    const transport = this.#transport;
    this.#transport = undefined;
    transport?.close(leaves ? ["41"] : []);
  }
}
