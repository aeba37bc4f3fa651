/** What carries packets: a WebSocket, or where there can be none, polling (polling.ts). */

import type { EarlySocket } from "./early.ts";
import type { Packet } from "./socketio.ts";

export interface TransportHandlers {
  packet(packet: Packet): void;
  /** More can be taken. */
  drained(): void;
  /** It has ended, not by `close`. `status`: of the HTTP answer that ended it, where there was one. */
  lost(status?: number): void;
}

export interface Transport {
  readonly name: "websocket" | "polling";
  /** What is sent now leaves at once, or soon. */
  readonly isFree: boolean;
  send(packet: string): void;
  /** Ends it without a word to the handlers. `last`: packets that the server is to have before. */
  close(last?: readonly string[]): void;
}

export class WebSocketTransport implements Transport {
  readonly name = "websocket";
  readonly #socket: WebSocket;
  #isClosed = false;

  /** Opens a WebSocket, or takes one over that has been opened before this script was there. */
  constructor(address: URL, handlers: TransportHandlers, early?: EarlySocket) {
    this.#socket = early?.socket ?? new WebSocket(address);
    this.#socket.binaryType = "arraybuffer";
    const listen = (): void => {
      this.#socket.onmessage = ({ data }) => handlers.packet(data as Packet);
      this.#socket.onclose = () => handlers.lost();
    };
    if (!early) {
      listen();
      return;
    }
    // What has come meanwhile is told when whoever made this has it in hand.
    queueMicrotask(() => {
      for (const data of early.messages.splice(0)) {
        if (this.#isClosed) return;
        handlers.packet(data);
      }
      if (this.#isClosed) return;
      listen();
      if (this.#socket.readyState > WebSocket.OPEN) handlers.lost();
    });
  }

  get isFree(): boolean {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  send(packet: string): void {
    if (this.isFree) this.#socket.send(packet);
  }

  close(last: readonly string[] = []): void {
    this.#isClosed = true;
    for (const packet of last) this.send(packet);
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}
