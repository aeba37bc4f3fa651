/**
 * The Socket.IO connection: opens it, says why it is not there, opens it again.
 *
 * Every try is a new Socket.IO client, so nothing that the library has buffered for an old connection is
 * ever sent on a new one. WebSocket goes first, polling follows where WebSocket cannot be opened.
 */

import { io, type Socket } from "socket.io-client";
import { retryDelay } from "./backoff.ts";
import { type Hello, parseRefusal, type Refusal } from "./protocol.ts";

/** Time for a try to open a transport, in milliseconds. */
const CONNECT_TIMEOUT_MS = 10_000;
/** Time for a whole try, until `joined`; the server itself gives 10 s from the handshake. */
const JOIN_TIMEOUT_MS = 20_000;
/** A connection that held this long, in milliseconds, makes the next wait begin at the shortest delay again. */
const STEADY_AFTER_MS = 5_000;
/** Packets in Engine.IO's buffer above which nothing is added: a polling request carries 16 at most. */
const MAX_BUFFERED_PACKETS = 8;

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

interface EngineError {
  readonly message: string;
  /** The HTTP status, when polling got an answer. */
  readonly description?: unknown;
  readonly data?: unknown;
}

export class Connection {
  #socket: Socket | undefined;
  #isJoined = false;
  #wasJoined = false;
  #wanted = false;
  #attempt = 0;
  #joinedAt = 0;
  #retryTimer: number | undefined;
  #joinTimer: number | undefined;
  /** Set for one try when the last one got an open transport that carried nothing. */
  #pollingOnly = false;

  constructor(
    private readonly page: URL,
    private readonly handlers: ConnectionHandlers,
    /** Sent with each request where there are no cookies; else empty. */
    private readonly credential = "",
  ) {
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
    if (!this.#isJoined || !this.#socket?.connected) return false;
    return (this.#socket.io.engine?.writeBuffer.length ?? MAX_BUFFERED_PACKETS) < MAX_BUFFERED_PACKETS;
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
    this.handlers.state({ kind: "joined", transport: this.#socket?.io.engine?.transport.name ?? "" });
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
    this.#socket?.emit(event, ...args);
  }

  readonly #hurry = (): void => {
    const isWaiting = this.#wanted && this.#retryTimer !== undefined;
    if (isWaiting && document.visibilityState === "visible") this.#try();
  };

  #try(): void {
    // Not a goodbye: a try that is given up may have brought us back already, unknown to us.
    this.#drop(false);
    this.handlers.state({ kind: "opening", isFirst: !this.#wasJoined });
    const address = new URL("tty/", this.page);
    const socket = io(address.origin, {
      path: address.pathname,
      transports: this.#pollingOnly ? ["polling"] : ["websocket", "polling"],
      tryAllTransports: true,
      upgrade: !this.#pollingOnly,
      reconnection: false,
      forceNew: true,
      timeout: CONNECT_TIMEOUT_MS,
      // Browsers send headers with polling alone. ngrok's free addresses answer with a page of their
      // own unless the second is there, or the cookie that the page's button has set.
      extraHeaders: { "X-TTYBridge-Client": "page", "ngrok-skip-browser-warning": "1" },
      query: this.credential === "" ? {} : { token: this.credential },
      auth: (send) => send({ ...this.handlers.hello() }),
    });
    this.#socket = socket;
    this.#pollingOnly = false;
    this.#joinTimer = window.setTimeout(() => this.#failed({ message: "timeout" }), JOIN_TIMEOUT_MS);
    socket.on("connect", () => socket.io.engine.on("drain", () => this.handlers.drained()));
    socket.onAny((name: string, ...args: unknown[]) => {
      if (this.#socket === socket) this.handlers.event(name, args);
    });
    socket.on("connect_error", (error: EngineError) => this.#failed(error));
    socket.on("disconnect", () => this.#wait(""));
  }

  #failed(error: EngineError): void {
    const refusal = parseRefusal(error.data);
    if (error.description === 401) this.#stop({ kind: "signed-out" });
    else if (error.description === 403 || error.description === 421) this.#stop({ kind: "forbidden" });
    else if (refusal && refusal.code !== "unavailable") this.#stop({ kind: "refused", refusal });
    else {
      this.#pollingOnly = error.message === "timeout";
      this.#wait(refusal?.hint ?? "");
    }
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
    this.#retryTimer = this.#joinTimer = undefined;
    this.#isJoined = false;
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.off();
    socket.offAny();
    socket.io.engine?.off("drain");
    if (!leaves) socket.io.engine?.close();
    socket.disconnect();
  }
}
