/**
 * What the page needs of Engine.IO 4 and Socket.IO 5: packets in, packets out. Pure.
 *
 * Small enough to arrive with the page in one round of requests; socket.io-client takes five times as
 * many bytes, for upgrades, namespaces and acknowledgements that this page does not use.
 */

import { isRecord } from "./checks.ts";

/** Ends a packet in a body of polling. */
const SEPARATOR = "\x1e";

/** A packet of Engine.IO: text, or the bytes that belong to the text before. */
export type Packet = string | ArrayBuffer;

export type Message =
  /** The transport is open; the server asks for a sign of life so often, and waits so long for it. */
  | { readonly kind: "open"; readonly sid: string; readonly pingMs: number; readonly patienceMs: number }
  | { readonly kind: "ping"; readonly answer: string }
  | { readonly kind: "connected" }
  | { readonly kind: "refused"; readonly data: unknown }
  | { readonly kind: "event"; readonly name: string; readonly args: readonly unknown[] }
  /** The server ends the connection. */
  | { readonly kind: "closed" };

/** The server says what this page does not understand. */
export class MalformedPacket extends Error {}

/** Makes the packet that asks for a place. */
export function connectPacket(auth: unknown): string {
  return `40${JSON.stringify(auth)}`;
}

/** Makes the packet of an event. */
export function eventPacket(name: string, args: readonly unknown[]): string {
  return `42${JSON.stringify([name, ...args])}`;
}

/** Makes the body of a polling request. */
export function joinPackets(packets: readonly string[]): string {
  return packets.join(SEPARATOR);
}

/** Takes the body of an answer to polling apart. */
export function splitPackets(body: string): Packet[] {
  return body.split(SEPARATOR).map((text) => (text.startsWith("b") ? bytesOf(text.slice(1)) : text));
}

function bytesOf(base64: string): ArrayBuffer {
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes.buffer;
}

/** Reads packets in their order; an event with bytes is complete once they have come. */
export class PacketReader {
  #event: unknown[] | undefined;
  #missing = 0;
  #bytes: ArrayBuffer[] = [];

  /** Returns what a packet says, or `undefined` when more has to come, or it says nothing; throws `MalformedPacket`. */
  read(packet: Packet): Message | undefined {
    if (typeof packet !== "string") return this.#takeBytes(packet);
    if (this.#event) throw new MalformedPacket("text instead of bytes");
    const rest = packet.slice(1);
    if (packet.startsWith("4")) return this.#readMessage(rest);
    if (packet.startsWith("0")) return readOpen(rest);
    if (packet.startsWith("2")) return { kind: "ping", answer: `3${rest}` };
    if (packet.startsWith("1")) return { kind: "closed" };
    return undefined;
  }

  #takeBytes(bytes: ArrayBuffer): Message | undefined {
    if (!this.#event) throw new MalformedPacket("bytes of no event");
    this.#bytes.push(bytes);
    if (this.#bytes.length < this.#missing) return undefined;
    const event = this.#event.map((arg) => this.#filled(arg));
    this.#event = undefined;
    this.#bytes = [];
    return eventOf(event);
  }

  #filled(arg: unknown): unknown {
    return isRecord(arg) && arg["_placeholder"] === true ? this.#bytes[Number(arg["num"])] : arg;
  }

  #readMessage(text: string): Message | undefined {
    const rest = text.slice(1);
    switch (text[0]) {
      case "0":
        return { kind: "connected" };
      case "1":
        return { kind: "closed" };
      case "2":
        return eventOf(parse(rest));
      case "4":
        return { kind: "refused", data: refusalOf(parse(rest)) };
      case "5":
        return this.#expectBytes(rest);
      default:
        return undefined;
    }
  }

  #expectBytes(text: string): undefined {
    const [, count, rest] = /^(\d{1,3})-(.*)$/s.exec(text) ?? [];
    const event = parse(rest ?? "");
    if (!Array.isArray(event) || !(Number(count) > 0)) throw new MalformedPacket(text);
    this.#event = event;
    this.#missing = Number(count);
  }
}

function readOpen(text: string): Message {
  const open = parse(text);
  if (!isRecord(open)) throw new MalformedPacket(text);
  const { sid, pingInterval, pingTimeout } = open;
  if (typeof sid !== "string" || typeof pingInterval !== "number" || typeof pingTimeout !== "number") {
    throw new MalformedPacket(text);
  }
  return { kind: "open", sid, pingMs: pingInterval, patienceMs: pingTimeout };
}

function eventOf(value: unknown): Message {
  if (!Array.isArray(value) || typeof value[0] !== "string") throw new MalformedPacket("an event without a name");
  return { kind: "event", name: value[0], args: value.slice(1) };
}

function refusalOf(value: unknown): unknown {
  return isRecord(value) ? value["data"] : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new MalformedPacket(text.slice(0, 80));
  }
}
